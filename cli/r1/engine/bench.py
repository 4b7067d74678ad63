"""Measures prefill and decode speed at several depths, the way llama.cpp's `llama-bench` does.

At depth d the cache is first filled with d tokens, untimed. Tokens are random, nothing is sampled, and a warm-up run
goes first (`tools/llama-bench/llama-bench.cpp`: `test_prompt`, `test_gen`). Everything goes through the same `Context`
as real turns do, with its chunks and bookkeeping.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Literal

from r1.engine.context import Context, Part, Stopped
from r1.engine.kv_types import CONTEXT_STEP
from r1.engine.llama import llama
from r1_quantize.errors import UsageError

Test = Literal["prefill", "decode"]

DEPTHS = (0, 2048, 8192)
_MAX_FILL_S = 240.0  # for filling the cache to a default depth


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """Measure `prompt` tokens at once and `gen` tokens one by one (0: skip the test), at each depth, ascending.

    A depth that would take more than `max_fill_s` seconds to reach is skipped; None waits as long as it takes.
    """

    prompt: int = 512
    gen: int = 128
    repetitions: int = 3
    depths: tuple[int, ...] = DEPTHS
    max_fill_s: float | None = None

    @property
    def length(self) -> int:
        """Tokens of context that it needs."""
        return max(self.depths) + _test_tokens(self.prompt, self.gen)


@dataclass(frozen=True, slots=True)
class Step:
    """The current activity; `done` and `total` count tokens when filling, else runs of a test."""

    doing: Literal["filling", "prefill", "decode"]
    depth: int
    done: int
    total: int


class Runs:
    """The runs of a test: its `tokens`, and the `seconds` of each run."""

    __slots__ = ()

    tokens: int
    seconds: tuple[float, ...]

    @property
    def rates(self) -> list[float]:
        """Tokens per second of each run."""
        return [self.tokens / seconds for seconds in self.seconds]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.rates)

    @property
    def stdev(self) -> float:
        """The sample's standard deviation; 0 for one run."""
        return statistics.stdev(self.rates) if len(self.seconds) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Row(Runs):
    """A test of `tokens` tokens, and the seconds of each run."""

    test: Test
    depth: int
    tokens: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A depth that was skipped because reaching it would take about `seconds`."""

    depth: int
    seconds: float


BenchEvent = Step | Row | LeftOut


def make_plan(prompt: int, gen: int, repetitions: int, depths: Sequence[int] | None, context: int) -> BenchPlan:
    """A plan that fits a context of `context` tokens. With `depths` None: the default depths, as far as they fit.

    Raises UsageError when the tests or a given depth do not fit, or when there is nothing to measure.
    """
    if not prompt and not gen:
        raise UsageError("--prompt 0 and --gen 0 leave nothing to measure; leave one of them out")
    max_depth = context - _test_tokens(prompt, gen)
    deepest = max(depths, default=0) if depths else 0
    if deepest > max_depth:
        remedy = f"use a depth of at most {max_depth}" if max_depth >= 0 else "use a smaller --prompt and --gen"
        raise UsageError(
            f"depth {deepest} with --prompt {prompt} and --gen {gen} exceeds the context of {context} tokens; {remedy}"
        )
    if depths:
        return BenchPlan(prompt, gen, repetitions, depths=tuple(sorted(set(depths))))
    fitting_depths = {depth if depth <= max_depth else max_depth // CONTEXT_STEP * CONTEXT_STEP for depth in DEPTHS}
    return BenchPlan(prompt, gen, repetitions, depths=tuple(sorted(fitting_depths)), max_fill_s=_MAX_FILL_S)


def _test_tokens(prompt: int, gen: int) -> int:
    return max(prompt + 1, gen)  # a prefill must leave room for one token of a reply


class Watch:
    """Measures batches of a context; `cancelled` is called between them."""

    def __init__(self, context: Context, cancelled: Callable[[], bool]) -> None:
        self._context = context
        self._cancelled = cancelled

    def check_cancelled(self) -> None:
        """Raises Stopped."""
        if self._cancelled():
            raise Stopped

    def wait(self) -> None:
        """Until the last batch is computed: a GPU does so in the background."""
        llama().llama_synchronize(self._context.handle)


class Stopwatch(Watch):
    """Times a context. The tokens are the same each time, so the tokens already in the cache are kept."""

    def __init__(
        self, context: Context, depths: Sequence[int], max_tokens: int, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """For tests of at most `max_tokens` tokens at these depths. `cancelled` is called between batches."""
        super().__init__(context, cancelled)
        self._sequence = context.sequences[0]
        edges = sorted({0, *depths})
        tokens = random_tokens(context, edges[-1] + max_tokens)
        self._segments = {end: tokens[start:end] for start, end in pairwise(edges)}
        self._after = {depth: tokens[depth : depth + max_tokens] for depth in depths}

    def fill(self, depth: int) -> Iterator[int]:
        """Fills the cache with `depth` tokens; yields the count done. Raises Stopped."""
        for done in self._context.warm(self._sequence, self._up_to(depth)):
            yield done
            self.check_cancelled()
        self.wait()

    def prefill(self, depth: int, tokens: int) -> float:
        """Seconds to prefill `tokens` tokens into a cache filled to `depth`. Raises Stopped."""
        self._sequence.truncate(depth)
        prompt = [*self._up_to(depth), self._after[depth][:tokens]]
        began = perf_counter()
        for _ in self._context.prefill(self._sequence, prompt):
            self.check_cancelled()
        self.wait()
        return perf_counter() - began

    def decode(self, depth: int, tokens: int) -> float:
        """Seconds to decode `tokens` tokens one by one into a cache filled to `depth`. Raises Stopped."""
        self._sequence.truncate(depth)
        following = self._after[depth][:tokens]
        began = perf_counter()
        for token in following:
            self._context.decode([Part(self._sequence, [token])])
            self.wait()
            self.check_cancelled()
        return perf_counter() - began

    def _up_to(self, depth: int) -> list[list[int]]:
        return [segment for end, segment in self._segments.items() if end <= depth]


def measure(context: Context, plan: BenchPlan, cancelled: Callable[[], bool] = lambda: False) -> Iterator[BenchEvent]:
    """Runs the plan; yields each row as soon as it is measured.

    Raises Stopped when cancelled, after a row with the runs finished by then.
    """
    watch = Stopwatch(context, plan.depths, max(plan.prompt, plan.gen), cancelled)
    tests: list[tuple[Test, int]] = [("prefill", plan.prompt), ("decode", plan.gen)]
    rate = reached = 0.0
    for depth in plan.depths:
        if plan.max_fill_s and rate and (depth - reached) / rate > plan.max_fill_s:
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
    """A warm-up run, then the measured ones."""
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


def random_tokens(context: Context, count: int) -> list[int]:
    """BOS, then random tokens; the same for every measurement."""
    model = context.model
    rng = random.Random(1)
    return [model.control.bos, *(rng.randrange(model.vocabulary_size) for _ in range(count - 1))]
