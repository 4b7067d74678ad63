"""`r1.engine.tune` on the built-in model. No test asserts a speed."""

from __future__ import annotations

import pytest

from r1.engine.context import Context
from r1.engine.tune import Trial, Trying, candidates, tune
from r1.machine.cores import Threads


class TestTuning:
    """Numbers of threads against the default."""

    def test_candidates_are_few_and_within_the_machine(self) -> None:
        assert candidates(2, 2) == ([1], [])
        assert candidates(1, 1) == ([], [])
        assert candidates(8, 16) == ([7, 4, 1], [12, 16])

    def test_both_tests_are_tried_and_the_context_ends_with_the_default(self, context: Context) -> None:
        events = list(tune(context, Threads(1, 1), 2))
        tried = {(event.test, event.threads) for event in events if isinstance(event, Trial)}
        assert tried == {(test, threads) for test in ("prefill", "decode") for threads in (1, 2)}
        assert isinstance(events[0], Trying)
        assert isinstance(events[-1], Threads)
        assert context.threads == Threads(1, 1)

    @pytest.mark.parametrize(
        ("ratios", "better"),
        [
            ((1.2, 1.1, 1.3, 1.2), True),
            ((1.02, 1.01, 1.02, 1.02), False),  # within noise
            ((1.5, 1.5, 0.9, 1.5), False),  # not every pair
            ((1.5,), False),  # given up
        ],
    )
    def test_better_means_in_every_pair_and_by_more_than_noise(self, ratios: tuple[float, ...], better: bool) -> None:
        assert Trial("decode", 4, ratios, ratios).is_better is better
