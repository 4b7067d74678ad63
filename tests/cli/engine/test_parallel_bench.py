"""`r1.engine.parallel_bench` on the built-in model. No test asserts a speed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from r1.engine.context import Context, ContextParams, Part, Stopped
from r1.engine.model import Model
from r1.engine.parallel_bench import (
    ParallelEvent,
    ParallelPlan,
    ParallelRow,
    ParallelStep,
    ParallelStopwatch,
    make_parallel_plan,
    measure_parallel,
)
from r1.machine.cores import Threads
from r1_quantize.errors import UsageError

SEPARATE = ParallelPlan((1, 2, 5), prompt=40, gen=4, repetitions=2)
SHARED = ParallelPlan((1, 2, 5), prompt=40, gen=4, repetitions=2, is_shared=True)


@pytest.fixture(params=[SEPARATE, SHARED], ids=["separate", "shared"])
def plan(request: pytest.FixtureRequest) -> ParallelPlan:
    wanted: ParallelPlan = request.param
    return wanted


@pytest.fixture
def context(model: Model, plan: ParallelPlan) -> Iterator[Context]:
    """A context with exactly what the plan needs."""
    params = ContextParams(plan.length, threads=Threads.of(1), sequences=plan.most, cells=plan.cells)
    with Context(model, params) as made:
        yield made


@pytest.fixture
def batches(context: Context, monkeypatch: pytest.MonkeyPatch) -> list[list[Part]]:
    """The batches that the context decodes."""
    decoded: list[list[Part]] = []
    decode = context.decode

    def record(parts: list[Part]) -> list[int]:
        decoded.append(parts)
        return decode(parts)

    monkeypatch.setattr(context, "decode", record)
    return decoded


def rows(events: Iterator[ParallelEvent]) -> list[ParallelRow]:
    return [event for event in events if isinstance(event, ParallelRow)]


class TestMeasuring:
    """What is measured, with how many sequences."""

    def test_runs_both_tests_with_every_number_of_sequences(self, context: Context, plan: ParallelPlan) -> None:
        measured = rows(measure_parallel(context, plan))
        assert [(row.test, row.sequences) for row in measured] == [
            *(("prefill", 1), ("decode", 1), ("prefill", 2), ("decode", 2), ("prefill", 5), ("decode", 5)),
        ]
        assert all(len(row.rates) == 2 and min(row.rates) > 0 for row in measured)
        assert {row.is_shared for row in measured} == {plan.is_shared}

    def test_yields_each_row_as_soon_as_it_is_measured(self, context: Context, plan: ParallelPlan) -> None:
        events = measure_parallel(context, plan)
        assert [type(next(events)) for _ in range(3)] == [ParallelStep, ParallelStep, ParallelRow]

    def test_a_batch_has_one_token_of_every_sequence(
        self, context: Context, plan: ParallelPlan, batches: list[list[Part]]
    ) -> None:
        watch = ParallelStopwatch(context, plan)
        watch.prefill(5)
        batches.clear()
        watch.decode(5, 4)
        assert [[(part.sequence, len(part.tokens), part.has_logits) for part in parts] for parts in batches] == [
            [(sequence, 1, True) for sequence in context.sequences]
        ] * 4

    def test_each_sequence_decodes_after_its_prompt(self, context: Context, plan: ParallelPlan) -> None:
        watch = ParallelStopwatch(context, plan)
        watch.prefill(2)
        prompts = [list(sequence.tokens) for sequence in context.sequences]
        assert [*map(len, prompts)] == [40, 40, 0, 0, 0]
        assert (prompts[0] == prompts[1]) is plan.is_shared
        for _ in range(2):
            watch.decode(2, 4)
            assert [len(sequence) for sequence in context.sequences] == [44, 44, 0, 0, 0]
            assert [sequence.tokens[:40] for sequence in context.sequences[:2]] == prompts[:2]

    def test_counts_as_llama_batched_bench(self) -> None:
        """Its S_PP counts a shared prompt once, its S_TG the tokens of all sequences."""
        assert [SEPARATE.tokens("prefill", 5), SHARED.tokens("prefill", 5)] == [200, 40]
        assert [SEPARATE.tokens("decode", 5), SHARED.tokens("decode", 5)] == [20, 20]
        assert [SEPARATE.cells, SHARED.cells] == [5 * 44, 40 + 5 * 4]

    def test_a_test_of_no_tokens_is_skipped(self, model: Model) -> None:
        with Context(model, ContextParams(64, threads=Threads.of(1), sequences=2, cells=128)) as context:
            list(context.prefill(context.sequences[0], [[1] * 60]))  # what the time to the first token left behind
            assert [row.test for row in rows(measure_parallel(context, ParallelPlan((2,), 0, 60, 1)))] == ["decode"]
            assert [row.test for row in rows(measure_parallel(context, ParallelPlan((2,), 60, 0, 1)))] == ["prefill"]


class TestPerSequence:
    """The tokens per second that each sequence gets."""

    @pytest.mark.parametrize(
        ("test", "is_shared", "expected"),
        [("decode", False, 10.0), ("decode", True, 10.0), ("prefill", False, 10.0), ("prefill", True, 40.0)],
    )
    def test_is_its_own_tokens_over_the_time(self, test: str, is_shared: bool, expected: float) -> None:
        row = ParallelRow(test, 4, 80, (2.0, 2.0), is_shared)  # type: ignore[arg-type]
        assert (row.mean, row.per_sequence) == (40.0, expected)


class TestStopping:
    """Cancelling a measurement."""

    def test_yields_what_was_measured_so_far(self, context: Context, plan: ParallelPlan) -> None:
        """Each prefill of one prompt checks once: the third is cancelled, after one to warm up."""
        cancelled = iter([False] * 2 + [True] * 100)
        events = measure_parallel(context, plan, lambda: next(cancelled))
        (row,) = [next(event for event in events if isinstance(event, ParallelRow))]
        assert (row.test, row.sequences, len(row.seconds)) == ("prefill", 1, 1)
        with pytest.raises(Stopped):
            next(events)


class TestPlanning:
    """Numbers that fit."""

    def test_takes_each_number_once_from_the_smallest(self) -> None:
        assert make_parallel_plan(ParallelPlan((8, 1, 8, 2)), 4096).sequences == (1, 2, 8)

    @pytest.mark.parametrize(
        ("prompt", "gen", "message"),
        [(4096, 32, "exceed the context of 2048 tokens; use smaller ones"), (0, 0, "nothing to measure")],
    )
    def test_refuses_what_does_not_fit_a_sequence(self, prompt: int, gen: int, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            make_parallel_plan(ParallelPlan((1,), prompt, gen), 2048)
