"""Small files that are there whole or not at all.

Knows: how that is done. Does not know: what is in them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Protocol, Self

from r1_quantize import units
from r1_quantize.errors import BadFile, NotEnoughSpace, R1Error

DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""How a disk without room says so."""


def write_atomically(path: Path, text: str) -> None:
    """Raises R1Error when the disk fails."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as exc:
        raise disk_error(path, exc) from exc


def remove_file(path: Path) -> None:
    """Remove a file, if it is there. Raises R1Error when the disk fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise disk_error(path, exc) from exc


def disk_error(path: Path, exc: OSError, needed: int | None = None) -> R1Error:
    """What to raise when the disk fails at `path`, of which `needed` bytes were to come."""
    if exc.errno not in DISK_FULL:
        return R1Error(f"{path}: {exc.strerror}")
    free = units.size(shutil.disk_usage(path.parent).free)
    wanted = f": {units.size(needed)} are needed, {free} are free" if needed is not None else ""
    return NotEnoughSpace(f"{path}: {exc.strerror}{wanted}; make room and run it again: it goes on from here")


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


Stamp = tuple[int, int, int]
_PIECE = 1 << 20  # bytes read at once where nobody wants them


class Digest(Protocol):
    """What hashlib's algorithms have in common."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class Crc32:
    """CRC-32 as hashlib has its algorithms: enough to notice an accident, at a third of the cost of SHA-256."""

    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes | memoryview) -> None:
        self._crc = zlib.crc32(data, self._crc)

    def hexdigest(self) -> str:
        return f"{self._crc:08x}"


class HashedFile:
    """An open file. Use it as a context manager."""

    def __init__(self, path: Path, digest: Callable[[], Digest] = hashlib.sha256) -> None:
        """Raises BadFile when it cannot be opened."""
        self.path = path
        self._digest = digest()
        self._at = 0
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as exc:
            raise BadFile(f"{path}: {exc.strerror}") from exc
        self._status = os.fstat(self._file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def stamp(self) -> Stamp:
        """By which an unchanged file is recognised: its size in bytes, when its content and when anything about it
        was last changed, in nanoseconds. The last of them nobody can set."""
        return stamp_of(self._status)

    @property
    def digest(self) -> str:
        """Of everything up to where reading has come, in hex."""
        return self._digest.hexdigest()

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the bytes at `offset`, which lies not before where reading has come.

        Raises BadFile when they are not there.
        """
        self.skip_to(offset)
        done = 0
        try:
            while done < len(target) and (count := self._file.readinto(target[done:])):
                done += count
        except OSError as exc:
            raise BadFile(f"{self.path}: {exc.strerror}") from exc
        if done < len(target):
            raise BadFile(f"{self.path}: the file became shorter while it was read")
        self._digest.update(target)
        self._at += done

    def skip_to(self, offset: int) -> None:
        """Read up to `offset` for the digest alone."""
        assert offset >= self._at, "a hashed file is read from front to back"
        buffer = memoryview(bytearray(min(_PIECE, offset - self._at)))
        while count := min(len(buffer), offset - self._at):
            self.read_into(self._at, buffer[:count])

    def finish(self) -> str:
        """The digest of the whole file. Raises BadFile when it was changed while it was read."""
        self.skip_to(self._status.st_size)
        if stamp_of(os.fstat(self._file.fileno()))[:2] != self.stamp[:2]:
            raise BadFile(f"{self.path}: the file was changed while it was read; run it again")
        return self.digest


def stamp_of(status: os.stat_result) -> Stamp:
    """What `HashedFile.stamp` is of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of `size` bytes at `path`, or that will be there.

    `stamp` is the file's as it was when its header was read; None while it is not here. `sha256` is what its publisher
    says it hashes to; None when nobody does. Of a file that is on its way the beginning lies at `header`.
    """

    path: Path
    size: int
    stamp: Stamp | None = None
    sha256: str | None = None
    header: Path | None = None

    @classmethod
    def on_disk(cls, path: Path, sha256: str | None = None) -> Self:
        """A file on this disk. Raises OSError."""
        stamp = stamp_of(path.stat())
        return cls(path, stamp[0], stamp, sha256)

    @contextmanager
    def open_header(self) -> Iterator[tuple[BinaryIO, SourceFile]]:
        """Its first bytes, to read its header from, and this file as it is now. Raises OSError."""
        with (self.header or self.path).open("rb") as file:
            if self.header is not None:
                yield file, self
            else:
                stamp = stamp_of(os.fstat(file.fileno()))
                yield file, replace(self, size=stamp[0], stamp=stamp)
