"""Writes a GGUF to disk: every tensor at its planned offset, in any order.

The bytes go to NAME.gguf.partial, with a journal beside it, NAME.gguf.partial.journal. Both stay when the work is
interrupted, and the next run resumes from them. The file gets its final name only after all of it is on the disk and
was read back.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from r1_quantize.errors import BadValue, R1Error, UsageError
from r1_quantize.files import Digest, HashedFile, disk_error, try_lock
from r1_quantize.gguf import reader
from r1_quantize.journal import FileRecord, Journal, JournalContent, TensorRecord, read_journal
from r1_quantize.plan import ConversionPlan, PlannedTensor, padded
from r1_quantize.store.manifest import Manifest

_READ_BYTES = 1 << 20  # read back at once


class PartialGGUF:
    """An unfinished file. Leaving the context without `rename` keeps it for the next run, if that can use it.

    `progress` is the finished part. `started_over` says why an older unfinished file was discarded; None when there
    was none to discard. Both are known once `begin` is exhausted.
    """

    def __init__(self, target: Path, plan: ConversionPlan, job: str) -> None:
        """`job` is a digest of everything that determines the result, except the weights; see `journal.JournalContent`.

        Raises UsageError when the file cannot be written there, R1Error when another process is making it.
        """
        self.target = target
        self.path = partial_path(target)
        self.started_over: str | None = None
        self.progress = JournalContent(job=job)
        self._plan = plan
        self._journal: Journal | None = None
        self._began = self._finished = False
        try:
            self._file = _open_locked(self.path, target)
        except OSError as exc:
            raise UsageError(f"cannot write {target}: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal:
            self._journal.close()
        # Until `begin` has checked it, the file of an older run may be useful, so it stays.
        useless = isinstance(error, BadValue) or (self._began and not self.progress.tensors)
        if useless and not self._finished and os.name != "nt":
            self._remove()  # while we hold the lock: afterwards it may be another process's file
        with suppress(OSError):  # on a full disk, closing fails like writing did; that error is already being raised
            self._file.close()
        if useless and not self._finished and os.name == "nt":  # Windows cannot remove an open file
            self._remove()

    def begin(self) -> Iterator[int]:
        """Resume what an older run left, or start a new file; yields the bytes read back since the last time.

        Raises NotEnoughSpace when the disk is full, R1Error when it fails otherwise.
        """
        with self._disk_errors():
            yield from self._resume()
            self._began = True
            self._journal = Journal(journal_path(self.target), self.progress)
            self._file.truncate(self._plan.size)
        self.write_at(0, self._plan.header)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at an offset. Raises NotEnoughSpace when the disk is full, R1Error when it fails otherwise."""
        rest = memoryview(data)
        with self._disk_errors():
            self._file.seek(offset)
            while rest:
                rest = rest[self._file.write(rest) :]

    def tensor_done(self, name: str, record: TensorRecord) -> None:
        """Record that a tensor is completely written."""
        with self._disk_errors():
            self._open_journal.tensor(name, record)
        self.progress.tensors[name] = record

    def file_done(self, name: str, record: FileRecord, *, durable: bool = False) -> None:
        """Record that a source file was read to its end and is no longer needed.

        With `durable`, everything made of it is flushed to disk first, so that the file may be removed.
        """
        with self._disk_errors():
            if durable:
                os.fsync(self._file.fileno())
            self._open_journal.file(name, record, durable=durable)
        self.progress.files[name] = record

    def start_over(self) -> None:
        """Discard all progress."""
        self._restart_journal(JournalContent(job=self.progress.job))

    def forget(self, names: Iterable[str]) -> None:
        """Mark tensors as unfinished again."""
        gone = set(names)
        kept = {name: record for name, record in self.progress.tensors.items() if name not in gone}
        self._restart_journal(JournalContent(job=self.progress.job, tensors=kept, files=self.progress.files))

    def checksums(self) -> dict[str, int]:
        """Tensor → the CRC-32 of its bytes, once all tensors are finished."""
        return {tensor.name: self._crc32(tensor) for tensor in self._plan.tensors}

    def check(self, digest: Callable[[], Digest]) -> Generator[int, None, str]:
        """Flush everything to disk and read it back (possibly from the system's cache).

        Yields the bytes read since the last time, 0 before the flush. Returns the digest of the file. Raises R1Error
        when it differs from what was written.
        """
        yield 0
        with self._disk_errors():
            os.fsync(self._file.fileno())
        buffer = memoryview(bytearray(max(_READ_BYTES, len(self._plan.header))))
        with HashedFile(self.path, digest) as file:
            header = buffer[: len(self._plan.header)]
            file.read_into(0, header)
            self._require(header == self._plan.header, "the header")
            yield len(header)
            for tensor in self._plan.tensors:
                crc = yield from _checksum(file.read_into, tensor, buffer)
                self._require(crc == self._crc32(tensor), tensor.name)
                padding = buffer[: padded(tensor.nbytes) - tensor.nbytes]
                file.read_into(tensor.offset + tensor.nbytes, padding)
                self._require(not any(padding), f"the padding after {tensor.name}")
            result = file.finish()
        reader.read(self.path)
        return result

    def rename(self) -> None:
        """Give the file its final name, replacing any older file."""
        try:
            if not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
                raise R1Error(f"{self.path} was replaced by another file meanwhile; run it again")
            ours = journal_path(self.target).stat()
            self._open_journal.close()
            if os.name == "nt":
                self._file.close()  # Windows cannot rename an open file; elsewhere the lock is held until the end
            self.path.replace(self.target)
            _sync_folder(self.target.parent)
            self._remove_journal(ours)  # last: a kill before the rename must not lose the work
        except OSError as exc:
            raise R1Error(f"{self.target}: {exc.strerror}") from exc
        self._finished = True

    def _remove_journal(self, ours: os.stat_result) -> None:
        """Once the file has its name, another process may start over and write a journal of its own, which stays."""
        journal = journal_path(self.target)
        with suppress(FileNotFoundError):
            if os.path.samestat(journal.stat(), ours):
                journal.unlink()

    @property
    def _open_journal(self) -> Journal:
        assert self._journal is not None, "`begin` comes first"
        return self._journal

    def _restart_journal(self, progress: JournalContent) -> None:
        self.progress = progress
        self._open_journal.close()
        with self._disk_errors():
            self._journal = Journal(journal_path(self.target), self.progress)

    def _resume(self) -> Iterator[int]:
        """Load the progress of an older run, if it had the same job; drop tensors that are damaged on the disk."""
        size = os.fstat(self._file.fileno()).st_size
        older = read_journal(journal_path(self.target)) if size else None
        if older is None or (older.job, size) != (self.progress.job, self._plan.size):
            if older is not None and older.tensors:
                self.started_over = "the options, the source or r1 itself changed since the earlier run"
            self._file.truncate(0)
            return
        buffer = memoryview(bytearray(_READ_BYTES))
        for tensor in self._plan.tensors:
            record = older.tensors.get(tensor.name)
            if record and record.crc32 != (yield from _checksum(self._read_at, tensor, buffer)):
                del older.tensors[tensor.name]
            self.write_at(tensor.offset + tensor.nbytes, bytes(padded(tensor.nbytes) - tensor.nbytes))
        self.progress = older

    def _read_at(self, offset: int, target: memoryview) -> None:
        self._file.seek(offset)
        while target and (count := self._file.readinto(target)):
            target = target[count:]
        target[:] = bytes(len(target))  # missing bytes read as zeros, and the checksum notices

    def _crc32(self, tensor: PlannedTensor) -> int:
        if tensor.source.file is None:
            return zlib.crc32(tensor.source.data)
        return self.progress.tensors[tensor.name].crc32

    def _require(self, same: bool, what: str) -> None:
        if not same:
            self.progress.tensors.clear()  # so that the file is not kept
            raise R1Error(f"{self.path}: {what} was not read back as written; check the disk, then run it again")

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise disk_error(self.target, exc, self._plan.size) from exc

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            journal_path(self.target).unlink(missing_ok=True)


