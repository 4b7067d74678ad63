"""Repair a damaged model in the store, downloading as little as possible.

In a model made from a checkpoint, the tensors without the checksums in the manifest are made again from their shards.
For a GGUF that was downloaded unchanged, only the damaged ranges are downloaded again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

from r1_quantize.errors import BadFile, NetworkError, UsageError
from r1_quantize.events import Finished, Hashed, PipelineEvent
from r1_quantize.files import disk_error
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import GGUFFile
from r1_quantize.gguf.split import part_names
from r1_quantize.hub import hub, staging
from r1_quantize.hub.download import Connection, fetch_range, run_in_thread
from r1_quantize.hub.headers import gguf_parts
from r1_quantize.hub.hub import RevisionGone
from r1_quantize.hub.pull import run
from r1_quantize.hub.pull_job import PullJob
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.request import request_from_manifest, resolve
from r1_quantize.hub.shards import Shard
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store
from r1_quantize.verify import checksums

_Range = tuple[int, int]


def repair(store: Store, model: StoredModel, threads: int | None = None) -> Generator[PipelineEvent, None, None]:
    """Repair a model. Raises UsageError when it is not known how it was made, and what `pull.pull` raises."""
    manifest = model.manifest
    if model.quant is None or manifest is None:
        raise UsageError(f"{model.reference} has no manifest, so it cannot be repaired; get it again")
    request = request_from_manifest(model.name, model.quant, manifest, store.catalogue)
    if request is None:
        raise UsageError(
            f"{model.reference} was made from {manifest.source} on this machine; make it again with r1 quantize"
        )
    if manifest.imatrix_sha256:
        raise UsageError(
            f"{model.reference} was made with an importance matrix, which is not kept; run r1 rm {model.reference}, "
            f"then r1 pull hf:{manifest.source}:{model.quant} --imatrix FILE"
        )
    repository = yield from _find_repository(store, model, manifest)
    options = PullOptions(threads=threads).like(manifest)
    job = PullJob(store, resolve(request, repository), repository, options, damaged=manifest)
    if request.file and len(part_names(request.file)) == 1:
        yield from _repair_download(job, repository.weights([str(job.request.file)])[0], manifest)
    else:
        yield from run(job)


def _find_repository(
    store: Store, model: StoredModel, manifest: Manifest
) -> Generator[PipelineEvent, None, Repository]:
    """The repository at the commit the model was made from. Raises NetworkError."""
    for repository in staging.recorded_repositories(store, manifest.source):
        if repository.commit == manifest.revision:
            return repository
    look_up = partial(hub.look_up, manifest.source, manifest.revision)
    try:
        return (yield from run_in_thread(lambda connection: connection.call(look_up)))
    except RevisionGone as exc:
        raise NetworkError(
            f"the hub no longer has the commit {model.reference} was made from; run r1 rm {model.reference}, then "
            "r1 pull for the newest one"
        ) from exc


def _repair_download(job: PullJob, remote: RemoteFile, manifest: Manifest) -> Iterator[PipelineEvent]:
    """Repair, in place, a GGUF that was downloaded unchanged. Raises BadFile when that fails."""
    started = time.monotonic()
    with ExitStack() as stack:
        yield from job.lock(stack)
        folder = job.staging_folder(stack)
        (shard,) = yield from run_in_thread(partial(gguf_parts, job.repository, [remote.name], folder))
        gguf = reader.read_file(shard.at(job.target))
        file = _open_with_header(job.target, shard, gguf.data_offset, stack)
        damaged = yield from _damaged_ranges(gguf, manifest)
        yield from run_in_thread(partial(_fetch_ranges, job.repository, remote, damaged, file))
        if not remote.matches(job.target):
            gaps = list(_gaps(gguf))
            yield from run_in_thread(partial(_fetch_ranges, job.repository, remote, gaps, file))
        repaired = remote.matches(job.target)
        staging.clean_up(folder, [shard], keep=False)  # its header too, which may be the damaged part
        if not repaired:
            raise BadFile(f"{job.target} is still damaged; check the disk, or remove it and pull it again")
    yield Finished(job.target, remote.size, time.monotonic() - started)


def _open_with_header(target: Path, shard: Shard, data_offset: int, stack: ExitStack) -> BinaryIO:
    """Open the model for writing, with the header replaced by the hub's. Raises R1Error."""
    header = shard.header.read_bytes()
    try:
        file = stack.enter_context(target.open("r+b", buffering=0))
        # A file that is too short grows with its last range, so that it does not look complete before.
        if target.stat().st_size > shard.remote.size:
            file.truncate(shard.remote.size)
        file.write(header[:data_offset])
    except OSError as exc:
        raise disk_error(target, exc) from exc
    return file


def _damaged_ranges(gguf: GGUFFile, manifest: Manifest) -> Generator[PipelineEvent, None, list[_Range]]:
    """The ranges of the tensors that do not have the manifest's checksums."""
    damaged = []
    for tensor, crc in checksums(gguf):
        yield Hashed(tensor.nbytes)
        if crc != manifest.tensor_crc32.get(tensor.name):
            damaged.append((tensor.offset, tensor.offset + tensor.nbytes))
    return damaged


def _fetch_ranges(
    repository: Repository, remote: RemoteFile, ranges: list[_Range], file: BinaryIO, connection: Connection
) -> None:
    """Download these ranges into their places in the file."""
    for start, end in ranges:
        file.seek(start)
        fetch_range(repository, remote, start, end, partial(_write, file), connection)
    os.fsync(file.fileno())


def _write(file: BinaryIO, piece: memoryview) -> None:
    try:
        while piece:
            piece = piece[file.write(piece) :]
    except OSError as exc:
        raise disk_error(Path(file.name), exc) from exc


def _gaps(gguf: GGUFFile) -> Iterator[_Range]:
    """The ranges outside tensors: the header, which has no checksum, and the padding after each tensor."""
    starts = [gguf.data_offset, *(tensor.offset for tensor in gguf.tensors), gguf.size]
    ends = [0, gguf.data_offset, *(tensor.offset + tensor.nbytes for tensor in gguf.tensors)]
    for end, start in zip(ends, starts, strict=True):
        if end < start:
            yield end, start
