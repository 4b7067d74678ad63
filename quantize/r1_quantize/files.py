"""Files on disk: atomic writes, locks, reading with a digest, and the files a model is made from."""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, NamedTuple, Protocol, Self

from r1_quantize.errors import DISK_FULL, UNUSABLE_PATH, BadFile, NotEnoughSpace, R1Error, UsageError

Stamp = tuple[int, int, int]
"""Identifies an unchanged file: size in bytes, mtime and ctime in nanoseconds. Programs cannot set the ctime."""

_LOCK_POLL_S = 0.05
_LOCKED_BYTE = 1 << 40  # Windows locks bytes, and a locked byte cannot be read: lock one beyond any file's end
_SKIP_BYTES = 1 << 20  # read at once when only the digest needs them


def expanded(path: str) -> Path:
    """`path` with the home folder for its `~` or `~user`; unchanged, as in a shell, where there is no such folder.

    `Path.expanduser` raises RuntimeError there.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def is_path(reference: str) -> bool:
    """Whether it is a path and no model's name: it has a separator, or ends in .gguf."""
    separators = {os.sep, os.altsep, "/"} - {None}
    return reference.endswith(".gguf") or any(separator in reference for separator in separators if separator)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that appears with its complete content or not at all. Raises R1Error when the disk fails."""
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
    """Remove a file if it exists. Raises R1Error when the disk fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise disk_error(path, exc) from exc


def check_working_folder(path: Path) -> None:
    """Raises UsageError for a relative path in a working folder that was deleted."""
    if path.is_absolute():
        return
    try:
        Path.cwd()
    except OSError as exc:
        raise UsageError(
            f"{path}: the current folder was deleted ({exc.strerror}); change to another one, or give an absolute path"
        ) from exc


def disk_error(path: Path, exc: OSError, needed: int | None = None) -> R1Error:
    """The error to raise when writing `path` failed; `needed` is the size of the complete file in bytes."""
    if exc.errno in UNUSABLE_PATH:
        return UsageError(f"{path}: {exc.strerror}; choose another place, or change its permissions")
    if exc.errno not in DISK_FULL:
        return R1Error(f"{path}: {exc.strerror}")
    import shutil  # here, because `r1 run` imports this module before it begins to load a model

    from r1_quantize import units

    free = units.size(shutil.disk_usage(path.parent).free)
    sizes = f": {units.size(needed)} needed, {free} free" if needed is not None else ""
    return NotEnoughSpace(f"{path}: {exc.strerror}{sizes}; free some space and run it again to resume")


if sys.platform == "win32":
    import msvcrt

    def try_lock(file: IO[Any] | FileIO) -> bool:
        """Lock an open file until it is closed; False when another process holds the lock."""
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(file: IO[Any] | FileIO) -> bool:
        """Lock an open file until it is closed; False when another process holds the lock."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def lock_file(path: Path, *, wait: bool) -> BinaryIO:
    """Create and lock the file at `path`. Closing the returned file releases the lock.

    Without `wait`, raises BlockingIOError("process PID") when another process holds the lock. Raises OSError when the
    file cannot be created.
    """
    with ExitStack() as on_error:
        file = on_error.enter_context(path.open("a+b"))
        while not try_lock(file):
            if not wait:
                raise BlockingIOError(f"process {_lock_holder(file)}")
            time.sleep(_LOCK_POLL_S)
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode("ascii"))
        file.flush()
        on_error.pop_all()
    return file


def _lock_holder(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(20).decode("ascii", "replace").strip() or "unknown"


class Digest(Protocol):
    """The interface of hashlib's algorithms."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


def sha256() -> Digest:
    """A new SHA-256. Loads OpenSSL only now, because `r1 list` and `r1 run` do not need it."""
    import hashlib

    return hashlib.sha256()


class Crc32:
    """CRC-32 with hashlib's interface: catches accidental damage at a third of the cost of SHA-256."""

    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes | memoryview) -> None:
        self._crc = zlib.crc32(data, self._crc)

    def hexdigest(self) -> str:
        return f"{self._crc:08x}"


class HashedFile:
    """A file that is read once from front to back and hashed on the way. Use it as a context manager."""

    def __init__(self, path: Path, digest: Callable[[], Digest] = sha256) -> None:
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
        """The file's stamp when it was opened."""
        return stamp_of(self._status)

    @property
    def digest(self) -> str:
        """The digest of everything up to the current position, in hex."""
        return self._digest.hexdigest()

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the bytes at `offset`, which must not be before the current position.

        Raises BadFile when the file has become shorter.
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
        """Hash everything up to `offset`."""
        assert offset >= self._at, "a hashed file is read from front to back"
        buffer = memoryview(bytearray(min(_SKIP_BYTES, offset - self._at)))
        while count := min(len(buffer), offset - self._at):
            self.read_into(self._at, buffer[:count])

    def finish(self) -> str:
        """The digest of the complete file. Raises BadFile when the file changed since it was opened."""
        self.skip_to(self._status.st_size)
        if stamp_of(os.fstat(self._file.fileno()))[:2] != self.stamp[:2]:
            raise BadFile(f"{self.path}: the file changed while it was read; run it again")
        return self.digest


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


class SourceFile(NamedTuple):
    """A file of `size` bytes that is at `path`, or will be once it is downloaded.

    `stamp` is that of the file when its header was read; None until it is on this disk. `sha256` is the digest its
    publisher gives, or None. For a file that is not downloaded yet, `header` is a file with its first bytes.
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
        return cls(path=path, size=stamp[0], stamp=stamp, sha256=sha256)

    @contextmanager
    def open_header(self) -> Iterator[tuple[BinaryIO, SourceFile]]:
        """Open the file, or the file with its header, and return it with the file's current size and stamp.

        Raises OSError.
        """
        with (self.header or self.path).open("rb") as file:
            if self.header is not None:
                yield file, self
            else:
                stamp = stamp_of(os.fstat(file.fileno()))
                yield file, self._replace(size=stamp[0], stamp=stamp)
