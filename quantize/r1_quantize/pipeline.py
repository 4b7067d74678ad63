"""The one path from a checkpoint folder to a checked GGUF, as a stream of events.

Knows: the order of the steps, and what is recorded about a result.
Does not know: formats, kernels or rules (each has its module), and nothing of terminals: whoever iterates
decides what is shown.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from r1_quantize import reader
from r1_quantize.catalog import Checkpoint
from r1_quantize.checkpoint import CheckpointFolder
from r1_quantize.errors import R1Error
from r1_quantize.ggml import Conversion, Quantizer
from r1_quantize.manifest import Manifest, file_sha256
from r1_quantize.plan import Plan, PlannedTensor, plan
from r1_quantize.recipe import recipe_for
from r1_quantize.writer import GGUFWriter, header_of, size_of


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be made of what.

    `source` is a checkpoint folder, `target` the GGUF, whose folder exists. `name` stands in general.name
    unless `checkpoint`, the catalogue's entry, says better. With `manifest` a record is left there;
    `revision` is the hub's commit the folder came from, for that record.
    """

    source: Path
    quant: str
    target: Path
    name: str
    checkpoint: Checkpoint | None = None
    revision: str | None = None
    manifest: Path | None = None
    threads: int | None = None  # None: one for each core


@dataclass(frozen=True, slots=True)
class Planned:
    """Everything is known and checked; nothing has been written yet. Sizes are bytes."""

    source: Path
    quant: str
    tensors: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class TensorDone:
    """The tensor `index`, counted from 1, is written."""

    index: int
    name: str
    ggml_type: str
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The file has its name, and its manifest if one was asked for."""

    path: Path
    size: int
    sha256: str
    seconds: float


Event = Planned | TensorDone | Finished


def quantize(job: Job) -> Generator[Event, None, None]:
    """Make the GGUF. Events come as the steps end; closing the iterator early leaves nothing behind.

    Raises UsageError (unknown quantization), BadCheckpoint, NotEnoughRoom, or R1Error when the target cannot
    be written.
    """
    started = time.monotonic()
    recipe = recipe_for(job.quant)
    # 1. read and check everything but the weights
    with CheckpointFolder(job.source) as folder:
        planned = plan(folder, recipe, job.name, job.checkpoint)
        header = header_of(planned)
        size = size_of(header, planned.tensors)
        bytes_in = sum(tensor.source.stored.nbytes for tensor in planned.tensors)
        yield Planned(job.source, recipe.name, len(planned.tensors), bytes_in, size)
        # 2. write front to back, each weight once
        with GGUFWriter(job.target, size) as writer, Quantizer(job.threads) as quantizer:
            writer.write(header)
            for index, tensor in enumerate(planned.tensors, 1):
                for piece in quantizer.convert(_conversion(tensor), tensor.source.read_into):
                    writer.write(piece)
                writer.pad()
                yield TensorDone(index, tensor.name, tensor.type.name, tensor.source.stored.nbytes, tensor.nbytes)
            # 3. check it, then name it; a manifest never stands beside a file it does not describe
            writer.flush()
            reader.read(writer.partial)
            record = _record(job, folder, planned, writer) if job.manifest else None
            if job.manifest:
                job.manifest.unlink(missing_ok=True)
            writer.rename()
        if job.manifest and record:
            _write_whole(job.manifest, record.to_json())
    yield Finished(job.target, size, writer.sha256, time.monotonic() - started)


def _conversion(tensor: PlannedTensor) -> Conversion:
    source = tensor.source.stored.type
    assert source is not None  # `plan` lets no other tensor through
    rows, columns = tensor.shape if len(tensor.shape) == 2 else (1, tensor.shape[0])
    return Conversion(f"{tensor.source.shard.path}: {tensor.source.stored.name}", rows, columns, source, tensor.type)


def _record(job: Job, folder: CheckpointFolder, planned: Plan, writer: GGUFWriter) -> Manifest:
    from importlib.metadata import version  # slow to import

    repo = job.checkpoint.repo if job.checkpoint else None
    return Manifest(
        name=job.name,
        quant=recipe_for(job.quant).name,
        source=repo or folder.path.name,
        revision=job.revision,
        source_sha256={file: file_sha256(folder.path / file) for file in sorted(folder.files)},
        sha256=writer.sha256,
        size=writer.size,
        recipe=dict(sorted(Counter(tensor.type.name for tensor in planned.tensors).items())),
        tools={package: version(package) for package in ("r1-local", "llama-cpp-python")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as exc:
        raise R1Error(f"{path}: {exc.strerror}") from exc
