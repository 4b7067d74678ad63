"""The one path from a repository on the hub to a checked GGUF in the store, as a stream of events.

A checkpoint is fetched shard by shard, each quantized into the result while the next one comes and deleted when it is
done with; a GGUF in parts is joined in the same way, and one in a single file is taken as it is. What is on its way
lies in a `workplace`, and stays there when a pull is interrupted, so that the next one goes on.

Knows: the order of the steps. Does not know: the hub's protocol (`hub`), how a tensor is quantized (`pipeline`), or how
anything is shown.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from r1_quantize.errors import BadFile, Busy, ModelNotFound, NetworkError, UsageError
from r1_quantize.events import (
    Checked,
    FilePlan,
    Finished,
    Noted,
    PipelineEvent,
    Planned,
    Present,
    PullPlan,
    Queued,
    Rejected,
)
from r1_quantize.files import failed, remove
from r1_quantize.gguf import reader
from r1_quantize.gguf.split import part_names
from r1_quantize.gguf_source import gguf_source_of
from r1_quantize.hub import hub, staging
from r1_quantize.hub.disk_space import at_once_and_peak, check_room
from r1_quantize.hub.download import Line, attended
from r1_quantize.hub.headers import checkpoint_shards, damaged_in_cache, forget, gguf_parts
from r1_quantize.hub.hub import NotAsListed, RevisionGone
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.request import Request, resolved
from r1_quantize.hub.shards import Shard, Shards
from r1_quantize.journal import read_journal
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import COPY, Override
from r1_quantize.source import Extent
from r1_quantize.store.manifest import Manifest, tools
from r1_quantize.store.store import Store
from r1_quantize.verify import checksums
from r1_quantize.writer import journal_path, partial_path, room_for

_FIRST_TRIES = 3  # at a hub that nobody has reached yet


@dataclass(frozen=True, slots=True)
class PullOptions:
    """How to pull. `update` asks the hub for its newest commit although there is an older one here."""

    dry_run: bool = False
    keep_checkpoint: bool = False
    update: bool = False
    threads: int | None = None


def pull(store: Store, request: Request, options: PullOptions = PullOptions()) -> Generator[PipelineEvent, None, None]:
    """Get the model into the store, unless it is there. Closing the iterator early leaves what is done for the next
    call, which goes on from there. A dry run ends with its PullPlan, and begins nothing.

    Raises ModelNotFound, NetworkError, NotEnoughRoom, BadFile, UsageError, or R1Error when the disk fails.
    """
    if not options.update and (present := _present(store, request)):
        staging.sweep(store, request.repo)
        yield present
        return
    repository = yield from _repository(store, request, options)
    try:
        yield from Pulling(store, resolved(request, repository), repository, options).run()
    except RevisionGone as exc:
        yield Noted(f"{exc}; the newest one takes its place")
        repository = yield from attended(lambda line: line.ask(lambda: hub.look_up(request.repo)))
        yield from Pulling(store, resolved(request, repository), repository, options).run()


def _present(store: Store, request: Request, commit: str | None = None) -> Present | None:
    """The model, if it is here; with `commit` only if it was made of that."""
    model = store.stored(request.name, request.quant) if request.name and request.quant else None
    if model is None or not model.is_whole:
        return None
    if commit and not (model.manifest and model.manifest.revision == commit and model.manifest.source == request.repo):
        return None
    source = model.manifest.source if model.manifest and model.manifest.revision else None
    known = request.checkpoint
    same = {None, request.repo, *((known.repo, known.prebuilt) if known and not request.file else ())}
    if source not in same:
        raise UsageError(f"{model.reference} is here already, from {source}; remove it first: r1 rm {model.reference}")
    return Present(model.reference, model.path, model.size, current=commit is not None)


def _repository(store: Store, request: Request, options: PullOptions) -> Generator[PipelineEvent, None, Repository]:
    """At the commit that an interrupted pull, or a kept checkpoint, is of, if that has what is asked for; else the
    hub's newest."""
    for found in staging.recorded(store, request.repo) if not options.update else ():
        with suppress(ModelNotFound):
            resolved(request, found)
            return found
    try:
        return (yield from attended(lambda line: line.ask(lambda: hub.look_up(request.repo)), patience=_FIRST_TRIES))
    except NetworkError as exc:
        try:
            cached = hub.cached_repository(request.repo)
        except ModelNotFound:
            raise exc from None
        yield Noted(f"{exc}; what the Hugging Face cache has of it is taken")
        return cached


