"""`r1 bench`: how fast a model is here, and with how many threads it would be fastest.

Knows: what is measured when, and what is printed of it. Does not know: how it is measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from r1 import __version__, tuned
from r1.console import Console
from r1.engine import bench as engine
from r1.engine import tune as tuning
from r1.engine.bench import LeftOut, Row
from r1.engine.build import binding_version
from r1.engine.context import Context, Stopped
from r1.engine.events import Finished
from r1.engine.model import LoadCancelled
from r1.engine.tune import Trial, Trying
from r1.interrupt import Interrupt
from r1.library import find_model
from r1.loaded_model import Listener, LoadedModel
from r1.machine.cores import Threads, cores, default_threads
from r1.machine.memory import peak_memory
from r1.machine.processor import processor
from r1.render.bench import BenchView, Subject
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.store.store import StoredModel, home

PROMPT = "How many r's are in strawberry?"
"""What the time to the first token is taken of."""

_STEP = 256
"""Tokens by which a context grows; the least one has room for the prompt above."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure; `depths` None: the usual ones."""

    prompt: int = 512
    gen: int = 128
    repetitions: int = 3
    depths: tuple[int, ...] | None = None
    tune: bool = False
    as_json: bool = False


def read_depths(text: str) -> tuple[int, ...]:
    """`0,2048` → tokens. Raises UsageError."""
    try:
        depths = tuple(int(part) for part in text.split(","))
    except ValueError:
        depths = ()
    if not depths or min(depths) < 0:
        raise UsageError(f"--depths: {text!r} is not a list of whole numbers, such as 0,2048,8192")
    return depths


def bench(console: Console, options: BenchOptions, settings: Settings) -> ExitStatus:
    """Measures, and prints what was measured until Ctrl-C, if it comes. Raises as `find_model` and `LoadedModel`."""
    model = find_model(console, settings.model)
    view = BenchView(console, silent=options.as_json)
    with Interrupt() as interrupt:
        try:
            with LoadedModel(
                model.path, settings, interrupt.stop, Listener(view.loading), name=model.reference
            ) as session:
                run = _Run(console, view, session, interrupt, model)
                return run.tune(as_json=options.as_json) if options.tune else run.measure(options)
        except LoadCancelled:
            return ExitStatus.INTERRUPTED
        finally:
            view.clear()


