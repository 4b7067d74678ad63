"""Makes a checked GGUF from a checkpoint folder or another GGUF, as a stream of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.checkpoint_source import checkpoint_source
from r1_quantize.converter import Converter, SourceChanged, resumed
from r1_quantize.errors import NotEnoughSpace, UsageError
from r1_quantize.events import Checked, Finished, PipelineEvent, Planned, Preparing, Rechecked, StartedOver
from r1_quantize.file_provider import FileProvider, LocalFiles
from r1_quantize.files import Crc32, Digest, SourceFile
from r1_quantize.ggml import Quantizer
from r1_quantize.gguf.split import part_names
from r1_quantize.gguf.tensor_type import WITH_TABLES
from r1_quantize.gguf.vocabulary import missing_control_tokens
from r1_quantize.gguf_source import gguf_source, gguf_source_of
from r1_quantize.imatrix import Imatrix, read_imatrix
from r1_quantize.plan import ConversionPlan, plan, recipe_needs_imatrix, size_of
from r1_quantize.recipe import RECIPES, Override, recipe_or_copy
from r1_quantize.source import Source
from r1_quantize.store.manifest import Manifest, tools
from r1_quantize.store.removable import allocated_bytes
from r1_quantize.writer import PartialGGUF, free_space, journal_path, partial_path, salvage


@dataclass(frozen=True, slots=True)
class Job:
    """What to convert, to what, and where.

    `source` is a checkpoint folder, a GGUF or any part of a split GGUF. `target` is the GGUF to make; its folder
    exists. `checkpoint` is the catalogue's entry; without one, general.name of a checkpoint is `name`. With `manifest`,
    a record is written there, and `origin` and `revision` say in it where the source came from. `provider` fetches the
    source files that are not on this disk. With `damaged`, the manifest of a damaged file at the target, that file is
    repaired.
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
    threads: int | None = None  # None: one per core
    provider: FileProvider = field(default_factory=LocalFiles)
    damaged: Manifest | None = None


def quantize(job: Job) -> Generator[PipelineEvent, None, None]:
    """Make the GGUF, yielding events while the work goes on.

    Closing the iterator early keeps the work so far; the next call with the same job resumes it. Raises UsageError
    (unknown type, an importance matrix is needed), BadFile, NotEnoughSpace, or R1Error when the target cannot be
    written.
    """
    started = time.monotonic()
    # 1. read and check everything but the weights
    imatrix = read_imatrix(job.imatrix) if job.imatrix else None
    recipe = recipe_or_copy(job.quant)
    source = open_source(job.source, job.name, job.checkpoint, job.pretokenizer, job.provider.files)
    planned = plan(source, recipe, imatrix=imatrix, overrides=job.overrides, allow_requantize=job.allow_requantize)
    _check_target(job, source)
    job_digest = _job_digest(job, planned, source, imatrix)
    missing_tokens = missing_control_tokens(source.entries)
    yield Planned(
        source=job.source,
        quant=recipe.name,
        tensors=tuple(tensor.extent for tensor in planned.tensors),
        bytes_in=planned.bytes_in,
        bytes_out=planned.size,
        notes=source.notes,
        missing_tokens=missing_tokens,
        job=job_digest,
    )
    _check_space(job, source, planned)
    # 2. read every weight once, and write it converted
    if job.damaged:
        salvage(job.target, planned, job_digest, job.damaged)
    algorithm = sha256 if job.manifest else Crc32  # only a manifest keeps a SHA-256
    with PartialGGUF(job.target, planned, job_digest) as file, Quantizer(job.threads) as quantizer:
        yield from _begin(file, planned)
        yield from _prepare(quantizer, planned)
        converter = Converter(planned, source, job.provider, algorithm, quantizer, file)
        yield from _convert(converter)
        # 3. check the file, then rename it; the manifest must never describe another file
        digest = yield from _check(file, algorithm)
        if job.manifest:
            manifest = _manifest(job, source, converter, imatrix, digest)
            commit = manifest.stage(job.manifest, file.path)
        file.rename()
    if job.manifest:
        commit()
    yield Finished(job.target, planned.size, time.monotonic() - started, missing_tokens)


def open_source(
    path: Path,
    name: str,
    checkpoint: Checkpoint | None = None,
    pretokenizer: str | None = None,
    files: Mapping[str, SourceFile] | None = None,
) -> Source:
    """The source in a checkpoint folder, a GGUF or a split GGUF. Raises BadFile.

    `files` maps names to the files that are not on this disk yet or have a published digest.
    """
    if path.is_dir():
        return checkpoint_source(CheckpointFolder(path, files), name, checkpoint, pretokenizer)
    if files:
        return gguf_source_of([files[name] for name in part_names(path.name)])
    return gguf_source(path)


