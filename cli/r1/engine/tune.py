"""Finds the fastest number of threads for prefill and for decode: a few candidates, each against the default number.

A machine's speed varies while it is measured. So each candidate is measured in pairs with the default number, and
judged by the ratios of the pairs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from r1.engine.bench import Stopwatch, Test
from r1.engine.context import Context
from r1.machine.cores import Threads

TOKENS: dict[Test, int] = {"prefill": 128, "decode": 16}
"""The length of one measurement."""

CONTEXT = 256
"""Tokens of context that tuning needs."""

_PAIRS = 4
_MUCH_WORSE_RATIO = 0.9
"""When the first ratio is below this, the other pairs are skipped, and so are the candidates after this one."""
_BETTER_RATIO = 1.03
"""The median ratio must reach this, and every ratio must exceed 1, which happens by chance once in sixteen times."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`threads` threads against the default number: a rate (tokens per second) and a ratio for each pair.

    The default number itself has rates and no ratios.
    """

    test: Test
    threads: int
    rates: tuple[float, ...]
    ratios: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        """The median; 1 for the default number."""
        return statistics.median(self.ratios) if self.ratios else 1.0

    @property
    def mean(self) -> float:
        return statistics.fmean(self.rates)

    @property
    def is_better(self) -> bool:
        """Whether the difference is larger than noise."""
        return len(self.ratios) == _PAIRS and self.ratio >= _BETTER_RATIO and min(self.ratios) > 1


@dataclass(frozen=True, slots=True)
class Trying:
    """The measurement that is running."""

    test: Test
    threads: int


TuneEvent = Trying | Trial | Threads


def candidates(default: int, logical: int) -> tuple[list[int], list[int]]:
    """Fewer threads than the default (one less, half, one) and more (halfway to all cores, all), nearest first."""
    fewer = {default - 1, default // 2, 1}
    more = {(default + logical) // 2, logical}
    return sorted((n for n in fewer if 0 < n < default), reverse=True), sorted(n for n in more if n > default)


def tune(
    context: Context, default: Threads, logical: int, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[TuneEvent]:
    """Measures candidates up to `logical` cores; the last event is the best setting. Raises Stopped.

    `context` must hold at least CONTEXT tokens; it ends with the default setting.
    """
    watch = Stopwatch(context, (0,), max(TOKENS.values()), cancelled)
    list(watch.fill(0))
    best = default
    tests: tuple[Test, ...] = ("prefill", "decode")
    for test in tests:
        fastest = getattr(default, test)
        best_ratio = 1.0
        for event in _trials(_Pairs(context, watch, default, test), *candidates(fastest, logical)):
            yield event
            if isinstance(event, Trial) and event.is_better and event.ratio > best_ratio:
                fastest, best_ratio = event.threads, event.ratio
        best = replace(best, **{test: fastest})
    context.set_threads(default)
    yield best


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Measures one test with a given number of threads."""

    context: Context
    watch: Stopwatch
    default: Threads
    test: Test

    def rate(self, threads: int) -> float:
        """Tokens per second; one untimed token first starts the threads."""
        self.context.set_threads(Threads.of(threads))
        self.watch.decode(0, 1)
        tokens = TOKENS[self.test]
        run = self.watch.prefill if self.test == "prefill" else self.watch.decode
        return tokens / run(0, tokens)

    def against_default(self, threads: int) -> Trial:
        """Pairs of measurements; which one goes first alternates."""
        default = getattr(self.default, self.test)
        rates, ratios = [], []
        for number in range(_PAIRS):
            pair = {n: self.rate(n) for n in ([threads, default] if number % 2 else [default, threads])}
            rates.append(pair[threads])
            ratios.append(pair[threads] / pair[default])
            if ratios[0] < _MUCH_WORSE_RATIO:
                break
        return Trial(self.test, threads, tuple(rates), tuple(ratios))


def _trials(pairs: _Pairs, fewer: list[int], more: list[int]) -> Iterator[TuneEvent]:
    """The default number alone, then candidates in both directions until one is clearly worse."""
    default = getattr(pairs.default, pairs.test)
    yield Trying(pairs.test, default)
    pairs.rate(default)  # warms up
    yield Trial(pairs.test, default, tuple(pairs.rate(default) for _ in range(_PAIRS)))
    for direction in (fewer, more):
        for threads in direction:
            yield Trying(pairs.test, threads)
            trial = pairs.against_default(threads)
            yield trial
            if trial.ratio < _MUCH_WORSE_RATIO:
                break
