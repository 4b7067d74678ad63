"""Make the model of a pull: quantize the shards, join the parts of a GGUF, or store a single GGUF unchanged.

Each maker plans when it is created, from the headers alone, and starts when `make` is called.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from r1_quantize.events import Checked, Finished, PipelineEvent, Planned, PullPlan, Rejected
from r1_quantize.files import disk_error, remove_file
from r1_quantize.gguf import reader
from r1_quantize.gguf.vocabulary import missing_control_tokens
from r1_quantize.gguf_source import gguf_source_of
from r1_quantize.hub.disk_space import check_disk_space
from r1_quantize.hub.pull_job import PullJob
from r1_quantize.hub.repository import RemoteFile
from r1_quantize.hub.shards import Shard, ShardProvider
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import COPY
from r1_quantize.store.manifest import Manifest, tools
from r1_quantize.verify import checksums
from r1_quantize.writer import journal_path, partial_path


def maker_for(job: PullJob, folder: Path, shards: list[Shard]) -> QuantizingMaker | DownloadMaker:
    """Plan how to make the model from these shards. Raises BadFile when their headers are invalid."""
    if job.request.file is None:
        return QuantizingMaker(job, folder, shards, source=folder, quant=job.request.quant)
    if len(shards) > 1:
        return QuantizingMaker(job, folder, shards, source=folder / shards[0].name, quant=COPY.name)
    return DownloadMaker(job, folder, shards[0])


class QuantizingMaker:
    """Quantizes a checkpoint's shards, or joins the parts of a GGUF, while they are downloaded."""

    def __init__(self, job: PullJob, folder: Path, shards: list[Shard], *, source: Path, quant: str) -> None:
        """Plan. Raises BadFile, and UsageError for an impossible quant type."""
        self._job = job
        self._provider = ShardProvider(job.repository, folder, shards, keep=job.keeps_checkpoint(folder))
        self._events = quantize(self._quantize_job(source, quant))
        planned = next(self._events)  # it has not opened or written anything yet
        assert isinstance(planned, Planned), "a conversion begins with Planned"
        self._planned = planned
        plan = job.plan_repair if job.damaged else job.plan_quantizing
        self.plan: PullPlan = replace(
            plan(self._provider, planned),
            notes=planned.notes,
            missing_tokens=planned.missing_tokens,
        )

    def make(self) -> Iterator[PipelineEvent]:
        """Raises what `pipeline.quantize` and `download.fetch` raise, and NotEnoughSpace before either starts."""
        check_disk_space(self.plan, self._job.request.checkpoint, self._job.store, quantizing=True)
        self._provider.shards_at_once = self.plan.shards_at_once
        with self._provider, closing(self._events):
            yield self._planned
            for event in self._events:
                if isinstance(event, Finished) and self._provider.keep:
                    yield from self._provider.fetch_missing()
                yield event

    def _quantize_job(self, source: Path, quant: str) -> Job:
        job, request = self._job, self._job.request
        return Job(
            source=source,
            quant=quant,
            target=job.target,
            name=request.name,
            checkpoint=request.checkpoint,
            origin=request.repo,
            revision=job.repository.commit,
            manifest=job.manifest_path,
            imatrix=job.options.imatrix,
            overrides=job.options.overrides,
            pretokenizer=job.options.pretokenizer,
            threads=job.options.threads,
            provider=self._provider,
            damaged=job.damaged,
        )


class DownloadMaker:
    """Downloads a single GGUF into the store, without changing it."""

    def __init__(self, job: PullJob, folder: Path, shard: Shard) -> None:
        """Plan. Raises BadFile."""
        self._job = job
        self._folder = folder
        self._shard = shard
        self._provider = ShardProvider(job.repository, folder, [shard], keep=False)
        (self._file,) = self._provider.files.values()
        source = gguf_source_of([self._file])
        plan = job.plan_download(self._provider, tuple(tensor.extent for tensor in source.tensors))
        self.plan = replace(plan, missing_tokens=missing_control_tokens(source.entries))

    def make(self) -> Iterator[PipelineEvent]:
        """Raises what `download.fetch` raises, and NotEnoughSpace before it starts."""
        check_disk_space(self.plan, self._job.request.checkpoint, self._job.store, quantizing=False)
        started = time.monotonic()
        with self._provider:
            path = yield from self._fetch()
            yield from self._store(path)
        seconds = time.monotonic() - started
        yield Finished(self._job.target, self._shard.remote.size, seconds, self.plan.missing_tokens)

    def _fetch(self) -> Generator[PipelineEvent, None, Path]:
        """Download the file, unless an earlier run left it undamaged; returns where it is."""
        remote, provider = self._shard.remote, self._provider
        was_on_disk = provider.bytes_on_disk(self._shard.name) == remote.size
        (file,) = provider.start([self._file])
        path = yield from provider.take(file)
        if was_on_disk and not remote.matches(path):
            provider.reject(file)
            yield Rejected(self._shard.name, remote.size, f"{path} has changed since it was downloaded")
            path = yield from provider.take(file)
        return path

    def _store(self, path: Path) -> Iterator[PipelineEvent]:
        """Move the complete GGUF into the store, with its manifest. Raises R1Error when the disk fails."""
        target = self._job.target
        manifest = yield from _manifest_of(self._job, path, self._shard.remote)
        try:
            if not self._can_rename(path):
                path = _copy_beside(path, target)
            commit = manifest.stage(self._job.manifest_path, path)
            path.replace(target)
        except OSError as exc:
            raise disk_error(target, exc) from exc
        commit()
        remove_file(partial_path(target))
        remove_file(journal_path(target))

    def _can_rename(self, path: Path) -> bool:
        """Whether the file is ours, not the Hugging Face cache's, and on the disk of the store. Raises OSError."""
        return path.parent == self._folder and path.stat().st_dev == self._job.target.parent.stat().st_dev


def _manifest_of(job: PullJob, path: Path, file: RemoteFile) -> Generator[PipelineEvent, None, Manifest]:
    """The manifest of a downloaded GGUF, which is read for the checksums of its tensors."""
    gguf = reader.read(path)
    tensor_crc32: dict[str, int] = {}
    for tensor, crc in checksums(gguf):
        tensor_crc32[tensor.name] = crc
        yield Checked(tensor.nbytes)
    types = Counter(tensor.type.name for tensor in gguf.tensors)
    return Manifest(
        name=job.request.name,
        quant=job.request.quant,
        source=job.request.repo,
        revision=job.repository.commit,
        source_sha256={file.name: file.digest},
        sha256=file.digest,
        size=file.size,
        recipe=dict(sorted(types.items())),
        tools=tools(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tensor_crc32=tensor_crc32,
        missing_tokens=[*missing_control_tokens(gguf.entries)],
    )


def _copy_beside(path: Path, target: Path) -> Path:
    """Copy a file to the partial path of `target`, flushed to the disk. Raises OSError."""
    copy = partial_path(target)
    remove_file(copy)
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        os.fsync(file.fileno())
    return copy
