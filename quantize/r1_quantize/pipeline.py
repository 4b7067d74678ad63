"""The one path from a checkpoint folder, or a GGUF, to a checked GGUF, as a stream of events.

The source's files are read one after the other, front to back, each byte once: what is hashed for the record is what
is quantized. Tensors go to their places in the result as they come by.

Knows: the order of the steps, what an interrupted run left, and what is recorded about a result. Does not know:
formats, kernels or rules (each has its module), and nothing of terminals: whoever iterates decides what is shown.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.checkpoint_source import checkpoint_source
from r1_quantize.errors import BadFile, BadValue, NotEnoughSpace, UsageError
from r1_quantize.events import (
    Advanced,
    Checked,
    Finished,
    PipelineEvent,
    Planned,
    Preparing,
    Rechecked,
    Rejected,
    Resumed,
    StartedOver,
    TensorDone,
)
from r1_quantize.file_provider import FileProvider, LocalFiles
from r1_quantize.files import Crc32, Digest, HashedFile, SourceFile
from r1_quantize.ggml import Conversion, Piece, Quantizer
from r1_quantize.gguf.split import part_names
from r1_quantize.gguf.tensor_type import WITH_TABLES
from r1_quantize.gguf_source import gguf_source, gguf_source_of
from r1_quantize.imatrix import Imatrix, read_imatrix
from r1_quantize.journal import FileRecord, Progress, TensorRecord
from r1_quantize.plan import ConversionPlan, PlannedTensor, plan, recipe_needs_imatrix, size_of
from r1_quantize.recipe import RECIPES, Override, recipe_or_copy
from r1_quantize.source import Source
from r1_quantize.store.manifest import Manifest, tools
from r1_quantize.store.store import allocated_bytes
from r1_quantize.writer import PartialGGUF, journal_path, partial_path, free_space, salvage


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be made of what.

    `source` is a checkpoint folder, a GGUF or any part of one, `target` the GGUF, whose folder exists. `name` stands
    in general.name of a checkpoint unless `checkpoint`, the catalogue's entry, says better. With `manifest` a record is
    left there; `origin` and `revision` say where the source came from, for that record. `provider` brings what of the
    source is not on this disk yet. With `damaged`, the manifest of what is at the target, that is repaired.
    """

    source: Path
    quant: str
    target: Path
    name: str
    checkpoint: Checkpoint | None = None
    origin: str | None = None
    revision: str | None = None
    manifest: Path | None = None
    imatrix: Path | None = None
    overrides: tuple[Override, ...] = ()
    pretokenizer: str | None = None
    allow_requantize: bool = False
    threads: int | None = None  # None: one for each core
    provider: FileProvider = field(default_factory=LocalFiles)
    damaged: Manifest | None = None


class _SourceChanged(Exception):
    """A source file is no longer what it was when the tensors that are done were made of it."""


def quantize(job: Job) -> Generator[PipelineEvent, None, None]:
    """Make the GGUF. Events come as the steps end. Closing the iterator early leaves what is done for the next call
    with the same job, which goes on from there.

    Raises UsageError (unknown quantization, no importance matrix where one is needed), BadFile, NotEnoughSpace, or
    R1Error when the target cannot be written.
    """
    started = time.monotonic()
    # 1. read and check everything but the weights
    imatrix = read_imatrix(job.imatrix) if job.imatrix else None
    recipe = recipe_or_copy(job.quant)
    source = open_source(job.source, job.name, job.checkpoint, job.pretokenizer, job.provider.files)
    planned = plan(source, recipe, imatrix=imatrix, overrides=job.overrides, allow_requantize=job.allow_requantize)
    _check_target(job, source)
    tensors = tuple(tensor.extent for tensor in planned.tensors)
    yield Planned(job.source, recipe.name, tensors, planned.bytes_in, planned.size)
    _check_room(job, source, planned)
    # 2. read every weight once, and write what becomes of it
    digest = _digest_of(job, planned, source, imatrix)
    if job.damaged:
        salvage(job.target, planned, digest, job.damaged)
    work = _Work(planned, source, job.provider, sha256 if job.manifest else Crc32)  # only a manifest keeps a SHA-256
    with (
        PartialGGUF(job.target, planned, digest) as file,
        Quantizer(job.threads) as quantizer,
    ):
        yield from _beginning(file, planned)
        for kind in sorted({tensor.type for tensor in planned.tensors} & WITH_TABLES):
            yield Preparing(kind.name)
            quantizer.prepare(kind)
        while True:
            try:
                yield from work.fill(file, quantizer)
                break
            except _SourceChanged as exc:
                file.start_over()
                yield StartedOver(f"{exc} is not what it was when work on it began")
        # 3. check it, then name it; a manifest never stands beside a file it does not describe
        digest = yield from _checked(file, work.algorithm)
        if job.manifest:
            record = _record(job, source, work, imatrix, digest, file.checksums())
            settle = record.stage(job.manifest, file.path)
        file.rename()
    if job.manifest:
        settle()
    yield Finished(job.target, planned.size, time.monotonic() - started)


