"""The folder of the kept states: names, permissions, a bound on all of them, and other processes that use it, too.

A file has its name only once it is complete, and is never changed then. Until then its name ends in `.partial`, and the
process that writes it holds a lock on it, so that what a killed one left behind can be told from what is being written.
A file that is used becomes the newest, and the oldest goes first.

A name begins with a hash of the file's owner, such as a chat, so that all files of a deleted chat are found without
reading them, damaged ones too. Next is a hash of what a state depends on beside its tokens, so that a search reads only
the headers of files that may serve.

There is no wait for the disk (fsync): a file that a power failure cut short is found by its checksum.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.errors import Busy, UsageError
from r1_quantize.files import lock_file, try_lock
from r1_quantize.store.store import home

NAME = "kv-cache"
"""The folder's name in R1_HOME."""

MAX_FILES = 256
"""However small they are: each is looked at in a search."""

_KEPT, _PARTIAL, _LOCK = ".kv", ".partial", ".lock"
_MIN_FREE = 1 << 30  # bytes that stay free on the disk
_LOCK_TIMEOUT_S = 2.0
_LOCK_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class KeptFile:
    """`used` is when it was written or last read, in nanoseconds."""

    path: Path
    size: int
    used: int


def owner_of_chat(number: int) -> str:
    """The owner of what is kept of a chat, by its number in the history."""
    return f"chat {number}"


class KvFolder:
    """The files in one folder, at most `max_bytes` in all. The folder need not exist yet."""

    def __init__(self, path: Path, max_bytes: int, min_free: int = _MIN_FREE) -> None:
        """`min_free` bytes of the disk stay free."""
        self.path = path
        self.max_bytes = max_bytes
        self._min_free = min_free

    def files(self, *, origin: str = "", owner: str = "") -> list[KeptFile]:
        """The complete files, the least recently used first; if given, only those of an origin or of an owner."""
        beginning = _hash(owner) if owner else ""
        middle = f"-{_hash(origin)}-" if origin else ""
        found = [
            KeptFile(path, status.st_size, status.st_mtime_ns)
            for path, status in self._stats(_KEPT)
            if path.name.startswith(beginning) and middle in path.name
        ]
        return sorted(found, key=lambda file: (file.used, file.path))

    def has_no_owner(self, path: Path) -> bool:
        return path.name.startswith(_hash(""))

    def touch(self, path: Path) -> None:
        """Notes that the file was used."""
        with suppress(OSError):
            os.utime(path)

    def remove_of(self, owner: str) -> list[Path]:
        """Removes all files of an owner, and what is being written or was left unfinished of them.

        Returns those that could not be removed.
        """
        owned = [
            path for path, _ in [*self._stats(_KEPT), *self._stats(_PARTIAL)] if path.name.startswith(_hash(owner))
        ]
        for path in owned:
            self.remove(path)
        return [path for path in owned if path.exists()]

    def remove(self, path: Path) -> None:
        """Removes a file, unless another process has, or (on Windows) is reading it."""
        with suppress(OSError):
            path.unlink()

    @contextmanager
    def new_file(self, owner: str, origin: str, size: int) -> Iterator[Path]:
        """An empty file to write about `size` bytes to. It gets its name when the block ends without an error, and is
        gone otherwise.

        Makes room for it first. Raises NoRoom, Busy, OSError.
        """
        with self._locked():
            self._sweep()
            self._make_room(size)
            name = f"{_hash(owner)}-{_hash(origin)}-{os.urandom(8).hex()}"
            path = self.path / f"{name}-{size}{_PARTIAL}"
            file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "r+b")
            try_lock(file)
        try:
            with file:
                yield path
                with self._locked():  # nobody sweeps meanwhile; Windows renames no open file
                    file.close()
                    path.rename(self.path / f"{name}{_KEPT}")
        finally:
            self.remove(path)

    def clear(self) -> int:
        """Removes all files; the bytes they had. Raises Busy when another process holds the lock, OSError."""
        if not self.path.exists():
            return 0
        before = self.size
        with self._locked():
            self._sweep()
            for file in self.files():
                self.remove(file.path)
        return max(before - self.size, 0)  # another process may be writing one

    @property
    def size(self) -> int:
        """Bytes of all files, also of those that are being written or were left unfinished."""
        return sum(status.st_size for suffix in (_KEPT, _PARTIAL) for _, status in self._stats(suffix))

    def _stats(self, suffix: str) -> Iterator[tuple[Path, os.stat_result]]:
        """The regular files with this suffix."""
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(OSError):  # another process has just removed it
                    if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                        yield Path(entry.path), entry.stat(follow_symlinks=False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Creates the folder, and holds its lock."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_mode & 0o077:
            self.path.chmod(0o700)
        lock = self.path / _LOCK
        os.close(os.open(lock, os.O_CREAT | os.O_RDWR, 0o600))
        with _locked(lock):
            yield

    def _remove_oldest(self, files: list[KeptFile], excess: int) -> None:
        """Removes files, also from the list, until so many bytes are freed."""
        while files and excess > 0:
            excess -= files[0].size
            self.remove(files.pop(0).path)

    def _sweep(self) -> None:
        """Removes what killed processes have left."""
        for path, _ in self._stats(_PARTIAL):
            with suppress(OSError), path.open("r+b") as file:
                if try_lock(file):
                    self.remove(path)

    def _make_room(self, size: int) -> None:
        """Removes the least recently used files, as far as needed: none for a file that would not fit beside nothing,
        unless they have more than `max_bytes` already, because that has become less.
        """
        files = self.files()
        self._remove_oldest(files, sum(file.size for file in files) - self.max_bytes)
        being_written = sum(map(_promised, (path for path, _ in self._stats(_PARTIAL))))
        held = sum(file.size for file in files)
        free = shutil.disk_usage(self.path).free - self._min_free - being_written
        excess = max(held + being_written + size - self.max_bytes, size - free)
        if excess > held:
            raise NoRoom
        self._remove_oldest(files, excess)
        while len(files) >= MAX_FILES:
            self.remove(files.pop(0).path)


class NoRoom(Exception):
    """The file would be larger than all files may be, or leave too little of the disk free."""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            lock = lock_file(path, wait=False)
        except BlockingIOError as exc:
            if time.monotonic() > deadline:
                raise Busy(f"{path.parent}: in use by another r1 ({exc})") from exc
            time.sleep(_LOCK_POLL_S)
        else:
            break
    with lock:
        yield


def open_folder(environ: Mapping[str, str], max_bytes: int = 0) -> KvFolder:
    """The folder in R1_HOME; with 0 bytes, to look at or remove what is there. Raises UsageError without a home."""
    return KvFolder(home(environ) / NAME, max_bytes)


def folder_in(environ: Mapping[str, str], max_bytes: int) -> KvFolder | None:
    """The same; None where nothing is to be kept, and for a user without a home folder."""
    if max_bytes:
        with suppress(UsageError):
            return open_folder(environ, max_bytes)
    return None


def _hash(text: str) -> str:
    from hashlib import blake2b  # here, because it loads OpenSSL

    return blake2b(text.encode(), digest_size=8).hexdigest()


def _promised(path: Path) -> int:
    """The size that a file will have once it is written, from its name."""
    size = path.name.removesuffix(_PARTIAL).rpartition("-")[2]
    return int(size) if size.isdigit() else 0