@dataclass(slots=True)
class _Run:
    """One loaded model, and who looks on."""

    console: Console
    view: BenchView
    session: LoadedModel
    interrupt: Interrupt
    model: StoredModel
    _report: dict[str, Any] = field(default_factory=dict, init=False)

    def measure(self, options: BenchOptions) -> ExitStatus:
        settings = self.session.settings
        longest = settings.ctx or self.session.model.context_length
        plan = engine.plan(options.prompt, options.gen, options.repetitions, options.depths, longest)
        length = min(-(-plan.length // _STEP) * _STEP, longest)
        self.session.settings = replace(settings, ctx=settings.ctx or length, max_tokens=1, temp=0.0, seed=1)
        rows: list[Row] = []
        try:
            self._first_token()
            for event in engine.measure(self.session.context, plan, self.interrupt):
                if isinstance(event, Row):
                    rows.append(event)
                    self.view.row(event, plan.repetitions)
                elif isinstance(event, LeftOut):
                    self.view.left_out(event)
                else:
                    self.view.step(event)
            status = ExitStatus.OK
        except Stopped:
            status = ExitStatus.INTERRUPTED
        self._finish(rows, options, status)
        return status

    def _first_token(self) -> None:
        """From a cold start, as a person meets it. Raises Stopped."""
        turn = self.session.ask(PROMPT)
        finished = next(event for event in turn.events if isinstance(event, Finished))
        if finished.reason == "interrupted":
            raise Stopped
        seconds, tokens = finished.timings.ttft_s, finished.usage.prompt_tokens
        subject = self._subject(self.session.context)
        self._report |= _facts(subject)
        self._report |= {"load_s": round(turn.load_s, 4)}
        self._report |= {"first_token": {"prompt_tokens": tokens, "seconds": round(seconds, 4)}}
        self.view.subject(subject)
        self.view.ready(turn.load_s, seconds, tokens)

    def _finish(self, rows: Sequence[Row], options: BenchOptions, status: ExitStatus) -> None:
        peak = peak_memory()
        if options.as_json:
            whole = status is ExitStatus.OK
            tests = [_row(row) for row in rows]
            self._print({**self._report, "peak_memory_bytes": peak, "rows": tests, "complete": whole})
        elif self._report:
            self.view.end(peak)

    def tune(self, *, as_json: bool) -> ExitStatus:
        """Looks for the best number of threads, and keeps it. Raises UsageError when a GPU computes."""
        if self.session.model.placement.gpu_layers:
            raise UsageError("--tune is about the processor's threads, and layers are on a GPU; add --device cpu")
        self.session.settings = replace(self.session.settings, ctx=tuning.LENGTH)
        usual = best = default_threads()
        trials: list[Trial] = []
        self.view.tuning(self.model.reference)
        try:
            for event in tuning.tune(self.session.context, usual, cores().logical, self.interrupt):
                if isinstance(event, Trial):
                    trials.append(event)
                    self.view.trial(event)
                elif isinstance(event, Trying):
                    self.view.trying(event)
                else:
                    best = event
        except Stopped:
            return ExitStatus.INTERRUPTED
        self._keep(usual, best, trials, as_json=as_json)
        return ExitStatus.OK

    def _keep(self, usual: Threads, best: Threads, trials: list[Trial], *, as_json: bool) -> None:
        root = home(self.console.environ)
        found = best if best != usual else None
        tuned.remember(root, self.model.path, found)
        if as_json:
            object_ = {"model": self.model.reference, "processor": processor().label}
            settings = {"threads": _threads(best), "default": _threads(usual), "remembered": found is not None}
            self._print({**object_, **settings, "trials": [_trial(trial) for trial in trials]})
        else:
            self.view.tuned(best, str(tuned.file_in(root)) if found else None)
        if self.session.settings.threads is not None:
            self.console.warn(f"{self.session.settings.threads} threads are set (R1_THREADS or config.toml): that wins")

    def _subject(self, context: Context) -> Subject:
        placement = self.session.model.placement
        name = processor().label
        return Subject(
            model=self.model.reference,
            path=str(self.model.path),
            size=self.model.size,
            device=", ".join(placement.devices) or name,
            processor=name,
            threads=tuning.in_use(context),
            gpu_layers=placement.gpu_layers,
            kv_type=context.kv_type,
            context=context.length,
            chunk=context.chunk,
        )

    def _print(self, value: dict[str, Any]) -> None:
        self.view.clear()
        self.console.out(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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
        "chunk": subject.chunk,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    import ctypes

    from r1_quantize.binding import function

    ggml = function("ggml_version", [], ctypes.c_char_p)().decode()
    return {"r1": __version__, "llama_cpp_python": binding_version() or "?", "ggml": ggml}


def _threads(threads: Threads) -> dict[str, int]:
    return {"decode": threads.decode, "prefill": threads.prefill}


def _row(row: Row) -> dict[str, Any]:
    return {
        "test": row.test,
        "depth": row.depth,
        "tokens": row.tokens,
        "mean_tps": round(row.mean, 3),
        "stdev_tps": round(row.stdev, 3),
        "seconds": [round(seconds, 6) for seconds in row.seconds],
        "tps": [round(rate, 3) for rate in row.rates],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "test": trial.test,
        "threads": trial.threads,
        "tps": [round(rate, 3) for rate in trial.rates],
        "ratios": [round(ratio, 4) for ratio in trial.ratios],
    }
