"""`r1 pull`: a model from the hub → a GGUF in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from r1.console import Console
from r1.conversion import QuantizeOptions, Result, convert, print_result
from r1.engine.devices import devices, select_devices
from r1.fit.plan import too_large
from r1.fit.recommendation import best_that_fits
from r1.fit.shape import shape_of
from r1.fit.survey import alone, survey
from r1.library import LocalSource, open_store
from r1.machine.memory import memory
from r1.render.event_lines import event_lines
from r1.render.plan import Outlook
from r1.render.progress_line import Report, follow
from r1_quantize.builtin import refuse_foreign
from r1_quantize.catalog import check_name
from r1_quantize.errors import ExitStatus, NotEnoughSpace, R1Error, UsageError
from r1_quantize.events import Finished, PipelineEvent, Present, PullPlan
from r1_quantize.hub.pull import pull
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.request import Request, request_for, request_from_manifest
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
    force: bool = False,
) -> ExitStatus:
    """Downloads a model unless it is here already, or prints the plan only. Raises as `r1_quantize.hub.pull`."""
    store = open_store(console.environ)
    if reference is None and not options.update:
        raise UsageError("no MODEL given; `r1 list` shows the models to pull")
    if reference is None and options.name is not None:
        raise UsageError("--name is for one model; name the MODEL to pull, too")
    if reference is None:
        return _update(console, store, options, report)
    request = _request(store, reference, options.name, prebuilt=prebuilt)
    if request.checkpoint and request.checkpoint.folder is not None:
        _make_builtin(console, store, request, options, report)
    else:
        _Download(console, store, request, report, force=force).run(options)
    return ExitStatus.OK


def _update(console: Console, store: Store, options: PullOptions, report: Report) -> ExitStatus:
    """Updates every model from the hub. A failure does not stop the others; the status is that of the last failure."""
    status = ExitStatus.OK
    for request in _pulled(store):
        try:
            _Download(console, store, request, report, force=True).run(options)  # it runs here already
        except R1Error as exc:
            console.warn(f"{request.reference}: {exc}")
            status = exc.exit_status
    return status


def _request(store: Store, reference: str, name: str | None, *, prebuilt: bool) -> Request:
    catalogued, _, quant = reference.partition(":")
    checkpoint = store.catalogue.get(catalogued)
    if checkpoint and checkpoint.folder is not None:
        own_name = check_name(name or catalogued, store.catalogue, checkpoint, reference)
        return Request(own_name, recipe_for(quant or checkpoint.default_quant).name, "", checkpoint)
    return request_for(reference, store.catalogue, prebuilt=prebuilt, name=name)


def _pulled(store: Store) -> list[Request]:
    """A request for every model that came from the hub."""
    requests = [
        request_from_manifest(model.name, model.quant, model.manifest, store.catalogue)
        for model in store.models()
        if model.quant and model.manifest and _is_plain(model.manifest)
    ]
    return [request for request in requests if request]


def _is_plain(manifest: Manifest) -> bool:
    """Whether a pull would make the same file: no importance matrix and no types for single tensors were given."""
    return not manifest.imatrix_sha256 and not manifest.tensor_types


def _make_builtin(console: Console, store: Store, request: Request, options: PullOptions, report: Report) -> None:
    """Quantizes the built-in checkpoint, which needs no hub."""
    checkpoint, model = request.checkpoint, store.stored(request.name, request.quant)
    assert checkpoint is not None
    assert checkpoint.folder is not None
    if request.name == checkpoint.name:
        refuse_foreign(store.path(request.name, request.quant), checkpoint)
    if options.dry_run:
        console.note(f"{request.reference} is built in; nothing to download")
    elif model and model.is_complete:
        result = Result(model.reference, model.path, model.size, event="present", missing_tokens=model.missing_tokens)
        print_result(console, report, result)
    else:
        source = LocalSource(checkpoint.folder, request.name, checkpoint)
        convert(console, store, source, request.quant, report, options=QuantizeOptions(force=True))


@dataclass(frozen=True, slots=True)
class _Download:
    """One pull, with its progress and its result on the console. `force`: pull even if the model cannot run here."""

    console: Console
    store: Store
    request: Request
    report: Report
    force: bool

    def run(self, options: PullOptions) -> None:
        began = time.monotonic()
        with closing(pull(self.store, self.request, options)) as pulling:
            events = self._checked(pulling, options)
            describe = (lambda _: []) if options.dry_run else self._describe
            last = follow(self.console, events, self.request.reference, self.report, describe)
        if self.report != "json":
            self._print_last(last, time.monotonic() - began)

    def _checked(self, events: Iterator[PipelineEvent], options: PullOptions) -> Iterator[PipelineEvent]:
        if self.report == "json":
            events = event_lines(self.console, events, self.request.reference, lambda plan: self.outlook(plan).facts())
        return events if options.dry_run or self.force else self.refuse_too_large(events)

    def refuse_too_large(self, events: Iterator[PipelineEvent]) -> Iterator[PipelineEvent]:
        """Passes the events on, but raises NotEnoughSpace after the plan of a model that this machine cannot run.

        Nothing large has been downloaded by then.
        """
        for event in events:
            yield event
            if isinstance(event, PullPlan) and not (outlook := self.outlook(event)).can_run:
                problem = too_large(event.reference, outlook.plan_alone, outlook.alone)
                other = best_that_fits(outlook.alone)
                alternative = f"{other} would run (r1 pull {other}), and " if other else ""
                raise NotEnoughSpace(
                    f"{problem} with all other programs closed; nothing was downloaded; "
                    f"{alternative}--force downloads it anyway"
                )

    def _print_last(self, last: PipelineEvent, seconds: float) -> None:
        """Prints the result: a plan, a model that was here already, or a new one."""
        if isinstance(last, PullPlan):
            self.console.out("\n".join(self._describe(last)) + "\n")
        elif isinstance(last, Present):
            if self.report != "nothing":
                state = "up to date" if last.current else "already here"
                self.console.note(f"{last.reference} is {state}")
            self._print_result(Result(last.reference, last.path, last.size))
        elif isinstance(last, Finished):
            self._print_result(Result(self.request.reference, last.path, last.size, seconds))

    def _print_result(self, result: Result) -> None:
        model = self.store.stored(self.request.name, self.request.quant)
        missing = model.missing_tokens if model else ()
        print_result(self.console, self.report, replace(result, missing_tokens=missing))

    def _describe(self, plan: PullPlan) -> list[str]:
        return self.outlook(plan).lines()

    def outlook(self, plan: PullPlan) -> Outlook:
        """How the model of a plan would run on this machine."""
        now, gpus = memory(), select_devices("auto", None, devices())
        return Outlook(
            plan=plan,
            shape=shape_of(plan.tensors),
            now=survey(gpus, now),
            alone=alone(gpus, now),
            memory=now.total,
            licences=self.request.checkpoint.licences if self.request.checkpoint else (),
        )
