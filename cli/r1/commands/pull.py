"""`r1 pull`: from the hub to a GGUF in the store.

Knows: how a plan and a result are shown. Does not know: how anything is fetched (`r1_quantize.hub.pull`).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

from r1.commands.quantize import Source, announce, convert, end
from r1.console import Console
from r1.engine.devices import chosen, devices
from r1.fit.choice import best_that_fits
from r1.fit.plan import too_large
from r1.fit.shape import shape_of
from r1.fit.survey import alone, survey
from r1.library import open_store
from r1.machine.memory import memory
from r1.render.event_lines import event_lines
from r1.render.plan import Outlook
from r1.render.progress_line import Report, follow
from r1_quantize.errors import ExitStatus, NotEnoughRoom, R1Error, UsageError
from r1_quantize.events import Finished, PipelineEvent, Present, PullPlan
from r1_quantize.hub.pull import PullOptions, pull
from r1_quantize.hub.request import Request, request_again, request_for
from r1_quantize.recipe import recipe_for
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store


def run(
    console: Console,
    reference: str | None,
    options: PullOptions,
    report: Report,
    *,
    prebuilt: bool,
    anyway: bool = False,
) -> ExitStatus:
    """Gets a model, unless it is here already, or says what that would take. Raises what `hub.pull` raises."""
    store = open_store(console.environ)
    if reference is None and not options.update:
        raise UsageError("which MODEL? r1 list shows what can be had")
    if reference is None:
        return _update(console, store, options, report)
    request = _request(store, reference, prebuilt=prebuilt)
    if request.checkpoint and request.checkpoint.folder is not None:
        _make_builtin(console, store, request, options, report)
    else:
        _Pulling(console, store, request, report, anyway=anyway).run(options)
    return ExitStatus.OK


def _update(console: Console, store: Store, options: PullOptions, report: Report) -> ExitStatus:
    """All that came from the hub; where one cannot be had, the others follow, and the status is that of the last."""
    status = ExitStatus.OK
    for request in _pulled(store):
        try:
            _Pulling(console, store, request, report, anyway=True).run(options)  # it runs here already
        except R1Error as exc:
            console.warn(f"{request.reference}: {exc}")
            status = exc.exit_status
    return status


def _request(store: Store, reference: str, *, prebuilt: bool) -> Request:
    name, _, quant = reference.partition(":")
    checkpoint = store.catalogue.get(name)
    if checkpoint and checkpoint.folder is not None:
        return Request(name, recipe_for(quant or checkpoint.default_quant).name, "", checkpoint)
    return request_for(reference, store.catalogue, prebuilt=prebuilt)


def _pulled(store: Store) -> list[Request]:
    """Every model that came from the hub."""
    models = [model for model in store.models() if model.manifest and model.quant and _is_plain(model.manifest)]
    found = (request_again(m.name, str(m.quant), m.manifest, store.catalogue) for m in models if m.manifest)
    return [request for request in found if request]


def _is_plain(manifest: Manifest) -> bool:
    """Whether the same pull makes it again: r1 quantize was not told how."""
    return not manifest.imatrix_sha256 and not manifest.tensor_types


def _make_builtin(console: Console, store: Store, request: Request, options: PullOptions, report: Report) -> None:
    """What is built in needs no hub."""
    checkpoint, model = request.checkpoint, store.stored(request.name, request.quant)
    assert checkpoint is not None
    assert checkpoint.folder is not None
    if options.dry_run:
        console.note(f"{request.reference} is built in; there is nothing to fetch")
    elif model and model.is_whole:
        announce(console, report, model.reference, model.path, model.size, event="present")
    else:
        convert(console, store, Source(checkpoint.folder, request.name, checkpoint), request.quant, report)


class _Pulling:
    """One pull that is being shown."""

    def __init__(self, console: Console, store: Store, request: Request, report: Report, *, anyway: bool) -> None:
        self._console = console
        self._store = store
        self._request = request
        self._report = report
        self._anyway = anyway

    def run(self, options: PullOptions) -> None:
        began = time.monotonic()
        reference = self._request.reference
        with ExitStack() as held:
            held.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, end))
            events: Iterator[PipelineEvent] = held.enter_context(closing(pull(self._store, self._request, options)))
            if self._report == "json":
                events = event_lines(self._console, events, reference, lambda plan: self._outlook(plan).facts())
            if not (options.dry_run or self._anyway):
                events = self._refuse_what_cannot_run(events)
            describe = (lambda _: []) if options.dry_run else self._describe
            last = follow(self._console, events, reference, self._report, describe)
        if self._report != "json":
            self._announce(last, time.monotonic() - began)

    def _refuse_what_cannot_run(self, events: Iterator[PipelineEvent]) -> Iterator[PipelineEvent]:
        """Before anything large is fetched. Raises NotEnoughRoom."""
        for event in events:
            yield event
            if isinstance(event, PullPlan) and not (outlook := self._outlook(event)).can_run:
                lacking = too_large(event.reference, outlook.least, outlook.alone)
                found = best_that_fits(outlook.alone)
                instead = f"{found} would run (r1 pull {found}); " if found else ""
                raise NotEnoughRoom(
                    f"{lacking}, with all else closed; nothing was fetched. {instead}--force fetches it all the same"
                )

    def _announce(self, last: PipelineEvent, seconds: float) -> None:
        """What it came to."""
        if isinstance(last, PullPlan):
            self._console.out("\n".join(self._describe(last)) + "\n")
        elif isinstance(last, Present):
            current = ", and the hub has nothing newer" if last.current else " already"
            if self._report != "nothing":
                self._console.note(f"{last.reference} is here{current}")
            announce(self._console, self._report, last.reference, last.path, last.size)
        elif isinstance(last, Finished):
            announce(self._console, self._report, self._request.reference, last.path, last.size, seconds=seconds)

    def _describe(self, plan: PullPlan) -> list[str]:
        return self._outlook(plan).lines()

    def _outlook(self, plan: PullPlan) -> Outlook:
        checkpoint = self._request.checkpoint
        licences = checkpoint.licences if checkpoint else ()
        now, gpus = memory(), chosen("auto", None, devices())
        return Outlook(plan, shape_of(plan.tensors), survey(gpus, now), alone(gpus, now), now.total, licences)
