"""`r1.engine.pace`: the number of threads, on machines whose processors and other programs are simulated."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1.engine.pace import Sensors, ThreadPace
from r1.machine.cores import Threads
from r1.machine.load import Sample

SLOWED = 5
"""A batch takes this many times as long when a thread waits for another that has no processor."""


class Machine:
    """Some processors, other programs that would keep `others` of them busy, and one that decodes.

    The processors are shared fairly. Threads that are too many for them hold each other up.
    """

    def __init__(self, processors: int, others: float = 0.0) -> None:
        self.processors = processors
        self.others = others
        self.is_counted = True
        self.gives_way = False  # of the other programs
        self.work = 0.04  # seconds for a batch with one thread
        self.holds_up = True
        self.glimpse: float | None = None  # tasks that happen to compete when it looks
        self.chosen: list[int] = []
        self.pace: ThreadPace
        self._now = self._busy = self._own = 0.0
        self._preemptions = 0

    def sensors(self) -> Sensors:
        return Sensors(
            clock=lambda: self._now,
            sample=self._sample,
            competing=self._competing,
            preemptions=lambda: self._preemptions,
        )

    def start(self, most: int | None = None, loading_s: float = 0.0) -> Machine:
        self.pace = ThreadPace(Threads.of(most or self.processors), self.sensors())
        self._pass(loading_s, 0)
        return self

    def run(self, seconds: float, others: Callable[[], float] | None = None) -> int:
        """Decodes for so long; returns the number of threads in the end. `others` says before each batch how many."""
        end = self._now + seconds
        while self._now < end:
            if others:
                self.others = others()
            threads = self.pace.threads().decode
            self.chosen.append(threads)
            took = self._pass(self.work / threads / self._share(threads) * self._delay(threads), threads)
            self.pace.measured(took, 1, threads)
        return self.chosen[-1]

    @property
    def changes(self) -> int:
        return sum(one != other for one, other in pairwise(self.chosen))

    def _share(self, threads: int) -> float:
        """The part of a processor that each thread gets."""
        others = 0 if self.gives_way else self.others
        return min(1.0, self.processors / max(1.0, threads + others))

    def _delay(self, threads: int) -> int:
        return SLOWED if self.holds_up and threads > 1 and self._share(threads) < 1 else 1

    def _pass(self, seconds: float, threads: int) -> float:
        share = self._share(threads)
        used = min(self.others * share, self.processors - threads * share)
        self._now += seconds
        self._own += threads * share * seconds
        self._busy += (threads * share + used) * seconds
        self._preemptions += round(500 * seconds) if self._delay(threads) > 1 else 0
        return seconds

    def _competing(self) -> float | None:
        others = float(round(self.others)) if self.glimpse is None else self.glimpse
        return others if self.is_counted else None

    def _sample(self) -> Sample:
        busy = self._busy if self.is_counted else None
        return Sample(self._now, tuple(range(self.processors)), busy, self._own)


class TestCounted:
    """Systems that count the time of all programs."""

    @pytest.mark.parametrize("processors", [2, 4, 8, 64])
    def test_an_idle_machine_gets_all_threads_all_the_time(self, processors: int) -> None:
        machine = Machine(processors).start()
        machine.run(20)
        assert set(machine.chosen) == {processors}

    @pytest.mark.parametrize(
        ("processors", "others", "threads"),
        [(2, 1, 1), (2, 2, 1), (2, 4, 1), (4, 1, 3), (8, 1, 7), (8, 3, 5), (8, 8, 1), (8, 20, 1), (64, 30, 34)],
    )
    def test_a_busy_machine_gets_what_others_leave(self, processors: int, others: int, threads: int) -> None:
        machine = Machine(processors).start()
        machine.run(2)
        machine.others = others
        machine.run(4)
        machine.chosen.clear()
        machine.run(20)
        assert machine.chosen.count(threads) >= 0.9 * len(machine.chosen)

    def test_loading_the_model_is_time_enough_to_see_others(self) -> None:
        machine = Machine(8, others=3).start(loading_s=0.5)
        machine.run(0.01)
        assert machine.chosen[0] == 5

    def test_before_anything_is_measured_the_tasks_that_compete_decide(self) -> None:
        machine = Machine(8, others=3).start()
        machine.run(0.01)
        assert machine.chosen[0] == 5

    def test_a_wrong_guess_lasts_for_one_measurement(self) -> None:
        machine = Machine(8).start()
        machine.glimpse = 6
        assert (machine.run(0.01), machine.run(0.5)) == (2, 8)

    def test_hyper_threads_are_left_to_others_first(self) -> None:
        machine = Machine(8, others=3).start(most=4)
        machine.run(5)
        assert set(machine.chosen) == {4}

    def test_little_noise_changes_nothing(self) -> None:
        noise = random.Random(1)
        machine = Machine(2).start()
        machine.holds_up = False
        machine.run(60, lambda: noise.uniform(0, 0.2))
        assert set(machine.chosen) == {2}

    def test_between_two_numbers_it_does_not_flap(self) -> None:
        noise = random.Random(2)
        machine = Machine(2).start()
        machine.holds_up = False
        machine.run(60, lambda: noise.uniform(0.0, 0.6))
        assert machine.changes <= 4

    def test_load_that_comes_and_goes_within_a_reply(self) -> None:
        machine = Machine(2).start()
        machine.run(1)
        for _ in range(4):
            machine.others = 2
            machine.run(1)
            assert machine.run(4) == 1
            machine.others = 0
            assert machine.run(2.5) == 2
        assert machine.changes <= 16

    def test_load_that_came_and_went_while_nothing_was_decoded(self) -> None:
        machine = Machine(4).start()
        machine.run(1)
        machine.others = 4
        machine._pass(60, 0)
        machine.others = 0
        assert machine.run(0.01) == 4

    def test_processors_that_are_switched_off(self) -> None:
        machine = Machine(8).start()
        machine.run(1)
        machine.processors = 4
        assert machine.run(1) == 4
        machine.processors = 8
        assert machine.run(3) == 8

    def test_processors_that_others_would_give_up_are_used_after_all(self) -> None:
        """Programs with a low priority use what is idle, and hardly disturb."""
        machine = Machine(2, others=2).start(loading_s=0.5)
        machine.gives_way = True
        assert machine.run(1) == 1
        machine.run(9)
        machine.chosen.clear()
        machine.run(60)
        assert machine.chosen.count(2) > 0.95 * len(machine.chosen)

    def test_more_are_tried_more_and_more_rarely(self) -> None:
        machine = Machine(2, others=2).start(loading_s=0.5)
        machine.run(120)
        assert machine.chosen.count(1) > 0.99 * len(machine.chosen)


class TestUncounted:
    """Systems that do not count, such as Android: only the time of a batch tells."""

    def machine(self, processors: int, others: float = 0.0) -> Machine:
        machine = Machine(processors, others)
        machine.is_counted = False
        return machine.start()

    @pytest.mark.parametrize(("processors", "others", "most"), [(2, 1, 1), (4, 1, 3), (8, 2, 6), (8, 7, 1)])
    def test_a_busy_machine_gets_what_others_leave(self, processors: int, others: int, most: int) -> None:
        machine = self.machine(processors)
        machine.run(2)
        machine.others = others
        machine.run(20)
        machine.chosen.clear()
        machine.run(60)
        assert sum(threads <= most for threads in machine.chosen) > 0.95 * len(machine.chosen)

    def test_all_threads_come_back_when_it_calms(self) -> None:
        machine = self.machine(8)
        machine.run(2)
        machine.others = 7
        machine.run(20)
        machine.others = 0
        machine.run(90)
        assert machine.run(1) == 8

    def test_a_machine_that_is_busy_from_the_start(self) -> None:
        """There is no best time to compare with, but the system takes processors away often."""
        assert self.machine(2, others=2).run(3) == 1

    def test_batches_that_take_longer_for_another_reason_keep_their_threads(self) -> None:
        """Fewer are tried more and more rarely, because they do not help: a deep cache, or a hot processor."""
        machine = self.machine(4)
        machine.run(2)
        machine.work *= 3
        machine.run(120)
        assert machine.chosen.count(4) > 0.99 * len(machine.chosen)

    def test_batches_that_take_longer_little_by_little_are_no_reason(self) -> None:
        machine = self.machine(4)
        for _ in range(300):
            machine.run(1)
            machine.work *= 1.01
        assert set(machine.chosen) == {4}

    def test_processors_that_are_switched_off(self) -> None:
        machine = self.machine(8)
        machine.processors = 4
        assert machine.run(1) == 4

    def test_batches_of_changing_size_are_not_compared(self) -> None:
        machine = self.machine(4)
        for tokens in range(1, 2000):
            threads = machine.pace.threads().prefill
            assert threads == 4
            took = 0.01 * (tokens % 97)
            machine._pass(took, threads)
            machine.pace.measured(took, tokens % 97, threads)


def test_one_thread_stays_one_and_nothing_is_watched() -> None:
    def unused() -> Sample:
        raise AssertionError

    pace = ThreadPace(Threads.of(1), Sensors(sample=unused))
    pace.measured(1.0, 1, 1)
    assert pace.threads() == Threads.of(1)


def test_of_two_different_numbers_neither_is_exceeded() -> None:
    machine = Machine(8)
    pace = ThreadPace(Threads(decode=3, prefill=8), machine.sensors())
    machine.others = 4
    machine._pass(0.5, 0)
    assert pace.threads() == Threads(decode=3, prefill=4)


def test_a_number_that_a_request_keeps_does_not_disturb_the_choice() -> None:
    machine = Machine(2).start()
    machine.others = 2
    for _ in range(100):
        machine.pace.threads()
        machine._pass(0.1, 2)
        machine.pace.measured(0.1, 1, 2)
    assert machine.pace.threads() == Threads.of(1)


@settings(max_examples=50)
@given(
    most=st.integers(2, 16),
    readings=st.lists(
        st.tuples(st.floats(0, 5), st.none() | st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 16)), max_size=30
    ),
)
def test_whatever_the_counters_say_the_number_is_possible(
    most: int, readings: list[tuple[float, float | None, float, int]]
) -> None:
    """Counters that go backwards, disappear, or make no sense."""
    now = 0.0
    last = Sample(0.0, (0,), 0.0, 0.0)
    pace = ThreadPace(Threads.of(most), Sensors(lambda: now, lambda: last, lambda: 3.0, lambda: None))
    for seconds, busy, own, processors in readings:
        now += seconds
        last = Sample(now, tuple(range(processors)), busy, own)
        threads = pace.threads().decode
        assert 1 <= threads <= most
        pace.measured(seconds, 1, threads)