def open_source(
    path: Path,
    name: str,
    checkpoint: Checkpoint | None = None,
    pretokenizer: str | None = None,
    elsewhere: Mapping[str, SourceFile] | None = None,
) -> Source:
    """What there is to quantize in a checkpoint folder, or in a GGUF and its other parts; `elsewhere` has, by name, the
    files that are not here yet. Raises BadFile.
    """
    if path.is_dir():
        return checkpoint_source(CheckpointFolder(path, elsewhere), name, checkpoint, pretokenizer)
    if elsewhere:
        return gguf_source_of([elsewhere[name] for name in part_names(path.name)])
    return gguf_source(path)


def _check_target(job: Job, source: Source) -> None:
    """What is written, on the way too, is none of what is read."""
    read = [
        *(file.path for file in source.files),
        *(source.path / name for name in source.digests),
        *filter(None, [job.imatrix]),
    ]
    for written in (job.target, partial_path(job.target), journal_path(job.target)):
        if written.exists() and any(path.exists() and written.samefile(path) for path in read):
            raise UsageError(f"{written} belongs to the source and would be made of itself; take another place or type")


def _check_room(job: Job, source: Source, planned: ConversionPlan) -> None:
    free = free_space(job.target) + (allocated_bytes(job.target) if job.damaged else 0)  # which becomes the half-made one
    if free >= planned.size:
        return
    smaller = (name for name, recipe in RECIPES.items() if not recipe_needs_imatrix(source, recipe))
    sizes = {name: size_of(source, RECIPES[name])[0] for name in smaller}
    fitting = max((size, name) for size, name in [(0, ""), *((s, n) for n, s in sizes.items() if s <= free)])[1]
    advice = f"{fitting} would fit, with {units.size(sizes[fitting])}" if fitting else "no quantization of it would fit"
    needed = f"{units.size(planned.size)} are needed on this disk, {units.size(free)} are free"
    raise NotEnoughSpace(f"{job.target}: {needed}; {advice}")


def _digest_of(job: Job, planned: ConversionPlan, source: Source, imatrix: Imatrix | None) -> str:
    """By which a half-made file is recognised: the header, which follows from every setting, and what is not in it."""
    digest = sha256(planned.header)
    files = [(file.path.name, file.size) for file in source.files]
    others = files, imatrix and imatrix.sha256, sorted(tools().items()), job.manifest is None
    digest.update(repr(others).encode())
    return digest.hexdigest()


def _beginning(file: PartialGGUF, planned: ConversionPlan) -> Iterator[PipelineEvent]:
    """What an earlier run left, and the tensors that need no reading."""
    for count in file.begin():
        yield Rechecked(count)
    if file.started_over:
        yield StartedOver(file.started_over)
    if file.progress.tensors:
        yield _resumed(planned, file.progress)
    for tensor in planned.tensors:
        if tensor.source.file is None:
            file.write_at(tensor.offset, tensor.source.data)


def _resumed(planned: ConversionPlan, progress: Progress) -> Resumed:
    """How far the work is with what is whole."""
    done = [tensor for tensor in planned.tensors if tensor.name in progress.tensors]
    return Resumed(len(done), sum(tensor.source.nbytes for tensor in done), sum(tensor.nbytes for tensor in done))


def _checked(file: PartialGGUF, algorithm: Callable[[], Digest]) -> Generator[PipelineEvent, None, str]:
    """Everything read back from the disk; returns its digest."""
    checking = file.check(algorithm)
    while True:
        try:
            yield Checked(next(checking))
        except StopIteration as end:
            return str(end.value)


