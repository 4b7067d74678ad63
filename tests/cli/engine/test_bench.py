"""`r1.engine.bench` on the built-in model. No test asserts a speed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest

from r1.engine.bench import DEPTHS, BenchEvent, BenchPlan, LeftOut, Row, Step, Stopwatch, make_plan, measure
from r1.engine.context import Context, ContextParams, Stopped
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.machine.cores import Threads
from r1_quantize.errors import UsageError

BRIEF = BenchPlan(prompt=16, gen=4, repetitions=2, depths=(0, 40, 300))


def rows(events: Iterator[BenchEvent]) -> list[Row]:
    return [event for event in events if isinstance(event, Row)]


class TestMeasuring:
    """What is measured, at which depth."""

    def test_runs_every_test_at_every_depth(self, context: Context) -> None:
        measured = rows(measure(context, BRIEF))
        wanted = [(test, depth) for depth in (0, 40, 300) for test in ("prefill", "decode")]
        assert [(row.test, row.depth) for row in measured] == wanted
        assert {(row.test, row.tokens) for row in measured} == {("prefill", 16), ("decode", 4)}
        assert all(len(row.rates) == 2 and min(row.rates) > 0 for row in measured)

    def test_yields_each_row_as_soon_as_it_is_measured(self, context: Context) -> None:
        events = measure(context, BRIEF)
        kinds = [type(next(events)) for _ in range(4)]
        assert kinds == [Step, Step, Step, Row]

    def test_the_cache_is_filled_to_the_depth_before_the_measurement(self, context: Context) -> None:
        watch = Stopwatch(context, (0, 40, 300), 16)
        for depth in (0, 40, 300):
            assert list(watch.fill(depth))[-1] == depth
            assert len(context.sequences[0].tokens) == depth
            watch.prefill(depth, 16)
            assert len(context.sequences[0].tokens) == depth + 16
            watch.decode(depth, 4)
            assert len(context.sequences[0].tokens) == depth + 4

    def test_tokens_in_the_cache_are_not_decoded_again(self, context: Context) -> None:
        watch = Stopwatch(context, (0, 40, 300), 16)
        list(watch.fill(40))
        watch.decode(40, 4)
        assert next(watch.fill(300)) == 40
        list(watch.fill(300))
        before = list(context.sequences[0].tokens)
        watch.prefill(300, 16)
        assert context.sequences[0].tokens[:300] == before

    def test_a_test_of_no_tokens_is_skipped(self, context: Context) -> None:
        assert {row.test for row in rows(measure(context, BenchPlan(0, 4, 1, (0,))))} == {"decode"}
        assert {row.test for row in rows(measure(context, BenchPlan(16, 0, 1, (0,))))} == {"prefill"}

    def test_a_default_depth_is_skipped_when_it_takes_too_long(self, context: Context) -> None:
        events = list(measure(context, BenchPlan(16, 4, 1, (0, 40, 300), max_fill_s=1e-9)))
        assert isinstance(events[-1], LeftOut)
        assert (events[-1].depth, events[-1].seconds > 0) == (40, True)
        assert {row.depth for row in rows(iter(events))} == {0}

    def test_the_spread_is_the_samples_standard_deviation(self) -> None:
        row = Row("decode", 0, 128, (2.0, 4.0, 4.0))
        assert row.rates == [64.0, 32.0, 32.0]
        assert row.mean == pytest.approx(128 / 3)
        assert row.stdev == pytest.approx(statistics.stdev([64.0, 32.0, 32.0]))
        assert Row("decode", 0, 128, (2.0,)).stdev == 0.0


class TestStopping:
    """Cancelling a measurement."""

    def test_yields_what_was_measured_so_far(self, context: Context) -> None:
        cancelled = iter([False] * 11 + [True] * 100)  # a prefill of one chunk checks twice, so this is the sixth run
        events = measure(context, BenchPlan(16, 4, 9, (0,)), lambda: next(cancelled))
        row = next(event for event in events if isinstance(event, Row))
        assert len(row.seconds) == 4  # one warmed up, one was cancelled
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
    """Depths that fit the context."""

    def test_takes_the_default_depths_where_they_fit(self) -> None:
        assert make_plan(512, 128, 3, None, 131_072).depths == DEPTHS

    def test_goes_as_deep_as_the_context_allows_where_they_do_not(self) -> None:
        made = make_plan(512, 128, 3, None, 2048)
        assert made.depths == (0, 1280)
        assert made.length <= 2048
        assert make_plan(512, 128, 3, None, 600).depths == (0,)

    def test_waits_for_depths_that_the_user_chose(self) -> None:
        made = make_plan(512, 128, 3, (4096, 0, 4096), 131_072)
        assert (made.depths, made.max_fill_s) == ((0, 4096), None)

    @pytest.mark.parametrize(
        ("prompt", "gen", "depths", "message"),
        [
            (512, 128, (0, 2000), "use a depth of at most 1535"),
            (4096, 128, None, "use a smaller --prompt and --gen"),
            (0, 0, None, "nothing to measure"),
        ],
    )
    def test_refuses_what_does_not_fit(
        self, prompt: int, gen: int, depths: tuple[int, ...] | None, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            make_plan(prompt, gen, 3, depths, 2048)
