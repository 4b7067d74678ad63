"""A pull: its locks and staging folder, and its plan with the files it needs and its disk use."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from r1_quantize.errors import Busy, UsageError
from r1_quantize.events import FilePlan, PipelineEvent, Planned, Present, PullPlan, WaitingForLock
from r1_quantize.gguf.split import part_names
from r1_quantize.hub import staging
from r1_quantize.hub.disk_space import shards_and_peak
from r1_quantize.hub.download import Connection
from r1_quantize.hub.headers import checkpoint_shards, gguf_parts
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.repository import Repository
from r1_quantize.hub.request import Request
from r1_quantize.hub.shards import Shard, ShardProvider
from r1_quantize.journal import read_journal
from r1_quantize.source import Extent
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store
from r1_quantize.writer import free_space, journal_path, partial_path


@dataclass(frozen=True, slots=True)
class PullJob:
    """One model to pull, from a repository at one commit.

    With `damaged`, the manifest of the model in the store, that model is repaired.
    """

    store: Store
    request: Request
    repository: Repository
    options: PullOptions
    damaged: Manifest | None = None

    @property
    def target(self) -> Path:
        return self.store.path(self.request.name, self.request.quant)

    @property
    def manifest_path(self) -> Path:
        return self.store.manifest_path(self.request.name, self.request.quant)

    @property
    def free(self) -> int:
        """The bytes that the pull may use, including those of the unfinished model."""
        return free_space(self.target)

    def present(self) -> Present | None:
        """The model, if it is in the store and needs neither repair nor update. Raises UsageError."""
        if self.damaged:
            return None
        commit = self.repository.commit if self.options.update else None
        return present(self.store, self.request, self.options, commit)

    def lock(self, stack: ExitStack) -> Iterator[PipelineEvent]:
        """Lock the model and the staging folders of its repository until `stack` is closed."""
        yield from _lock(stack, partial(self.store.lock, self.request.name, self.request.quant))
        yield from _lock(stack, partial(self.store.lock_checkpoint, self.request.repo))

    def staging_folder(self, stack: ExitStack) -> Path:
        """Prepare the staging folder. A dry run without one gets a temporary folder, deleted when `stack` is closed."""
        if not self.options.dry_run:
            return staging.prepare(self.store, self.repository)
        folder = self.store.checkpoint_folder(self.request.repo, self.repository.commit)
        if folder.is_dir():
            with suppress(Busy):  # two processes that append to one file would corrupt it
                stack.enter_context(self.store.lock_checkpoint(self.request.repo))
                return folder
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="r1-")))

    def keeps_checkpoint(self, folder: Path) -> bool:
        """Whether the downloaded shards are kept."""
        return self.options.keep_checkpoint or staging.is_kept(folder)

    def fetch_headers(self, folder: Path, connection: Connection, skip_cache: Collection[str] = ()) -> list[Shard]:
        """Download the headers of the large files. Raises what `headers.checkpoint_shards` raises."""
        if self.request.file is None:
            return checkpoint_shards(self.repository, folder, connection, skip_cache)
        return gguf_parts(self.repository, part_names(self.request.file), folder, connection, skip_cache)

    def plan_quantizing(self, provider: ShardProvider, planned: Planned) -> PullPlan:
        """The plan for making a GGUF from the provider's files. Those that an earlier run has read are not needed."""
        progress = read_journal(journal_path(self.target)) if partial_path(self.target).exists() else None
        resumes = progress is not None and progress.job == planned.job and not provider.keep
        files = provider.file_plans(progress.files if progress and resumes else {})
        result = planned.bytes_out
        shards_at_once, peak = shards_and_peak(files, result, self.free, keep=provider.keep)
        return self._plan(files, result=result, peak=peak, shards_at_once=shards_at_once, tensors=planned.tensors)

    def plan_repair(self, provider: ShardProvider, planned: Planned) -> PullPlan:
        """The plan for a repair. Which files it needs is not known yet, and the model's own bytes are on the disk."""
        files = tuple(FilePlan(file.name, file.size, file.size) for file in provider.file_plans({}))
        largest = max(file.size for file in files)
        return self._plan(files, result=planned.bytes_out, peak=largest, shards_at_once=1, tensors=planned.tensors)

    def plan_download(self, provider: ShardProvider, tensors: tuple[Extent, ...]) -> PullPlan:
        """The plan for downloading a single GGUF. One in the Hugging Face cache is copied."""
        (file,) = provider.file_plans({})
        peak = file.size if provider.is_cached(file.name) else file.size - file.here
        return self._plan((file,), result=file.size, peak=peak, shards_at_once=1, tensors=tensors)

    def _plan(
        self, files: tuple[FilePlan, ...], *, result: int, peak: int, shards_at_once: int, tensors: tuple[Extent, ...]
    ) -> PullPlan:
        return PullPlan(
            reference=self.request.reference,
            repo=self.request.repo,
            commit=self.repository.commit,
            files=files,
            result=result,
            peak=peak,
            free=self.free,
            shards_at_once=shards_at_once,
            tensors=tensors,
        )


def present(store: Store, request: Request, options: PullOptions, commit: str | None = None) -> Present | None:
    """The model, if it is in the store; with `commit`, only if it was made from that commit with these options.

    Raises UsageError when a model of that name came from another repository, or was made with other options.
    """
    model = store.stored(request.name, request.quant) if request.name and request.quant else None
    if model is None or not model.is_complete:
        return None
    manifest = model.manifest
    if commit and not (manifest and manifest.revision == commit and manifest.source == request.repo):
        return None
    if commit and not options.made(manifest):
        return None
    source = manifest.source if manifest else None
    known = request.checkpoint
    allowed = {None, request.repo, *((known.repo, known.prebuilt) if known and not request.file else ())}
    if source not in allowed:
        raise UsageError(
            f"{model.reference} is already here, from {source}; choose another name with --name NAME, or remove it "
            f"first: r1 rm {model.reference}"
        )
    if not options.made(manifest):
        others = " and ".join(options.for_quantizing)
        raise UsageError(
            f"{model.reference} is already here, but was not made with this {others}; remove it first: "
            f"r1 rm {model.reference}"
        )
    return Present(
        model.reference, model.path, model.size, current=commit is not None, missing_tokens=model.missing_tokens
    )


def _lock(stack: ExitStack, lock: Callable[..., AbstractContextManager[None]]) -> Iterator[PipelineEvent]:
    """Take a lock; if another process holds it, report that and wait."""
    try:
        stack.enter_context(lock(wait=False))
    except Busy as exc:
        yield WaitingForLock(str(exc).partition(";")[0])  # without the advice to wait, which this does
        stack.enter_context(lock(wait=True))