def _check_target(job: Job, source: Source) -> None:
    """Check that the target is no folder, and that none of the files to write is one of the files to read."""
    if job.target.is_dir():
        raise UsageError(f"{job.target} is a folder, so no model can be written there; move it away")
    read = [
        *(file.path for file in source.files),
        *(source.path / name for name in source.digests),
        *filter(None, [job.imatrix]),
    ]
    for written in (job.target, partial_path(job.target), journal_path(job.target)):
        if written.exists() and any(path.exists() and written.samefile(path) for path in read):
            raise UsageError(f"{written} is part of the source; choose another output or type")


def _check_space(job: Job, source: Source, planned: ConversionPlan) -> None:
    reused = allocated_bytes(job.target) if job.damaged else 0  # a repair continues in the damaged file
    free = free_space(job.target) + reused
    if free >= planned.size:
        return
    needed = f"{units.size(planned.size)} needed on this disk, {units.size(free)} free"
    raise NotEnoughSpace(f"{job.target}: {needed}; {_largest_that_fits(source, free)}")


def _largest_that_fits(source: Source, free: int) -> str:
    usable = (recipe for recipe in RECIPES.values() if not recipe_needs_imatrix(source, recipe))
    sizes = [(size_of(source, recipe)[0], recipe.name) for recipe in usable]
    fitting = [(size, name) for size, name in sizes if size <= free]
    if not fitting:
        return "no type would fit"
    size, name = max(fitting)
    return f"{name} would fit, with {units.size(size)}"


def _job_digest(job: Job, planned: ConversionPlan, source: Source, imatrix: Imatrix | None) -> str:
    """Identifies an unfinished file: a digest of the header, and of the inputs that do not change the header."""
    digest = sha256(planned.header)
    files = [(file.path.name, file.size) for file in source.files]
    others = files, imatrix and imatrix.sha256, sorted(tools().items()), job.manifest is None
    digest.update(repr(others).encode())
    return digest.hexdigest()


def _begin(file: PartialGGUF, planned: ConversionPlan) -> Iterator[PipelineEvent]:
    """Resume what an earlier run left, and write the tensors that are computed."""
    for count in file.begin():
        yield Rechecked(count)
    if file.started_over:
        yield StartedOver(file.started_over)
    if file.progress.tensors:
        yield resumed(planned, file.progress)
    for tensor in planned.tensors:
        if tensor.source.file is None:
            file.write_at(tensor.offset, tensor.source.data)


def _prepare(quantizer: Quantizer, planned: ConversionPlan) -> Iterator[PipelineEvent]:
    for kind in sorted({tensor.type for tensor in planned.tensors} & WITH_TABLES):
        yield Preparing(kind.name)
        quantizer.prepare(kind)


def _convert(converter: Converter) -> Iterator[PipelineEvent]:
    """Convert all weights, from the beginning again whenever a source file changed."""
    finished = False
    while not finished:
        try:
            yield from converter.run()
            finished = True
        except SourceChanged as exc:
            converter.result.start_over()
            yield StartedOver(str(exc))


def _check(file: PartialGGUF, algorithm: Callable[[], Digest]) -> Generator[PipelineEvent, None, str]:
    """Read everything back from the disk; returns the digest of the file."""
    checking = file.check(algorithm)
    while True:
        try:
            yield Checked(next(checking))
        except StopIteration as end:
            return str(end.value)


def _manifest(job: Job, source: Source, converter: Converter, imatrix: Imatrix | None, digest: str) -> Manifest:
    repo = job.checkpoint.repo if job.checkpoint else None
    return Manifest(
        name=job.name,
        quant=job.target.stem,
        source=job.origin or repo or source.path.name,
        revision=job.revision,
        source_sha256=dict(sorted({**source.digests, **converter.file_digests}.items())),
        sha256=digest,
        size=converter.plan.size,
        recipe=converter.plan.counts,
        tools=tools(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        imatrix_sha256=imatrix.sha256 if imatrix else None,
        tensor_types=[str(override) for override in job.overrides],
        tensor_crc32=converter.result.checksums(),
        pretokenizer=job.pretokenizer,
        missing_tokens=[*missing_control_tokens(source.entries)],
    )
