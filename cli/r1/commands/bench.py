"""`r1 bench`: measures how fast a model is here, with one prompt or several at once, or finds the best threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from r1 import __version__, tuned
from r1.console import Console
from r1.engine.bench import BenchEvent, LeftOut, Row, make_plan, measure
from r1.engine.build import binding_version, ggml_version
from r1.engine.context import Context, Stopped
from r1.engine.events import Finished
from r1.engine.kv_types import rounded_up
from r1.engine.model import LoadCancelled
from r1.engine.parallel_bench import ParallelEvent, ParallelPlan, ParallelRow, make_parallel_plan, measure_parallel
from r1.engine.tune import CONTEXT, Trial, Trying, tune
from r1.fit.fitted_model import Listener, Workload
from r1.interrupt import Interrupt
from r1.library import find_model
from r1.loaded_model import LoadedModel
from r1.machine.cores import Threads, cores, default_threads
from r1.machine.memory import peak_memory
from r1.machine.processor import processor
from r1.render.bench import BenchView, Subject
from r1.settings import Settings
from r1_quantize import units
from r1_quantize.errors import ExitStatus, NotEnoughSpace, R1Error, UsageError
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import home

MAX_PARALLEL = 64
"""The largest number of sequences."""

PROMPT = "How many r's are in strawberry?"
"""The prompt for the time to the first token. The shortest context is long enough for it."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure; None takes the defaults. `parallel`: with these numbers of sequences, instead of at depths."""

    prompt: int | None = None
    gen: int | None = None
    repetitions: int = 3
    depths: tuple[int, ...] | None = None
    parallel: tuple[int, ...] | None = None
    is_shared: bool = False
    tune: bool = False
    as_json: bool = False

    def tokens(self) -> tuple[int, int]:
        """The tokens to prefill and to decode; by default less for each of several sequences, which take longer."""
        prompt, gen = (128, 32) if self.parallel else (512, 128)
        return (prompt if self.prompt is None else self.prompt, gen if self.gen is None else self.gen)

    def parallel_plan(self) -> ParallelPlan | None:
        """What to measure with several sequences; None: one sequence, at depths."""
        if not self.parallel:
            return None
        return ParallelPlan(self.parallel, *self.tokens(), self.repetitions, self.is_shared)


def read_depths(text: str) -> tuple[int, ...]:
    """`0,2048` → tokens. Raises UsageError."""
    depths = _whole_numbers(text)
    if not depths or min(depths) < 0:
        raise UsageError(f"--depths: {text!r} is not a list of whole numbers, such as 0,2048,8192")
    return depths


def read_parallel(text: str) -> tuple[int, ...]:
    """`1,8,16` → numbers of sequences. Raises UsageError."""
    numbers = _whole_numbers(text)
    if not numbers or min(numbers) < 1 or max(numbers) > MAX_PARALLEL:
        expected = f"whole numbers from 1 to {MAX_PARALLEL}, such as 1,2,4,8,16"
        raise UsageError(f"--parallel: {text!r} is not a list of {expected}")
    return numbers


