"""How fast a context is: prefill and decode at several depths, counted as llama.cpp's `llama-bench` counts.

At depth d the cache first holds d tokens; only then the clock runs. Tokens are random, nothing is sampled, and a run
that warms up goes before (`tools/llama-bench/llama-bench.cpp`: `test_prompt`, `test_gen`). Everything goes through the
`Context` that turns go through, with its chunks and its bookkeeping.

Knows: what is measured, in which order. Does not know: which model is meant, who looks at the figures.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Literal

from r1.engine.context import Context, Stopped
from r1.engine.llama import llama
from r1_quantize.errors import UsageError

Test = Literal["prefill", "decode"]

DEPTHS = (0, 2048, 8192)
_STEP = 256
_PATIENCE = 240.0
"""Seconds that filling the cache to a depth may take which nobody asked for."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What to measure: `prompt` tokens at once and `gen` one by one (0: not at all), at each depth, ascending.

    A depth that takes more than `patience` seconds to reach is left out; None waits for any.
    """

    prompt: int = 512
    gen: int = 128
    repetitions: int = 3
    depths: tuple[int, ...] = DEPTHS
    patience: float | None = None

    @property
    def length(self) -> int:
        """Tokens of context that it takes."""
        return max(self.depths) + _room(self.prompt, self.gen)


def plan(prompt: int, gen: int, repetitions: int, depths: Sequence[int] | None, longest: int) -> BenchPlan:
    """A plan that fits a context of `longest` tokens; `depths` None: the usual ones, as far as they fit.

    Raises UsageError when the tests, or a depth that was asked for, do not fit, or nothing is to be measured.
    """
    if not prompt and not gen:
        raise UsageError("--prompt 0 and --gen 0 leave nothing to measure; leave one of them out")
    room = longest - _room(prompt, gen)
    deepest = max(depths, default=0) if depths else 0
    if deepest > room:
        fits = f"at most {room} fits" if room >= 0 else "take fewer with --prompt and --gen"
        raise UsageError(
            f"depth {deepest}, {prompt} tokens of prompt, {gen} of reply: the context ends at {longest}; {fits}"
        )
    if depths:
        return BenchPlan(prompt, gen, repetitions, tuple(sorted(set(depths))))
    usual = {depth if depth <= room else room // _STEP * _STEP for depth in DEPTHS}
    return BenchPlan(prompt, gen, repetitions, tuple(sorted(usual)), _PATIENCE)


def _room(prompt: int, gen: int) -> int:
    return max(prompt + 1, gen)  # a prefill leaves room for a reply


@dataclass(frozen=True, slots=True)
class Step:
    """What is being done now; `done` of `total` are tokens of a fill, or runs of a test."""

    doing: Literal["filling", "prefill", "decode"]
    depth: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Row:
    """`tokens` tokens, as often as there are `seconds`."""

    test: Test
    depth: int
    tokens: int
    seconds: tuple[float, ...]

    @property
    def rates(self) -> list[float]:
        """Tokens a second of each run."""
        return [self.tokens / seconds for seconds in self.seconds]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.rates)

    @property
    def stdev(self) -> float:
        """The sample's standard deviation; 0 for one run."""
        return statistics.stdev(self.rates) if len(self.seconds) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A depth that was not measured: to reach it would take about so many `seconds`."""

    depth: int
    seconds: float


BenchEvent = Step | Row | LeftOut


class Stopwatch:
    """A context and the clock. The tokens are the same each time, so what the cache holds of them is kept."""

    def __init__(
        self, context: Context, depths: Sequence[int], most: int, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """For tests of at most `most` tokens at these depths. `cancelled` is asked between batches."""
        self._context = context
        self._cancelled = cancelled
        self._llama = llama()
        edges = sorted({0, *depths})
        tokens = _random_tokens(context, edges[-1] + most)
        self._segments = {end: tokens[start:end] for start, end in pairwise(edges)}
        self._after = {depth: tokens[depth : depth + most] for depth in depths}

    def fill(self, depth: int) -> Iterator[int]:
        """Makes the cache hold `depth` tokens; yields the count done. Raises Stopped."""
        for done in self._context.warm(self._up_to(depth)):
            yield done
            self._ask()
        self._wait()

    def prefill(self, depth: int, tokens: int) -> float:
        """Seconds that `tokens` tokens take at once, on top of a cache filled to `depth`. Raises Stopped."""
        self._context.truncate(depth)
        prompt = [*self._up_to(depth), self._after[depth][:tokens]]
        began = perf_counter()
        for _ in self._context.prefill(prompt):
            self._ask()
        self._wait()
        return perf_counter() - began

    def decode(self, depth: int, tokens: int) -> float:
        """Seconds that `tokens` tokens take one by one, on top of a cache filled to `depth`. Raises Stopped."""
        self._context.truncate(depth)
        following = self._after[depth][:tokens]
        began = perf_counter()
        for token in following:
            self._context.decode([token])
            self._wait()
            self._ask()
        return perf_counter() - began

    def _up_to(self, depth: int) -> list[list[int]]:
        return [segment for end, segment in self._segments.items() if end <= depth]

    def _ask(self) -> None:
        if self._cancelled():
            raise Stopped

    def _wait(self) -> None:
        self._llama.llama_synchronize(self._context.handle)  # a GPU may still be at it


def measure(context: Context, plan: BenchPlan, cancelled: Callable[[], bool] = lambda: False) -> Iterator[BenchEvent]:
    """Measures what the plan says; rows come as they are measured.

    Raises Stopped when someone asked for it; a row of the runs that were over by then comes before.
    """
    watch = Stopwatch(context, plan.depths, max(plan.prompt, plan.gen), cancelled)
    tests: list[tuple[Test, int]] = [("prefill", plan.prompt), ("decode", plan.gen)]
    rate = reached = 0.0
    for depth in plan.depths:
        if plan.patience and rate and (depth - reached) / rate > plan.patience:
            yield LeftOut(depth, (depth - reached) / rate)
            return
        for done in watch.fill(depth):
            if depth:
                yield Step("filling", depth, done, depth)
        for test, tokens in tests:
            for event in _repeat(watch, test, depth, tokens, plan.repetitions) if tokens else ():
                rate = event.mean if isinstance(event, Row) and event.test == "prefill" else rate
                yield event
        reached = depth


def _repeat(watch: Stopwatch, test: Test, depth: int, tokens: int, repetitions: int) -> Iterator[BenchEvent]:
    """A run that warms up, then as many as are wanted."""
    run = watch.prefill if test == "prefill" else watch.decode
    seconds: list[float] = []
    yield Step(test, depth, 0, repetitions)
    try:
        run(depth, tokens if test == "prefill" else 1)
        for _ in range(repetitions):
            seconds.append(run(depth, tokens))
            yield Step(test, depth, len(seconds), repetitions)
    except Stopped:
        if seconds:
            yield Row(test, depth, tokens, tuple(seconds))
        raise
    yield Row(test, depth, tokens, tuple(seconds))


def _random_tokens(context: Context, count: int) -> list[int]:
    """The beginning of a text, then anything; the same for every measurement."""
    native, model = llama(), context.model
    size = native.llama_vocab_n_tokens(native.llama_model_get_vocab(model.handle))
    dice = random.Random(1)
    return [model.control.bos, *(dice.randrange(size) for _ in range(count - 1))]