def partial_path(target: Path) -> Path:
    """The unfinished file of `target`."""
    return target.with_name(target.name + ".partial")


def journal_path(target: Path) -> Path:
    """The journal of the unfinished file."""
    return target.with_name(target.name + ".partial.journal")


def free_space(target: Path) -> int:
    """The bytes a file may take there: the free space of the disk plus the size of its unfinished file."""
    folder = next(folder for folder in target.absolute().parents if folder.exists())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as exc:
        raise UsageError(f"cannot write {target}: {exc.strerror}") from exc
    try:
        return free + getattr(partial_path(target).stat(), "st_blocks", 0) * 512
    except OSError:
        return free


def salvage(target: Path, plan: ConversionPlan, job: str, manifest: Manifest) -> None:
    """Turn a damaged file into an unfinished one, so that only its damaged tensors are made again.

    The journal takes every tensor's checksum from the manifest, and `PartialGGUF.begin` drops the tensors that do not
    match. `job` is that of `PartialGGUF`. Raises R1Error when the disk fails.
    """
    if not target.exists():
        return  # an earlier attempt was interrupted after this
    tensors = {
        tensor.name: TensorRecord(
            crc32=manifest.tensor_crc32[tensor.name], source_digest=manifest.source_sha256[tensor.source.file.name]
        )
        for tensor in plan.tensors
        if tensor.source.file
        and tensor.name in manifest.tensor_crc32
        and tensor.source.file.name in manifest.source_sha256
    }
    files = {name: FileRecord(stamp=(0, 0, 0), digest=digest) for name, digest in manifest.source_sha256.items()}
    try:
        Journal(journal_path(target), JournalContent(job=job, tensors=tensors, files=files)).close()
        target.replace(partial_path(target))  # before truncating: a shortened file must not look finished
        os.truncate(partial_path(target), plan.size)
    except OSError as exc:
        raise R1Error(f"{target}: {exc.strerror}") from exc


def _open_locked(path: Path, target: Path) -> FileIO:
    """The unfinished file, locked, so that two processes never mix their bytes in it. Does not follow links."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o666)
    file = FileIO(descriptor, "r+b")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EEXIST, f"{path.name} exists and is not a regular file")
    if not (try_lock(file) and os.path.samestat(path.stat(), os.fstat(descriptor))):
        file.close()
        raise R1Error(f"another process is making {target}; wait for it to finish")
    return file


def _checksum(
    read_into: Callable[[int, memoryview], None], tensor: PlannedTensor, buffer: memoryview
) -> Generator[int, None, int]:
    """The CRC-32 of a tensor's bytes in a file; yields the bytes read since the last time."""
    crc, end = 0, tensor.offset + tensor.nbytes
    for offset in range(tensor.offset, end, len(buffer)):
        part = buffer[: min(len(buffer), end - offset)]
        read_into(offset, part)
        crc = zlib.crc32(part, crc)
        yield len(part)
    return crc


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut. Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
