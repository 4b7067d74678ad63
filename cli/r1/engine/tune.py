"""Which number of threads is fastest, for prefill and for decode: a few candidates, each against the usual number.

A machine gets slower and faster while it is being measured. So each candidate is measured in turns with the usual
number, and judged by the ratios of those pairs.

Knows: candidates, and when one of them is better. Does not know: where the result is kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from r1.engine.bench import Stopwatch, Test
from r1.engine.context import Context
from r1.engine.llama import llama
from r1.machine.cores import Threads

TOKENS: dict[Test, int] = {"prefill": 128, "decode": 16}
"""Of one measurement."""

LENGTH = 256
"""Tokens of context that tuning needs."""

_PAIRS = 4
_HOPELESS = 0.9
"""A first pair below this is the last one, and candidates still further off are not tried."""
_BETTER = 1.03
"""What the median of the ratios must reach, and every ratio 1: chance alone would do that in one case of sixteen."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`threads` threads against the usual number: a rate (tokens a second) and a ratio for each pair.

    Of the usual number itself there are rates only.
    """

    test: Test
    threads: int
    rates: tuple[float, ...]
    ratios: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        """The median; 1 for the usual number."""
        return statistics.median(self.ratios) if self.ratios else 1.0

    @property
    def mean(self) -> float:
        return statistics.fmean(self.rates)

    @property
    def is_better(self) -> bool:
        """Beyond what noise would do."""
        return len(self.ratios) == _PAIRS and self.ratio >= _BETTER and min(self.ratios) > 1


@dataclass(frozen=True, slots=True)
class Trying:
    """What is being measured now."""

    test: Test
    threads: int


TuneEvent = Trying | Trial | Threads


def candidates(usual: int, logical: int) -> tuple[list[int], list[int]]:
    """Fewer threads than usual and more, the nearest first: one less, half, one; half of the rest, all cores."""
    fewer = {usual - 1, usual // 2, 1}
    more = {(usual + logical) // 2, logical}
    return sorted((n for n in fewer if 0 < n < usual), reverse=True), sorted(n for n in more if n > usual)


def tune(
    context: Context, usual: Threads, logical: int, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[TuneEvent]:
    """Measures candidates up to `logical` cores; the last event is the best setting. Raises Stopped.

    The context, of LENGTH tokens or more, has the usual setting again afterwards.
    """
    watch = Stopwatch(context, (0,), max(TOKENS.values()), cancelled)
    list(watch.fill(0))
    best = usual
    tests: tuple[Test, ...] = ("prefill", "decode")
    for test in tests:
        found = getattr(usual, test)
        bar = 1.0
        for event in _trials(_Pairs(context, watch, usual, test), *candidates(found, logical)):
            yield event
            if isinstance(event, Trial) and event.is_better and event.ratio > bar:
                found, bar = event.threads, event.ratio
        best = replace(best, **{test: found})
    use(context, usual)
    yield best


def use(context: Context, threads: Threads) -> None:
    """From here on the context computes with so many."""
    llama().llama_set_n_threads(context.handle, threads.decode, threads.prefill)


def in_use(context: Context) -> Threads:
    """How many threads the context computes with."""
    native = llama()
    return Threads(native.llama_n_threads(context.handle), native.llama_n_threads_batch(context.handle))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """One test, with any number of threads."""

    context: Context
    watch: Stopwatch
    usual: Threads
    test: Test

    def rate(self, threads: int) -> float:
        """Tokens a second; one token before the clock starts brings the threads about."""
        use(self.context, Threads(threads, threads))
        self.watch.decode(0, 1)
        tokens = TOKENS[self.test]
        run = self.watch.prefill if self.test == "prefill" else self.watch.decode
        return tokens / run(0, tokens)

    def against_usual(self, threads: int) -> Trial:
        """In turns, the one first and then the other."""
        usual = getattr(self.usual, self.test)
        rates, ratios = [], []
        for number in range(_PAIRS):
            pair = {n: self.rate(n) for n in ([threads, usual] if number % 2 else [usual, threads])}
            rates.append(pair[threads])
            ratios.append(pair[threads] / pair[usual])
            if ratios[0] < _HOPELESS:
                break
        return Trial(self.test, threads, tuple(rates), tuple(ratios))


def _trials(pairs: _Pairs, fewer: list[int], more: list[int]) -> Iterator[TuneEvent]:
    """The usual number alone, then the others, each way until one is clearly worse."""
    usual = getattr(pairs.usual, pairs.test)
    yield Trying(pairs.test, usual)
    pairs.rate(usual)  # warms up
    yield Trial(pairs.test, usual, tuple(pairs.rate(usual) for _ in range(_PAIRS)))
    for direction in (fewer, more):
        for threads in direction:
            yield Trying(pairs.test, threads)
            trial = pairs.against_usual(threads)
            yield trial
            if trial.ratio < _HOPELESS:
                break