@dataclass(slots=True)
class _Work:
    """The weights of one job on their way from the source's files into the result."""

    planned: ConversionPlan
    source: Source
    provider: FileProvider
    algorithm: Callable[[], Digest]  # of the digests of what is read
    done: int = 0  # tensors that are whole
    file_digests: dict[str, str] = field(default_factory=dict)

    def fill(self, result: PartialGGUF, quantizer: Quantizer) -> Iterator[PipelineEvent]:
        """Everything that is not whole yet. Raises _SourceChanged when what is whole is of another source."""
        if stale := self._of_other_files(result.progress):
            result.forget(stale)
            yield _resumed(self.planned, result.progress)
        computed = sum(tensor.source.file is None for tensor in self.planned.tensors)
        self.done = computed + len(result.progress.tensors)
        wanted = []
        for file in self.source.files:
            if digest := self._digest_if_done(file, result.progress):
                self.file_digests[file.path.name] = digest
                self.provider.release(file)
            else:
                wanted.append(file)
        for file in self.provider.start(wanted):
            self.file_digests[file.path.name] = yield from self._read(file, result, quantizer)
            self.provider.release(file)

    def _of_other_files(self, progress: Progress) -> list[str]:
        """The tensors that were made of a file by the same name which its publisher has changed since."""
        return [
            tensor.name
            for file in self.source.files
            for tensor in (self.planned.of_file(file.path) if file.sha256 else ())
            if tensor.name in progress.tensors and progress.tensors[tensor.name].source_digest != file.sha256
        ]

    def _digest_if_done(self, file: SourceFile, progress: Progress) -> str | None:
        """The digest of a file that an earlier run has done with; None for any other."""
        record = progress.files.get(file.path.name)
        if record is None or any(tensor.name not in progress.tensors for tensor in self.planned.of_file(file.path)):
            return None
        same = record.digest == file.sha256 if file.sha256 else record.stamp == file.stamp
        return record.digest if same else None

    def _read(self, file: SourceFile, result: PartialGGUF, quantizer: Quantizer) -> Generator[PipelineEvent, None, str]:
        """One file, and everything that becomes of it; returns its digest."""
        tensors = self.planned.of_file(file.path)
        while True:
            path = yield from self.provider.take(file)
            with HashedFile(path, self.algorithm) as opened:
                if file.sha256 is None and file.stamp and opened.stamp[:2] != file.stamp[:2]:
                    raise BadFile(f"{path} was changed while others were read; run it again")
                try:
                    yield from self._convert(opened, tensors, result, quantizer, known=file.sha256)
                except BadValue:
                    if file.sha256 in {None, opened.finish()}:
                        raise  # else it is damage, and not what was published
                digest = opened.finish()
                if file.sha256 in {None, digest}:
                    record = FileRecord(opened.stamp, digest)
                    result.file_done(file.path.name, record, durable=file.sha256 is not None)
                    return digest
            self.done -= sum(tensor.name in result.progress.tensors for tensor in tensors)
            result.forget(tensor.name for tensor in tensors)
            self.provider.reject(file)
            yield Rejected(file.path.name, file.size, f"{path} is not what was fetched any more")
            yield _resumed(self.planned, result.progress)

    def _convert(
        self,
        file: HashedFile,
        tensors: list[PlannedTensor],
        result: PartialGGUF,
        quantizer: Quantizer,
        *,
        known: str | None,
    ) -> Iterator[PipelineEvent]:
        """The tensors of one file; of a `known` one it is said what all of it hashes to."""
        read_up_to: dict[str, str] = {}
        values = max((_conversion(tensor).values_at_once for tensor in tensors), default=1)
        at = crc = 0
        for piece, data in quantizer.convert(
            _pieces(file, tensors, result.progress, read_up_to, known=bool(known)), values
        ):
            tensor = piece.tag
            result.write_at(tensor.offset + at, data)
            crc = zlib.crc32(data, crc)
            at += len(data)
            yield Advanced(tensor.name, piece.nbytes, len(data))
            yield from self.provider.poll()
            if at == tensor.nbytes:
                result.tensor_done(tensor.name, TensorRecord(crc, known or read_up_to[tensor.name]))
                at = crc = 0
                self.done += 1
                yield TensorDone(self.done, tensor.name, tensor.type.name, tensor.source.nbytes, tensor.nbytes)


def _pieces(
    file: HashedFile, tensors: list[PlannedTensor], progress: Progress, read_up_to: dict[str, str], *, known: bool
) -> Iterator[Piece[PlannedTensor]]:
    """The pieces of the tensors that are not whole yet, in the order they lie in the file.

    `read_up_to` gets the digest of the file up to a tensor's end, before its last piece comes back. Over a tensor that
    is whole the file is read all the same: that is how a source that was changed is noticed, unless it is `known`.
    """
    for tensor in tensors:
        source = tensor.source
        if done := progress.tensors.get(tensor.name):
            file.skip_to(source.offset + source.nbytes)
            if not known and file.digest != done.source_digest:
                raise _SourceChanged(file.path)
            continue
        conversion = _conversion(tensor)
        rows = source.values // conversion.columns
        for first in range(0, rows, conversion.rows_at_once):
            offset = source.offset + source.type.bytes_of(first * conversion.columns)
            count = min(conversion.rows_at_once, rows - first)
            yield Piece(conversion, count, partial(file.read_into, offset), tensor)
        read_up_to[tensor.name] = file.digest


def _conversion(tensor: PlannedTensor) -> Conversion:
    source = tensor.source
    columns = source.shape[-1]
    head_rows = source.shape[0] // source.rotary_heads if source.rotary_heads else 0
    if len(source.shape) == 1:  # a norm or a bias: each of its values, or blocks, is a row
        columns = source.type.block
    return Conversion(source.label, columns, source.type, tensor.type, head_rows, tensor.imatrix)


def _record(
    job: Job, source: Source, work: _Work, imatrix: Imatrix | None, digest: str, checksums: Mapping[str, int]
) -> Manifest:
    repo = job.checkpoint.repo if job.checkpoint else None
    return Manifest(
        name=job.name,
        quant=job.target.stem,
        source=job.origin or repo or source.path.name,
        revision=job.revision,
        source_sha256=dict(sorted({**source.digests, **work.file_digests}.items())),
        sha256=digest,
        size=work.planned.size,
        recipe=work.planned.counts,
        tools=tools(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        imatrix_sha256=imatrix.sha256 if imatrix else None,
        tensor_types=[str(override) for override in job.overrides],
        tensor_crc32=dict(checksums),
    )
