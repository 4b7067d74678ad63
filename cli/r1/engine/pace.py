"""Chooses the number of threads for each batch, so that llama.cpp keeps its speed on a busy machine.

llama.cpp's threads wait for each other several hundred times in a batch. When another program takes the processor of
one of them, all others wait until it has it back, and decoding takes many times as long. One thread less is then much
faster. Two rules find the number:

- `FreeProcessors` leaves out the processors that other programs use, by the system's own counters.
- `Trials` starts from there, and watches the time of a batch. When it takes a multiple of the best time, fewer threads
  are tried; now and then, more. What turns out faster is kept. This covers systems without counters (Android), programs
  with a low priority, which give way, and processors that have become slow.

The number of threads changes the logits a little in one case: a batch of one token, when an F16 or F32 cache holds more
than 256 tokens. The CPU's flash attention then splits the cells among the threads and adds up the parts, so that they
are rounded differently. A prefill, a batch of several tokens and a quantized cache give the same bits with any number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from time import perf_counter

from r1.machine import load
from r1.machine.cores import Threads, default_threads

_WINDOW_S = 0.25
"""Other programs' time is measured over this long: 25 steps of a counter on each processor."""
_LONG_S = 2.0
"""An average over more than this says little about now."""
_CALM_S = 1.0
"""Processors must have been free for this long before threads are added."""
_TOLERANCE_SHARE = 0.6
_TOLERANCE = 0.15
"""How much of a processor others may use without costing a thread: 0.6 divided by the processors, at least 0.15.

Measured with two processors: when others used 0.25 of one, two threads decoded as fast as one; with 0.15, a third
faster, and with 0.6 at half its speed. A thread is worth less among many, and the delay is the same.
"""
_HYSTERESIS = 0.1


@dataclass(frozen=True, slots=True)
class Sensors:
    """What is known about the machine; tests replace it."""

    clock: Callable[[], float] = perf_counter
    sample: Callable[[], load.Sample] = load.sample
    competing: Callable[[], float | None] = load.competing
    preemptions: Callable[[], int | None] = load.preemptions


class ThreadPace:
    """The numbers of threads for the next batch, at most `most`."""

    def __init__(self, most: Threads | None = None, sensors: Sensors | None = None) -> None:
        """`most` None: the default number. Other programs are watched from here on, so make it before the model."""
        self._most = most or default_threads()
        number = max(self._most.decode, self._most.prefill)
        self._free = FreeProcessors(number, sensors or Sensors()) if number > 1 else None
        self._trials = Trials(number, sensors or Sensors())

    def threads(self) -> Threads:
        """For the next batch. Call it before each; it looks at the machine a few times a second."""
        if self._free is None:
            return self._most
        number = self._trials.choose(self._free.threads())
        return Threads(decode=min(number, self._most.decode), prefill=min(number, self._most.prefill))

    def measured(self, seconds: float, tokens: int, threads: int) -> None:
        """The last batch had `tokens` tokens, and took `seconds` with `threads` threads."""
        if self._free is not None:
            self._trials.add(seconds, tokens, threads)


class FreeProcessors:
    """How many threads the processors have time for, 1 to `most`."""

    def __init__(self, most: int, sensors: Sensors) -> None:
        self._most = most
        self._sensors = sensors
        self._last = sensors.sample()
        self._threads: int | None = None  # None before the first decision
        self._is_guess = True
        self._calm_s = 0.0
        self._calm_threads = most

    def threads(self) -> int:
        """The number of processors that are switched on, where the system does not count."""
        if self._sensors.clock() - self._last.moment >= _WINDOW_S:
            self._measure()
        elif self._threads is None:
            self._guess()
        return self._unknown() if self._threads is None else self._threads

    def _guess(self) -> None:
        """It is too early to have measured anything: from the tasks that compete now."""
        if self._last.busy is not None and (others := self._sensors.competing()) is not None:
            self._threads = self._fitting(others, len(self._last.processors))

    def _measure(self) -> None:
        now = self._sensors.sample()
        seconds = now.moment - self._last.moment
        others = now.others_since(self._last)
        self._last = now
        if others is None:
            self._set(self._unknown())
            return
        if seconds > _LONG_S and (others_now := self._sensors.competing()) is not None:
            others = min(others, others_now)
        self._decide(others, len(now.processors), seconds)

    def _unknown(self) -> int:
        return min(self._most, len(self._last.processors))

    def _decide(self, others: float, processors: int, seconds: float) -> None:
        fitting = self._fitting(others, processors)
        if self._threads is None or self._is_guess or fitting < self._threads:
            self._set(fitting)
            return
        calm = self._fitting(others + _HYSTERESIS, processors)
        if calm <= self._threads:
            self._set(self._threads)
            return
        self._calm_s += seconds
        self._calm_threads = min(self._calm_threads, calm)
        if self._calm_s >= _CALM_S:
            self._set(self._calm_threads)

    def _set(self, threads: int) -> None:
        self._threads, self._is_guess = threads, False
        self._calm_s, self._calm_threads = 0.0, self._most

    def _fitting(self, others: float, processors: int) -> int:
        tolerance = max(_TOLERANCE, _TOLERANCE_SHARE / processors)
        return max(1, min(self._most, floor(processors - others + tolerance)))


