"""Pull a model: from a repository on the hub to a checked GGUF in the store, as a stream of events.

A checkpoint is downloaded shard by shard. Each is quantized while the next one is downloaded, then deleted. The parts
of a split GGUF are joined the same way; a single GGUF is stored unchanged. When a pull is interrupted, its files stay
in the staging folder, and the next pull resumes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from r1_quantize.errors import BadFile, ModelNotFound, NetworkError, UsageError
from r1_quantize.events import Noted, PipelineEvent
from r1_quantize.hub import hub, staging
from r1_quantize.hub.download import ATTEMPTS, run_in_thread
from r1_quantize.hub.headers import damaged_in_cache, discard_headers
from r1_quantize.hub.hub import NotAsListed, RevisionGone
from r1_quantize.hub.pull_job import PullJob, present
from r1_quantize.hub.pull_makers import DownloadMaker, QuantizingMaker, maker_for
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.repository import Repository
from r1_quantize.hub.request import Request, resolve
from r1_quantize.hub.shards import Shard
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store

_FIRST_ATTEMPTS = 3  # to reach the hub at all; a download in progress gets more


def pull(store: Store, request: Request, options: PullOptions) -> Generator[PipelineEvent, None, None]:
    """Get the model into the store, unless it is there. If the iterator is closed early, the next call resumes.

    A dry run ends with its PullPlan. Raises ModelNotFound, NetworkError, NotEnoughSpace, BadFile, UsageError, or
    R1Error when the disk fails.
    """
    options.check()
    if options.update and (stored := _stored(store, request)):
        options = options.like(stored.manifest)
    if not options.update and (model := present(store, request, options)):
        staging.remove_leftovers(store, request.repo)
        yield model
        return
    repository = yield from _find_repository(store, request, options)
    try:
        yield from run(_job(store, request, repository, options))
    except RevisionGone as exc:
        yield Noted(f"{exc}; pulling the newest one instead")
        repository = yield from _look_up(request)
        yield from run(_job(store, request, repository, options))


def _stored(store: Store, request: Request) -> StoredModel | None:
    return store.stored(request.name, request.quant) if request.name and request.quant else None


def _job(store: Store, request: Request, repository: Repository, options: PullOptions) -> PullJob:
    """Raises ModelNotFound; UsageError for options for quantizing with a GGUF, which is downloaded as it is."""
    resolved = resolve(request, repository)
    if resolved.file and options.for_quantizing:
        raise UsageError(
            f"{resolved.reference} is a ready-made GGUF, which is downloaded unchanged; leave "
            f"{' and '.join(options.for_quantizing)} out"
        )
    return PullJob(store, resolved, repository, options)


def run(job: PullJob) -> Iterator[PipelineEvent]:
    """Pull or repair one model. Raises what `pull` raises, and RevisionGone."""
    if model := job.present():
        yield model
        return
    with ExitStack() as stack:
        if not job.options.dry_run:
            yield from job.lock(stack)
            if model := job.present():  # another process made it in the meantime
                yield model
                return
        folder = job.staging_folder(stack)
        try:
            yield from _plan_and_make(job, folder)
        except (BadFile, NotAsListed):
            if not job.options.dry_run:
                staging.unpin(folder)
            raise


def _find_repository(
    store: Store, request: Request, options: PullOptions
) -> Generator[PipelineEvent, None, Repository]:
    """The repository at the commit of an interrupted pull or a kept checkpoint if that has the model, else the newest.

    If the hub cannot be reached, a checkpoint in the Hugging Face cache is used.
    """
    for repository in staging.recorded_repositories(store, request.repo) if not options.update else ():
        with suppress(ModelNotFound):
            resolve(request, repository)
            return repository
    try:
        return (yield from _look_up(request, _FIRST_ATTEMPTS))
    except NetworkError as exc:
        try:
            cached = hub.cached_repository(request.repo)
        except ModelNotFound:
            raise exc from None
        problem = str(exc).partition(";")[0]  # without the advice to run it again
        yield Noted(f"{problem}; using the copy in the Hugging Face cache")
        return cached


def _look_up(request: Request, attempts: int = ATTEMPTS) -> Generator[PipelineEvent, None, Repository]:
    """The repository at its newest commit."""
    look_up = partial(hub.look_up, request.repo)
    return (yield from run_in_thread(lambda connection: connection.call(look_up), attempts))


def _plan_and_make(job: PullJob, folder: Path) -> Iterator[PipelineEvent]:
    shards, maker = yield from _plan(job, folder)
    yield maker.plan
    if not job.options.dry_run:
        yield from maker.make()
        staging.clean_up(folder, shards, keep=job.keeps_checkpoint(folder))


def _plan(
    job: PullJob, folder: Path
) -> Generator[PipelineEvent, None, tuple[list[Shard], QuantizingMaker | DownloadMaker]]:
    """Download the headers and plan with them.

    Headers cannot be verified before the files are complete. If they are invalid, they are downloaded once more,
    bypassing damaged files in the Hugging Face cache.
    """
    skip_cache: list[str] = []
    failure: BadFile | None = None
    while True:
        shards = yield from run_in_thread(partial(job.fetch_headers, folder, skip_cache=skip_cache))
        try:
            maker = maker_for(job, folder, shards)
            break
        except BadFile as exc:
            discard_headers(shards, folder)
            if failure:
                raise
            failure = exc
        skip_cache = yield from run_in_thread(partial(damaged_in_cache, shards))
    if failure:
        yield Noted(f"{failure}; downloaded it again, and now it is valid")
    return shards, maker