class _Unplannable(Exception):
    """Nothing can be planned with what the files begin with."""

    def __init__(self, reason: BadFile) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Pulling:
    """One pull, of a repository at one commit; with `damaged`, the manifest of what is here, that is repaired."""

    store: Store
    request: Request
    repository: Repository
    options: PullOptions
    damaged: Manifest | None = None

    @property
    def target(self) -> Path:
        return self.store.path(self.request.name, self.request.quant)

    def run(self) -> Generator[PipelineEvent, None, None]:
        """All of it. Raises what `pull` raises, and RevisionGone."""
        if present := self._present():
            yield present
            return
        with ExitStack() as held:
            if not self.options.dry_run:
                yield from self.hold(held)
                if present := self._present():
                    yield present  # another process made it meanwhile
                    return
            folder = self.folder(held)
            try:
                yield from self._make(folder)
            except (BadFile, NotAsListed):
                if not self.options.dry_run:
                    staging.unpin(folder)
                raise

    def hold(self, held: ExitStack) -> Iterator[PipelineEvent]:
        """The right to write this model, and the files it is made of."""
        yield from _held(held, partial(self.store.lock, self.request.name, self.request.quant))
        yield from _held(held, partial(self.store.lock_checkpoint, self.request.repo))

    def folder(self, held: ExitStack) -> Path:
        """Where what is fetched lies; for a dry run that finds none, somewhere that is gone afterwards."""
        if not self.options.dry_run:
            return staging.prepare(self.store, self.repository)
        folder = self.store.checkpoint_folder(self.request.repo, self.repository.commit)
        if folder.is_dir():
            with suppress(Busy):  # two that append to one file would spoil it
                held.enter_context(self.store.lock_checkpoint(self.request.repo))
                return folder
        return Path(held.enter_context(tempfile.TemporaryDirectory(prefix="r1-")))

    def _present(self) -> Present | None:
        if self.damaged:
            return None
        return _present(self.store, self.request, self.repository.commit if self.options.update else None)

    def _begin(self, folder: Path, line: Line, but_not_cached: Collection[str] = ()) -> list[Shard]:
        """The large files there are, and what each begins with."""
        if self.request.file is None:
            return checkpoint_shards(self.repository, folder, line, but_not_cached)
        return gguf_parts(self.repository, part_names(self.request.file), folder, line, but_not_cached)

    def _make(self, folder: Path) -> Generator[PipelineEvent, None, None]:
        """The model, and nothing beside it.

        When nothing can be planned with what the files begin with, which nobody has checked, it is had once more.
        """
        damaged: list[str] = []
        doubt: BadFile | None = None
        while True:
            shards = yield from attended(partial(self._begin, folder, but_not_cached=damaged))
            try:
                yield from self._planned(folder, shards, doubt)
                break
            except _Unplannable as exc:
                forget(shards, folder)
                if doubt:
                    raise exc.reason from None
                doubt, damaged = exc.reason, (yield from attended(partial(damaged_in_cache, shards)))
        if not self.options.dry_run:
            staging.tidy(folder, shards, keep=self._keeps(folder))

    def _planned(
        self, folder: Path, shards: list[Shard], doubt: BadFile | None
    ) -> Generator[PipelineEvent, None, None]:
        """As `_make_of`; when it works after all, what was in doubt is said."""
        with closing(self._make_of(folder, shards)) as events:
            for event in events:
                if doubt and isinstance(event, PullPlan):
                    yield Noted(f"{doubt}; it was fetched again, and is sound now")
                yield event

    def _make_of(self, folder: Path, shards: list[Shard]) -> Generator[PipelineEvent, None, None]:
        """The model, of these files. Raises _Unplannable besides."""
        if self.request.file is None:
            yield from self._quantize(folder, folder, self.request.quant, shards)
        elif len(shards) > 1:
            yield from self._quantize(folder, folder / shards[0].name, COPY.name, shards)
        else:
            yield from self._take(folder, shards[0])

    def _quantize(
        self, folder: Path, source: Path, quant: str, shards: list[Shard]
    ) -> Generator[PipelineEvent, None, None]:
        """What the shards hold, into the store."""
        request = self.request
        with Shards(self.repository, folder, shards, keep=self._keeps(folder)) as supply:
            job = Job(
                source=source,
                quant=quant,
                target=self.target,
                name=request.name,
                checkpoint=request.checkpoint,
                origin=request.repo,
                revision=self.repository.commit,
                manifest=self.store.manifest_path(request.name, request.quant),
                overrides=tuple(map(Override.parse, self.damaged.tensor_types)) if self.damaged else (),
                threads=self.options.threads,
                supply=supply,
                damaged=self.damaged,
            )
            with closing(quantize(job)) as events:
                try:
                    planned = next(events)
                except BadFile as exc:
                    raise _Unplannable(exc) from exc
                assert isinstance(planned, Planned), "a conversion begins with Planned"
                plan = self._plan(supply, planned.bytes_out, planned.tensors)
                yield plan
                if self.options.dry_run:
                    return
                check_room(plan, request.checkpoint, self.store, made=True)
                supply.at_once = plan.shards_at_once
                yield planned
                for event in events:
                    if isinstance(event, Finished) and supply.keeps:
                        yield from supply.complete()
                    yield event

    def _take(self, folder: Path, part: Shard) -> Generator[PipelineEvent, None, None]:
        """A GGUF, as it is."""
        started = time.monotonic()
        with Shards(self.repository, folder, [part], keep=False) as supply:
            (file,) = supply.files.values()
            try:
                tensors = tuple(tensor.extent for tensor in gguf_source_of([file]).tensors)
                plan = self._plan(supply, 0, tensors)
            except BadFile as exc:
                raise _Unplannable(exc) from exc
            yield plan
            if self.options.dry_run:
                return
            check_room(plan, self.request.checkpoint, self.store, made=False)
            was_here = supply.here(part.name) == part.remote.size
            (file,) = supply.start([file])
            path = yield from supply.take(file)
            if was_here and not part.remote.is_at(path):  # and may have been damaged since
                supply.reject(file)
                yield Rejected(part.name, part.remote.size, f"{path} is not what was fetched any more")
                path = yield from supply.take(file)
            yield from self._put_away(path, part.remote, started)

    def _plan(self, supply: Shards, result: int, tensors: tuple[Extent, ...]) -> PullPlan:
        """`result` is the size of what is made of the files; 0 when one of them is the result."""
        free = room_for(self.target)
        reference, repo, commit = self.request.reference, self.request.repo, self.repository.commit
        if self.damaged:  # nobody knows yet what is wanted; what is here is not written anew
            files = tuple(FilePlan(file.name, file.size, file.size) for file in supply.file_plans({}))
            largest = max(file.size for file in files)
            return PullPlan(reference, repo, commit, files, result, largest, free, 1, tensors)
        progress = read_journal(journal_path(self.target))
        files = supply.file_plans(progress.files if progress and not supply.keeps else {})
        if result:
            at_once, peak = at_once_and_peak(files, result, free, keep=supply.keeps)
        else:
            (file,), result, at_once = files, files[0].size, 1
            peak = file.size if supply.is_cached(file.name) else file.size - file.here
        return PullPlan(reference, repo, commit, files, result, peak, free, at_once, tensors)

    def _put_away(self, path: Path, file: RemoteFile, started: float) -> Generator[PipelineEvent, None, None]:
        """A whole GGUF into the store, with its manifest."""
        found = reader.read(path)
        crcs: dict[str, int] = {}
        for tensor, crc in checksums(found):
            crcs[tensor.name] = crc
            yield Checked(tensor.nbytes)
        types = Counter(tensor.type.name for tensor in found.tensors)
        manifest = Manifest(
            name=self.request.name,
            quant=self.request.quant,
            source=self.request.repo,
            revision=self.repository.commit,
            source_sha256={file.name: file.digest},
            sha256=file.digest,
            size=file.size,
            recipe=dict(sorted(types.items())),
            tools=tools(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            tensor_crc32=crcs,
        )
        own = path.parent == self.store.checkpoint_folder(self.request.repo, self.repository.commit)
        try:
            if not (own and path.stat().st_dev == self.target.parent.stat().st_dev):
                path = self._copied(path)
            settle = manifest.announce(self.store.manifest_path(self.request.name, self.request.quant), path)
            path.replace(self.target)
        except OSError as exc:
            raise failed(self.target, exc) from exc
        settle()
        remove(partial_path(self.target))
        remove(journal_path(self.target))
        yield Finished(self.target, file.size, time.monotonic() - started)

    def _copied(self, path: Path) -> Path:
        """What lies on another disk, or in the cache, which is left alone. Raises OSError."""
        copy = partial_path(self.target)
        remove(copy)
        shutil.copyfile(path, copy)
        with copy.open("r+b") as file:
            os.fsync(file.fileno())
        return copy

    def _keeps(self, folder: Path) -> bool:
        return self.options.keep_checkpoint or staging.is_kept(folder)


def _held(held: ExitStack, lock: Callable[..., AbstractContextManager[None]]) -> Iterator[PipelineEvent]:
    """Take a lock, and wait for whoever has it."""
    try:
        held.enter_context(lock(wait=False))
    except Busy as exc:
        yield Queued(str(exc))
        held.enter_context(lock(wait=True))