def _whole_numbers(text: str) -> tuple[int, ...]:
    """`1,8` → numbers; none for anything else."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        return ()


def bench(console: Console, options: BenchOptions, settings: Settings) -> ExitStatus:
    """Measures and prints the results; Ctrl-C prints those so far. Raises as `find_model` and `LoadedModel`."""
    _check(options)
    settings = replace(settings, parallel=max(options.parallel or (1,)), speculate="off", draft=None)
    model = find_model(console, settings.model)
    view = BenchView(console, silent=options.as_json)
    plan = options.parallel_plan()
    workload = Workload(is_parallel=True, further=plan.further) if plan else Workload()
    with Interrupt() as interrupt:
        listener = Listener(progress=view.loading)
        try:
            with LoadedModel(
                model.path, settings, interrupt.stop, listener, name=model.reference, workload=workload
            ) as loaded:
                run = _Run(console=console, view=view, loaded=loaded, interrupt=interrupt, model=model)
                if options.tune:
                    return run.tune(as_json=options.as_json)
                return run.measure_parallel(options, plan) if plan else run.measure(options)
        except LoadCancelled:
            interrupt.end()
        finally:
            view.clear()


def _check(options: BenchOptions) -> None:
    """Raises UsageError for options that do not go together."""
    if options.parallel and options.depths:
        raise UsageError("--depths is for one sequence and --parallel for several; leave one of them out")
    if options.parallel and options.tune:
        raise UsageError("--tune is for one sequence and --parallel for several; leave one of them out")
    if options.is_shared and not options.parallel:
        raise UsageError("--shared is for several sequences; add --parallel 1,4,16")


@dataclass(slots=True)
class _Run:
    """Measures one loaded model and shows the results."""

    console: Console
    view: BenchView
    loaded: LoadedModel
    interrupt: Interrupt
    model: StoredModel
    _report: dict[str, Any] = field(default_factory=dict, init=False)

    def measure(self, options: BenchOptions) -> ExitStatus:
        """At several depths, with one sequence."""
        plan = make_plan(*options.tokens(), options.repetitions, options.depths, self._longest)
        self._prepare(plan.length)

        def events() -> Iterator[BenchEvent]:
            self._first_token()
            self.view.header()
            yield from measure(self.loaded.context, plan, self.interrupt)

        return self._show(events(), options)

    def measure_parallel(self, options: BenchOptions, wanted: ParallelPlan) -> ExitStatus:
        """With several numbers of sequences."""
        plan = make_parallel_plan(wanted, self._longest)
        self._prepare(plan.length, plan.most, plan.cells)

        def events() -> Iterator[ParallelEvent]:
            self._first_token()
            self.view.parallel_header(plan)
            yield from measure_parallel(self.loaded.context, plan, self.interrupt)

        return self._show(events(), options)

    def _prepare(self, length: int, sequences: int = 1, cells: int = 0) -> None:
        """Creates a cache for `sequences` sequences of up to `length` tokens, with at least `cells` cells.

        Raises NotEnoughSpace.
        """
        settings = self.loaded.settings
        ctx = min(rounded_up(length), self._longest) if sequences > 1 or settings.ctx is None else settings.ctx
        self.loaded.configure(replace(settings, ctx=ctx, parallel=sequences, max_tokens=1, temp=0.0, seed=1))
        context = self.loaded.context
        if len(context.sequences) < sequences or context.length < length or context.cells < cells:
            needed = f"{sequences} sequences of {length:,} tokens do not fit ({self.loaded.explain()})"
            raise NotEnoughSpace(f"{needed}; use fewer sequences, or a smaller --prompt and --gen")

    @property
    def _longest(self) -> int:
        """Tokens of the longest context allowed."""
        return self.loaded.settings.ctx or self.loaded.model.context_length

    def _show(self, events: Iterator[BenchEvent | ParallelEvent], options: BenchOptions) -> ExitStatus:
        """Shows each event when it comes, and those so far when interrupted."""
        rows: list[Row | ParallelRow] = []
        try:
            for event in events:
                if isinstance(event, (Row, ParallelRow)):
                    rows.append(event)
                    self.view.row(event, options.repetitions)
                elif isinstance(event, LeftOut):
                    self.view.left_out(event)
                else:
                    self.view.step(event)
            status = ExitStatus.OK
        except Stopped:
            status = self.interrupt.status
        self._finish(rows, options, status)
        return status

    def _first_token(self) -> None:
        """Measures the time to the first token from a cold start, as a user experiences it. Raises Stopped."""
        context = self.loaded.context
        threads = context.threads
        reply = self.loaded.ask(PROMPT)
        finished = next(event for event in reply.events if isinstance(event, Finished))
        if finished.reason == "interrupted":
            raise Stopped
        context.set_threads(threads)  # a reply takes what other programs leave, a measurement always the same
        seconds, tokens = finished.timings.ttft_s, finished.usage.prompt_tokens
        subject = self._subject(context)
        self._report |= _facts(subject)
        self._report |= {"load_s": round(reply.load_s, 4)}
        self._report |= {"first_token": {"prompt_tokens": tokens, "ttft_s": round(seconds, 4)}}
        self.view.subject(subject)
        self.view.ready(load_s=reply.load_s, first_token_s=seconds, prompt_tokens=tokens)

    def _finish(self, rows: Sequence[Row | ParallelRow], options: BenchOptions, status: ExitStatus) -> None:
        peak = peak_memory()
        if options.as_json:
            complete = status is ExitStatus.OK
            tests = [_row(row) for row in rows]
            self._print({**self._report, "peak_memory_bytes": peak, "rows": tests, "complete": complete})
        elif self._report:
            self.view.end(peak)

    def tune(self, *, as_json: bool) -> ExitStatus:
        """Finds the fastest number of threads and saves it. Raises UsageError when layers are on a GPU."""
        if self.loaded.model.placement.gpu_layers:
            raise UsageError("--tune is for the CPU's threads, but layers are on a GPU; add --device cpu")
        self.loaded.configure(replace(self.loaded.settings, ctx=CONTEXT))
        default = best = default_threads()
        trials: list[Trial] = []
        self.view.tuning(self.model.reference)
        try:
            for event in tune(self.loaded.context, default, cores().logical, self.interrupt):
                if isinstance(event, Trial):
                    trials.append(event)
                    self.view.trial(event)
                elif isinstance(event, Trying):
                    self.view.trying(event)
                else:
                    best = event
        except Stopped:
            self.interrupt.end()
        better = best if best != default else None
        error = self._save(better)
        saved = better is not None and error is None
        if as_json:
            subject = {"model": self.model.reference, "processor": processor().label}
            threads = {"threads": _threads(best), "default": _threads(default), "remembered": saved}
            self._print({**subject, **threads, "trials": [_trial(trial) for trial in trials]})
        else:
            self.view.tuned(best, str(tuned.file_in(home(self.console.environ))) if saved else None)
        return self._warn(error)

    def _save(self, better: Threads | None) -> R1Error | None:
        """The error if that fails; the measurements took minutes, and are still printed."""
        try:
            tuned.remember(home(self.console.environ), self.model.path, better)
        except R1Error as exc:
            return exc
        return None

    def _warn(self, error: R1Error | None) -> ExitStatus:
        """Warns about what keeps later runs from using the result."""
        if error is not None:
            self.console.warn(f"not remembered: {error}")
            return error.exit_status
        if (threads_set := self.loaded.settings.threads) is not None:
            number = units.count(threads_set, "thread")
            self.console.warn(f"R1_THREADS or config.toml sets {number}, which overrides this")
        return ExitStatus.OK

    def _subject(self, context: Context) -> Subject:
        placement = self.loaded.model.placement
        name = processor().label
        return Subject(
            model=self.model.reference,
            path=str(self.model.path),
            size=self.model.size,
            device=", ".join(placement.devices) or name,
            processor=name,
            threads=context.threads,
            gpu_layers=placement.gpu_layers,
            kv_type=context.kv_type,
            context=context.length,
            chunk=context.rows.alone,
            sequences=len(context.sequences),
            cells=context.cells,
        )

    def _print(self, value: dict[str, Any]) -> None:
        self.view.clear()
        self.console.json(value)


def _facts(subject: Subject) -> dict[str, Any]:
    return {
        "model": subject.model,
        "path": subject.path,
        "bytes": subject.size,
        "device": subject.device,
        "processor": subject.processor,
        "gpu_layers": subject.gpu_layers,
        "threads": _threads(subject.threads),
        "kv_type": subject.kv_type,
        "context": subject.context,
        "sequences": subject.sequences,
        "cells": subject.cells,
        "chunk": subject.chunk,
        "versions": {"r1": __version__, "llama_cpp_python": binding_version() or "?", "ggml": ggml_version()},
    }


def _threads(threads: Threads) -> dict[str, int]:
    return {"decode": threads.decode, "prefill": threads.prefill}


def _row(row: Row | ParallelRow) -> dict[str, Any]:
    about: dict[str, Any] = {"test": row.test}
    if isinstance(row, ParallelRow):
        about |= {"sequences": row.sequences, "shared": row.is_shared, "tokens": row.tokens}
        about |= {"per_sequence_tps": round(row.per_sequence, 3)}
    else:
        about |= {"depth": row.depth, "tokens": row.tokens}
    return about | {
        "mean_tps": round(row.mean, 3),
        "stdev_tps": round(row.stdev, 3),
        "runs_s": [round(seconds, 6) for seconds in row.seconds],
        "tps": [round(rate, 3) for rate in row.rates],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "test": trial.test,
        "threads": trial.threads,
        "tps": [round(rate, 3) for rate in trial.rates],
        "ratios": [round(ratio, 4) for ratio in trial.ratios],
    }
