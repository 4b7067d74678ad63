"""One pull from the hub, with its progress and its result on the console."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from r1.console import Console
from r1.conversion import Result, print_result
from r1.engine.devices import devices, select_devices
from r1.fit.plan import too_large
from r1.fit.recommendation import QUANTS, best_that_fits, shape_of_checkpoint
from r1.fit.shape import Shape, shape_of
from r1.fit.survey import alone, survey
from r1.machine.memory import memory
from r1.render.event_lines import event_lines
from r1.render.plan import Estimate, Outlook
from r1.render.progress_line import Report, follow
from r1_quantize.errors import NetworkError, NotEnoughSpace
from r1_quantize.events import Finished, PipelineEvent, Present, PullPlan
from r1_quantize.hub.pull import pull
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.request import Request
from r1_quantize.recipe import RECIPES
from r1_quantize.store.store import Store


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pull ended: its last event, and the commit it pulled (None if it did not have to look)."""

    last: PipelineEvent
    commit: str | None


@dataclass(frozen=True, slots=True)
class Download:
    """One pull. `force`: pull even if the model cannot run here."""

    console: Console
    store: Store
    request: Request
    report: Report
    force: bool

    def run(self, options: PullOptions) -> Outcome:
        """Raises as `r1_quantize.hub.pull`. A dry run that cannot reach the hub first prints an estimate."""
        try:
            return self._run(options)
        except NetworkError:
            if options.dry_run and (estimate := self._estimate()):
                self._print_estimate(estimate)
            raise

    def _run(self, options: PullOptions) -> Outcome:
        began, commits = time.monotonic(), list[str]()
        with closing(pull(self.store, self.request, options)) as pulling:
            events = self._checked(_noting_commits(pulling, commits), options)
            describe = (lambda _: []) if options.dry_run else self._describe
            last = follow(self.console, events, self.request.reference, self.report, describe)
        if self.report != "json":
            self._print_last(last, time.monotonic() - began)
        return Outcome(last, commits[-1] if commits else None)

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
            found = Result(last.reference, last.path, last.size, missing_tokens=last.missing_tokens)
            print_result(self.console, self.report, found)
        elif isinstance(last, Finished):
            made = Result(self.request.reference, last.path, last.size, seconds, missing_tokens=last.missing_tokens)
            print_result(self.console, self.report, made)

    def _describe(self, plan: PullPlan) -> list[str]:
        return self.outlook(plan).lines()

    def outlook(self, plan: PullPlan) -> Outlook:
        """How the model of a plan would run on this machine."""
        return Outlook(plan=plan, **self._on_this_machine(shape_of(plan.tensors)))

    def _estimate(self) -> Estimate | None:
        """What the catalogue knows; None for a model or a type that it does not know."""
        request, checkpoint = self.request, self.request.checkpoint
        if checkpoint is None or request.quant not in RECIPES:
            return None
        shapes = {quant: shape_of_checkpoint(checkpoint, quant) for quant in dict.fromkeys([request.quant, *QUANTS])}
        shape = shapes.pop(request.quant)
        if shape is None:
            return None
        return Estimate(
            reference=request.reference,
            checkpoint=checkpoint,
            repo=request.repo,
            to_fetch=shape.weights if request.prebuilt else checkpoint.bf16_bytes,
            result=shape.weights,
            types={quant: other.weights for quant, other in shapes.items() if other},
            **self._on_this_machine(shape),
        )

    def _print_estimate(self, estimate: Estimate) -> None:
        if self.report == "json":
            self.console.json({"event": "estimate", **estimate.facts()}, one_line=True)
        else:
            self.console.out("\n".join(estimate.lines()) + "\n")

    def _on_this_machine(self, shape: Shape) -> dict[str, Any]:
        """The arguments that plans and estimates share."""
        now, gpus = memory(), select_devices("auto", None, devices())
        licences = self.request.checkpoint.licences if self.request.checkpoint else ()
        return {
            "shape": shape,
            "now": survey(gpus, now),
            "alone": alone(gpus, now),
            "memory": now.total,
            "licences": licences,
        }


def _noting_commits(events: Iterator[PipelineEvent], commits: list[str]) -> Iterator[PipelineEvent]:
    """Passes the events on, and appends the commit of each plan."""
    for event in events:
        if isinstance(event, PullPlan):
            commits.append(event.commit)
        yield event
