"""A GGUF on its way to disk: every tensor at the place that the plan has for it, in whichever order they come.

The bytes go to NAME.gguf.partial, with a journal beside it, NAME.gguf.partial.journal. Both stay when work is
interrupted, and the next run takes it up. The file gets its name only when all of it is on the disk and has been read
back.

Knows: what a half-made file is, who may write it, what a full disk looks like. Does not know: where the bytes of a
tensor come from.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from r1_quantize.errors import BadValue, R1Error, UsageError
from r1_quantize.files import Digest, HashedFile, disk_error, try_lock
from r1_quantize.gguf import reader
from r1_quantize.journal import FileRecord, Journal, Progress, TensorRecord, read_journal
from r1_quantize.plan import ConversionPlan, PlannedTensor, padded
from r1_quantize.store.manifest import Manifest

_READ = 1 << 20  # bytes read back at once


class PartialGGUF:
    """A file being made. Leaving the context without `rename` leaves it for the next run, if that can use it.

    `progress` is what is whole of it. `started_over` says why an older half-made file was of no use; None when it
    was, or there was none. Both are known once `begin` is through.
    """

    def __init__(self, target: Path, plan: ConversionPlan, job: str) -> None:
        """`job` is the digest of everything the result follows from, but the weights; see `journal.Progress`.

        Raises UsageError when it cannot be written there, R1Error when another process is at it.
        """
        self.target = target
        self.path = partial_path(target)
        self.started_over: str | None = None
        self.progress = Progress(job=job)
        self._plan = plan
        self._journal: Journal | None = None
        self._began = self._finished = False
        try:
            self._file = self._open()
        except OSError as exc:
            raise UsageError(f"{target} cannot be written: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal:
            self._journal.close()
        # before that is looked at nobody knows what an older run has left, so it stays
        useless = isinstance(error, BadValue) or (self._began and not self.progress.tensors)
        if useless and not self._finished and os.name != "nt":
            self._remove()  # while the lock is held: afterwards it may be another process's
        with suppress(OSError):  # on a full disk closing fails like writing did, and that is already being said
            self._file.close()
        if useless and not self._finished and os.name == "nt":  # which removes no open file
            self._remove()

    def begin(self) -> Iterator[int]:
        """Take up what an older run left, or begin anew; yields how many bytes were read since the last time.

        Raises NotEnoughSpace when the disk is full, R1Error when it fails otherwise.
        """
        try:
            yield from self._take_up()
            self._began = True
            self._journal = Journal(journal_path(self.target), self.progress)
            self._file.truncate(self._plan.size)
        except OSError as exc:
            raise self._failed(exc) from exc
        self.write_at(0, self._plan.header)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Put bytes in their place. Raises NotEnoughSpace when the disk is full, R1Error when it fails otherwise."""
        rest = memoryview(data)
        try:
            self._file.seek(offset)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as exc:
            raise self._failed(exc) from exc

    def tensor_done(self, name: str, record: TensorRecord) -> None:
        """Note that all of a tensor is in its place."""
        self._note(lambda journal: journal.tensor(name, record))
        self.progress.tensors[name] = record

    def file_done(self, name: str, record: FileRecord, *, durable: bool = False) -> None:
        """Note that a file of the source was read to its end, and nothing in it is wanted any more.

        With `durable` what was made of it is on the disk first: whoever brought it may remove it now.
        """
        try:
            if durable:
                os.fsync(self._file.fileno())
        except OSError as exc:
            raise self._failed(exc) from exc
        self._note(lambda journal: journal.file(name, record, durable=durable))
        self.progress.files[name] = record

    def start_over(self) -> None:
        """Forget everything but what is to be made."""
        self._note_again(Progress(job=self.progress.job))

    def forget(self, names: Iterable[str]) -> None:
        """These tensors are not whole after all."""
        gone = set(names)
        kept = {name: record for name, record in self.progress.tensors.items() if name not in gone}
        self._note_again(Progress(self.progress.job, kept, self.progress.files))

    def checksums(self) -> dict[str, int]:
        """Tensor → the CRC-32 of its bytes, when all are whole."""
        return {tensor.name: self._crc32(tensor) for tensor in self._plan.tensors}

    def _note_again(self, progress: Progress) -> None:
        """Begin the journal anew, with this."""
        assert self._journal is not None
        self.progress = progress
        self._journal.close()
        try:
            self._journal = Journal(journal_path(self.target), self.progress)
        except OSError as exc:
            raise self._failed(exc) from exc

    def check(self, digest: Callable[[], Digest]) -> Generator[int, None, str]:
        """Put everything on the disk and read it back, which a system may do from its cache.

        Yields how many bytes were read since the last time, at first none. Returns the digest of the file. Raises
        R1Error when it is not what was written.
        """
        yield 0
        try:
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise self._failed(exc) from exc
        buffer = memoryview(bytearray(max(_READ, len(self._plan.header))))
        with HashedFile(self.path, digest) as file:
            header = buffer[: len(self._plan.header)]
            file.read_into(0, header)
            self._compare("its header", header == self._plan.header)
            yield len(header)
            for tensor in self._plan.tensors:
                crc = yield from _checksum(file.read_into, tensor, buffer)
                self._compare(tensor.name, crc == self._crc32(tensor))
                padding = buffer[: padded(tensor.nbytes) - tensor.nbytes]
                file.read_into(tensor.offset + tensor.nbytes, padding)
                self._compare(f"what follows {tensor.name}", not any(padding))
            found = file.finish()
        reader.read(self.path)
        return found

    def rename(self) -> None:
        """Give the file its name, in place of whatever had it."""
        assert self._journal is not None
        try:
            if not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
                raise R1Error(f"{self.path} was replaced by another file meanwhile; run it again")
            self._journal.close()
            journal_path(self.target).unlink(missing_ok=True)  # while the lock is held, so that it is ours
            if os.name == "nt":
                self._file.close()  # Windows renames no open file; elsewhere the lock is held until it has its name
            self.path.replace(self.target)
            _sync_folder(self.target.parent)
        except OSError as exc:
            raise R1Error(f"{self.target}: {exc.strerror}") from exc
        self._finished = True

    def _note(self, append: Callable[[Journal], None]) -> None:
        assert self._journal is not None
        try:
            append(self._journal)
        except OSError as exc:
            raise self._failed(exc) from exc

    def _open(self) -> FileIO:
        """The partial file, locked, so that no two processes ever mix their bytes in it. Links are not followed."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o666)
        file = FileIO(descriptor, "r+b")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise OSError(errno.EEXIST, f"{self.path.name} is there and no plain file")
        if not (try_lock(file) and os.path.samestat(self.path.stat(), os.fstat(descriptor))):
            file.close()
            raise R1Error(f"{self.target} is being made by another process; wait for it")
        return file

    def _take_up(self) -> Iterator[int]:
        """What an older run left that still holds: of the same job, and on the disk as it was written."""
        size = os.fstat(self._file.fileno()).st_size
        found = read_journal(journal_path(self.target)) if size else None
        if found is None or (found.job, size) != (self.progress.job, self._plan.size):
            if found is not None and found.tensors:
                self.started_over = "the options, the source's description or r1 itself changed since it was begun"
            self._file.truncate(0)
            return
        buffer = memoryview(bytearray(_READ))
        for tensor in self._plan.tensors:
            record = found.tensors.get(tensor.name)
            if record and record.crc32 != (yield from _checksum(self._read_at, tensor, buffer)):
                del found.tensors[tensor.name]
            self.write_at(tensor.offset + tensor.nbytes, bytes(padded(tensor.nbytes) - tensor.nbytes))
        self.progress = found

    def _read_at(self, offset: int, target: memoryview) -> None:
        self._file.seek(offset)
        while target and (count := self._file.readinto(target)):
            target = target[count:]
        target[:] = bytes(len(target))  # what is not there cannot be right

    def _crc32(self, tensor: PlannedTensor) -> int:
        if tensor.source.file is None:
            return zlib.crc32(tensor.source.data)
        return self.progress.tensors[tensor.name].crc32

    def _compare(self, what: str, same: bool) -> None:
        if not same:
            self.progress.tensors.clear()  # so that nothing of it is kept
            raise R1Error(f"{self.path}: {what} was not read back as it was written; check the disk, then run it again")

    def _failed(self, exc: OSError) -> R1Error:
        return disk_error(self.target, exc, self._plan.size)

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            journal_path(self.target).unlink(missing_ok=True)


def partial_path(target: Path) -> Path:
    """Where `target` is while it is being made."""
    return target.with_name(target.name + ".partial")


def journal_path(target: Path) -> Path:
    """Where the record of what is whole of it is."""
    return target.with_name(target.name + ".partial.journal")


def free_space(target: Path) -> int:
    """How many bytes of the disk a file may take there: what is free, and what its half-made forerunner has already."""
    folder = next(folder for folder in target.absolute().parents if folder.exists())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as exc:
        raise UsageError(f"{target} cannot be written: {exc.strerror}") from exc
    try:
        return free + getattr(partial_path(target).stat(), "st_blocks", 0) * 512
    except OSError:
        return free


def salvage(target: Path, plan: ConversionPlan, job: str, manifest: Manifest) -> None:
    """Make of a damaged file the half-made one it might have been: every tensor is on record as it was when it was
    made, so that those that are not on the disk like that are made again. `job` is that of `PartialGGUF`.

    Raises R1Error when the disk fails.
    """
    if not target.exists():
        return  # an earlier attempt was interrupted after this
    tensors = {
        tensor.name: TensorRecord(manifest.tensor_crc32[tensor.name], manifest.source_sha256[tensor.source.file.name])
        for tensor in plan.tensors
        if tensor.source.file
        and tensor.name in manifest.tensor_crc32
        and tensor.source.file.name in manifest.source_sha256
    }
    files = {name: FileRecord((0, 0, 0), digest) for name, digest in manifest.source_sha256.items()}
    try:
        Journal(journal_path(target), Progress(job, tensors, files)).close()
        target.replace(partial_path(target))  # first: a file that was cut short must not look whole
        os.truncate(partial_path(target), plan.size)
    except OSError as exc:
        raise R1Error(f"{target}: {exc.strerror}") from exc


def _checksum(
    read_into: Callable[[int, memoryview], None], tensor: PlannedTensor, buffer: memoryview
) -> Generator[int, None, int]:
    """The CRC-32 of a tensor's bytes as they lie in a file; yields how many were read since the last time."""
    crc, end = 0, tensor.offset + tensor.nbytes
    for offset in range(tensor.offset, end, len(buffer)):
        part = buffer[: min(len(buffer), end - offset)]
        read_into(offset, part)
        crc = zlib.crc32(part, crc)
        yield len(part)
    return crc


def _sync_folder(folder: Path) -> None:
    """Make the renaming outlive a power cut. Windows has no such call, and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
