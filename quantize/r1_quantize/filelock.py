"""An exclusive lock on a file, which the system lets go of when its holder ends, however it ends.

Knows: flock on POSIX and its counterpart on Windows, behind one guard; that the file's text is the holder's
pid. Does not know: what the lock protects. The file itself stays: removing it would let two processes hold
"the" lock.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import IO, Any, BinaryIO

_RETRY_SECONDS = 0.05
_BEHIND_EVERYTHING = 1 << 40  # Windows locks bytes, and locked bytes cannot be read: lock one no file has

if sys.platform == "win32":
    import msvcrt

    def try_lock(file: IO[Any] | FileIO) -> bool:
        """Lock an open file until it is closed; False when another process has it locked."""
        file.seek(_BEHIND_EVERYTHING)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(file: IO[Any] | FileIO) -> bool:
        """Lock an open file until it is closed; False when another process has it locked."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def lock_file(path: Path, *, wait: bool) -> BinaryIO:
    """Create and lock the file at `path`; closing what is returned lets go of the lock.

    Without `wait`, a lock that is held raises BlockingIOError with "process PID" in it. OSError when the file
    cannot be made.
    """
    with ExitStack() as on_error:
        file = on_error.enter_context(path.open("a+b"))
        while not try_lock(file):
            if not wait:
                raise BlockingIOError(f"process {_holder(file)}")
            time.sleep(_RETRY_SECONDS)
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode("ascii"))
        file.flush()
        on_error.pop_all()
    return file


def _holder(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(20).decode("ascii", "replace").strip() or "unknown"