_SLOW = 1.8
"""Fewer threads are tried when batches take this many times the best time with the same number of tokens."""
_PREEMPTIONS = 100
"""Or when the system takes processors from our threads this often a second. Alone on the machine: under 40."""
_BETTER = 1.1
"""A number of threads is kept when it is this many times faster than the one before."""
_STEPS = 4
_TRIAL_STEPS = 6
_LOST_STEP = 3
"""A trial is over with the first batch that takes this many times as long as before."""
_BEST_DRIFT = 1.01
"""The best time grows by a hundredth in each window, because batches take longer the deeper the cache is."""
_FEWER_WAIT_S, _MORE_WAIT_S, _LONGEST_WAIT_S = 0.5, 4.0, 32.0
"""After a trial that did not help, the next one waits twice as long as the last. A trial of more costs more time."""


class _Wait:
    """The time before which nothing is tried again."""

    def __init__(self, first_s: float) -> None:
        self.until = 0.0
        self._first_s = self._next_s = first_s

    def longer(self, now: float) -> None:
        self.until = now + self._next_s
        self._next_s = min(2 * self._next_s, _LONGEST_WAIT_S)

    def reset(self, until: float) -> None:
        self.until, self._next_s = until, self._first_s


@dataclass(slots=True)
class _Trial:
    """Batches of `tokens` tokens with `threads` threads, against a mean of `mean` seconds with `before` threads.

    The first does not count: the system has to move the threads.
    """

    before: int
    threads: int
    tokens: int
    mean: float
    steps: int = -1
    seconds: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        self.steps += 1
        if not self.steps:
            return
        self.seconds += seconds
        self.longest = max(self.longest, seconds)

    @property
    def is_lost(self) -> bool:
        return self.seconds * _BETTER >= _TRIAL_STEPS * self.mean or self.longest >= _LOST_STEP * self.mean

    @property
    def is_won(self) -> bool:
        return self.steps >= _TRIAL_STEPS and not self.is_lost


class Trials:
    """Finds the number of threads by the times of batches, 1 to `most`, from the number that should be free."""

    def __init__(self, most: int, sensors: Sensors) -> None:
        self._most = most
        self._sensors = sensors
        self._chosen = most
        self._free = most
        self._trial: _Trial | None = None
        self._best: dict[tuple[int, int], float] = {}  # (tokens, threads) → seconds
        self._fewer, self._more = _Wait(_FEWER_WAIT_S), _Wait(_MORE_WAIT_S)
        self._restart((0, 0))

    def choose(self, free: int) -> int:
        """For the next batch. When the number of threads that should be free changes, it is taken at once."""
        if free != self._free:
            self._free = self._chosen = free
            self._trial = None
            self._fewer.reset(0.0)
            self._more.reset(self._sensors.clock() + _MORE_WAIT_S)
        return self._trial.threads if self._trial else self._chosen

    def add(self, seconds: float, tokens: int, threads: int) -> None:
        if self._trial:
            self._add_to_trial(self._trial, seconds, tokens, threads)
            return
        if (tokens, threads) != self._kind:
            self._restart((tokens, threads))
        self._steps += 1
        self._seconds += seconds
        if self._steps >= _STEPS and self._seconds >= _WINDOW_S:
            self._judge()
            self._restart(self._kind)

    def _restart(self, kind: tuple[int, int]) -> None:
        """A new window of batches of one kind."""
        self._kind = kind
        self._steps, self._seconds = 0, 0.0
        self._preempted = self._sensors.preemptions()

    def _judge(self) -> None:
        """Starts a trial at the end of a window, if there is a reason for one."""
        tokens, threads = self._kind
        mean = self._seconds / self._steps
        best = min(mean, self._best.get(self._kind, mean) * _BEST_DRIFT)
        self._best[self._kind] = best
        now = self._sensors.clock()
        if threads > 1 and now >= self._fewer.until and (mean >= _SLOW * best or self._is_preempted()):
            self._try(threads, threads // 2, tokens, mean)
        elif threads == self._chosen < self._most and now >= self._more.until:
            self._try(threads, min(self._most, threads + max(1, threads // 4)), tokens, mean)

    def _is_preempted(self) -> bool:
        now = self._sensors.preemptions()
        if now is None or self._preempted is None:
            return False
        return now - self._preempted >= _PREEMPTIONS * self._seconds

    def _try(self, before: int, threads: int, tokens: int, mean: float) -> None:
        self._trial = _Trial(before, threads, tokens, mean)

    def _add_to_trial(self, trial: _Trial, seconds: float, tokens: int, threads: int) -> None:
        if (tokens, threads) != (trial.tokens, trial.threads):
            self._trial = None  # other work has come in between
            return
        trial.add(seconds)
        if trial.is_lost or trial.is_won:
            self._trial = None
            self._restart((0, 0))
            self._conclude(trial)

    def _conclude(self, trial: _Trial) -> None:
        """Keeps the faster number. What has helped may be tried again soon; what has not, later and later."""
        now = self._sensors.clock()
        is_fewer = trial.threads < trial.before
        same, other = (self._fewer, self._more) if is_fewer else (self._more, self._fewer)
        if trial.is_won:
            self._chosen = trial.threads
            skipped = abs(trial.before - trial.threads) > 1
            same.reset(now)
            other.reset(now if skipped or not is_fewer else now + _MORE_WAIT_S)
        elif is_fewer and trial.threads > 1:  # too many all the same
            self._try(trial.before, 1, trial.tokens, trial.mean)
        else:
            self._best[trial.tokens, trial.before] = trial.mean
            same.longer(now)
