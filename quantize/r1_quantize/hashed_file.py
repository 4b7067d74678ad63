"""A file read once, front to back, with a digest of what went by.

Knows: positioned reads; nothing is left mapped, so that memory stays what it is however large the file. Does not
know: what is in the file.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from r1_quantize.errors import BadFile

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
