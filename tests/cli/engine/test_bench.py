"""`r1.engine.bench` and `r1.engine.tune`, on the real built-in model. No figure is ever asserted."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest

from r1.engine.bench import DEPTHS, BenchEvent, BenchPlan, LeftOut, Row, Step, Stopwatch, measure, plan
from r1.engine.context import Context, ContextParams, Stopped
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.engine.tune import Trial, Trying, candidates, in_use, tune
from r1.machine.cores import Threads
from r1_quantize.errors import UsageError

BRIEF = BenchPlan(prompt=16, gen=4, repetitions=2, depths=(0, 40, 300))


def rows(events: Iterator[BenchEvent]) -> list[Row]:
    return [event for event in events if isinstance(event, Row)]


class TestMeasuring:
    """What is counted, and on what."""

    def test_every_test_at_every_depth_with_every_run(self, context: Context) -> None:
        measured = rows(measure(context, BRIEF))
        wanted = [(test, depth) for depth in (0, 40, 300) for test in ("prefill", "decode")]
        assert [(row.test, row.depth) for row in measured] == wanted
        assert {(row.test, row.tokens) for row in measured} == {("prefill", 16), ("decode", 4)}
        assert all(len(row.rates) == 2 and min(row.rates) > 0 for row in measured)

    def test_rows_come_when_they_are_measured(self, context: Context) -> None:
        events = measure(context, BRIEF)
        kinds = [type(next(events)) for _ in range(4)]
        assert kinds == [Step, Step, Step, Row]

    def test_the_cache_is_full_to_the_depth_before_the_clock_runs(self, context: Context) -> None:
        watch = Stopwatch(context, (0, 40, 300), 16)
        for depth in (0, 40, 300):
            assert list(watch.fill(depth))[-1] == depth
            assert len(context.tokens) == depth
            watch.prefill(depth, 16)
            assert len(context.tokens) == depth + 16
            watch.decode(depth, 4)
            assert len(context.tokens) == depth + 4

    def test_what_is_in_the_cache_is_not_decoded_again(self, context: Context) -> None:
        watch = Stopwatch(context, (0, 40, 300), 16)
        list(watch.fill(40))
        watch.decode(40, 4)
        assert next(watch.fill(300)) == 40
        list(watch.fill(300))
        before = list(context.tokens)
        watch.prefill(300, 16)
        assert context.tokens[:300] == before

    def test_a_test_of_no_tokens_is_left_out(self, context: Context) -> None:
        assert {row.test for row in rows(measure(context, BenchPlan(0, 4, 1, (0,))))} == {"decode"}
        assert {row.test for row in rows(measure(context, BenchPlan(16, 0, 1, (0,))))} == {"prefill"}

    def test_a_depth_that_nobody_asked_for_is_left_out_when_it_takes_too_long(self, context: Context) -> None:
        events = list(measure(context, BenchPlan(16, 4, 1, (0, 40, 300), patience=1e-9)))
        assert isinstance(events[-1], LeftOut)
        assert (events[-1].depth, events[-1].seconds > 0) == (40, True)
        assert {row.depth for row in rows(iter(events))} == {0}

    def test_a_spread_is_the_samples_standard_deviation(self) -> None:
        row = Row("decode", 0, 128, (2.0, 4.0, 4.0))
        assert row.rates == [64.0, 32.0, 32.0]
        assert row.mean == pytest.approx(128 / 3)
        assert row.stdev == pytest.approx(statistics.stdev([64.0, 32.0, 32.0]))
        assert Row("decode", 0, 128, (2.0,)).stdev == 0.0


class TestStopping:
    """Someone has seen enough."""

    def test_what_was_measured_by_then_comes_first(self, context: Context) -> None:
        asked = iter([False] * 11 + [True] * 100)  # a prefill of one chunk asks twice, so this is the sixth run
        events = measure(context, BenchPlan(16, 4, 9, (0,)), lambda: next(asked))
        row = next(event for event in events if isinstance(event, Row))
        assert len(row.seconds) == 4  # one warmed up, one was broken off
        with pytest.raises(Stopped):
            next(events)

    def test_the_engines_stop_ends_a_batch(self, model: Model) -> None:
        stop = Stop()
        with Context(model, ContextParams(512, threads=Threads.of(1)), stop) as context:
            events = measure(context, BenchPlan(16, 4, 3, (0,)))
            next(event for event in events if isinstance(event, Row))
            stop.set()
            with pytest.raises(Stopped):
                list(events)


class TestPlanning:
    """Depths that fit."""

    def test_the_usual_depths_where_they_fit(self) -> None:
        assert plan(512, 128, 3, None, 131_072).depths == DEPTHS

    def test_as_deep_as_the_context_allows_where_they_do_not(self) -> None:
        made = plan(512, 128, 3, None, 2048)
        assert made.depths == (0, 1280)
        assert made.length <= 2048
        assert plan(512, 128, 3, None, 600).depths == (0,)

    def test_depths_that_were_asked_for_are_waited_for(self) -> None:
        made = plan(512, 128, 3, (4096, 0, 4096), 131_072)
        assert (made.depths, made.patience) == ((0, 4096), None)

    @pytest.mark.parametrize(
        ("prompt", "gen", "depths", "said"),
        [
            (512, 128, (0, 2000), "at most 1535 fits"),
            (4096, 128, None, "take fewer with --prompt and --gen"),
            (0, 0, None, "nothing to measure"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, prompt: int, gen: int, depths: tuple[int, ...] | None, said: str
    ) -> None:
        with pytest.raises(UsageError, match=said):
            plan(prompt, gen, 3, depths, 2048)


class TestTuning:
    """Numbers of threads against the usual one."""

    def test_candidates_are_few_and_within_the_machine(self) -> None:
        assert candidates(2, 2) == ([1], [])
        assert candidates(1, 1) == ([], [])
        assert candidates(8, 16) == ([7, 4, 1], [12, 16])

    def test_both_tests_are_tried_and_the_context_is_as_it_was(self, context: Context) -> None:
        events = list(tune(context, Threads(1, 1), 2))
        tried = {(event.test, event.threads) for event in events if isinstance(event, Trial)}
        assert tried == {(test, threads) for test in ("prefill", "decode") for threads in (1, 2)}
        assert isinstance(events[0], Trying)
        assert isinstance(events[-1], Threads)
        assert in_use(context) == Threads(1, 1)

    @pytest.mark.parametrize(
        ("ratios", "better"),
        [
            ((1.2, 1.1, 1.3, 1.2), True),
            ((1.02, 1.01, 1.02, 1.02), False),  # within noise
            ((1.5, 1.5, 0.9, 1.5), False),  # not every time
            ((1.5,), False),  # given up
        ],
    )
    def test_better_is_what_is_better_every_time_and_by_more_than_noise(
        self, ratios: tuple[float, ...], better: bool
    ) -> None:
        assert Trial("decode", 4, ratios, ratios).is_better is better
