"""`r1.fit.votes`: when votes of a smaller model take no longer than one answer of the best one that fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r1.engine.devices import Device
from r1.fit.recommendation import Prospect, Surroundings, comfortable, prospects
from r1.fit.votes import VotesInstead, votes_instead
from r1.machine.cores import Threads
from r1.machine.memory import Memory
from r1_quantize import catalog

GB = 1_000_000_000


def made_up(name: str, size: int, speed: float | None, score: float, voted: float) -> Prospect:
    return Prospect(name, "Q4_K_M", size, {}, 32_768, 32_768, speed, score=score, voted_score=voted)


SMALLER, LARGER = made_up("smaller", 1, 96.0, 50.0, 80.0), made_up("larger", 10, 8.0, 70.0, 85.0)
"""The smaller one decodes 12 times as fast. It may write 1.5 times as many tokens, so eight votes take as long."""


class TestVotesInstead:
    """Advice only where speeds and published scores support it."""

    def test_eight_votes_that_take_exactly_as_long(self) -> None:
        assert votes_instead([SMALLER, LARGER]) == VotesInstead(SMALLER, LARGER, 8, 1.0)

    @pytest.mark.parametrize(
        ("speed", "gain", "votes"),
        [(95.9, 1, None), (191, 1, 8), (192, 1, 16), (96, 2, 16), (10_000, 1, 64), (40, 2, None), (40, 2.8, 8)],
    )
    def test_the_number_is_the_largest_that_takes_no_longer(self, speed: float, gain: float, votes: int | None) -> None:
        """`gain`: how many times as fast the samples decode together."""
        found = votes_instead([replace(SMALLER, tokens_per_second=float(speed), parallel_gain=float(gain)), LARGER])
        assert (found.votes if found else None) == votes
        assert found is None or found.time_share <= 1

    def test_none_where_even_64_votes_do_not_score_more_than_one_answer(self) -> None:
        assert votes_instead([replace(SMALLER, voted_score=70.0), LARGER]) is None
        assert votes_instead([replace(SMALLER, voted_score=0.0), LARGER]) is None  # not published

    def test_none_where_the_smaller_one_scores_as_much_with_one_answer(self) -> None:
        assert votes_instead([replace(SMALLER, score=70.0), LARGER]) is None

    @pytest.mark.parametrize("unknown", [0, 1])
    def test_none_without_measured_speeds(self, unknown: int) -> None:
        both = [SMALLER, LARGER]
        both[unknown] = replace(both[unknown], tokens_per_second=None)
        assert votes_instead(both) is None

    def test_none_where_only_the_larger_one_is_on_a_gpu(self) -> None:
        """The estimated speeds are those of the processor."""
        assert votes_instead([SMALLER, replace(LARGER, on_gpu=True)]) is None
        assert votes_instead([replace(SMALLER, on_gpu=True), LARGER]) is not None

    def test_the_comparison_is_with_the_best_that_fits(self) -> None:
        """Another one that is larger but scores less is no reason to wait."""
        slow = made_up("slow", 20, 1.0, 60.0, 90.0)
        found = votes_instead([SMALLER, slow, LARGER])
        assert found is not None
        assert found.larger == LARGER

    def test_of_several_the_one_with_the_best_votes(self) -> None:
        other = replace(SMALLER, name="other", voted_score=82.0)
        found = votes_instead([SMALLER, other, LARGER])
        assert found is not None
        assert found.smaller == other

    def test_none_of_one_model_and_of_no_model(self) -> None:
        assert votes_instead([LARGER]) is None
        assert votes_instead([]) is None


def on(gpu: int, memory: int, threads: int, backend: str = "CUDA") -> VotesInstead | None:
    """The advice for the catalogue on a machine with these GB of memory; `gpu` 0: no GPU."""
    gpus = [Device("GPU0", "gpu", "a GPU", backend, gpu * GB, gpu * GB)] if gpu else []
    around = Surroundings.of(gpus, Memory(memory * GB, memory * GB * 9 // 10), 30e9, Threads.of(threads))
    return votes_instead(comfortable(prospects(catalog.load().values(), around), (), None))


class TestCatalogue:
    """The published checkpoints."""

    def test_on_a_gpu_eight_votes_of_the_7b_take_about_as_long_as_one_answer_of_the_32b(self) -> None:
        """19.4 GB a token against 4.4 GB, 1.5 times as many tokens, and eight at once 2.8 times as fast as one:
        8 × 1.5 ÷ 2.8 × 4.4 ÷ 19.4 = 0.97.
        """
        found = on(gpu=24, memory=64, threads=8)
        assert found is not None
        assert (found.smaller.reference, found.votes, found.larger.name) == ("qwen-7b:Q4_K_M", 8, "qwen-32b")
        assert found.time_share == pytest.approx(0.97, abs=0.02)

    def test_on_a_processor_they_take_longer(self) -> None:
        assert on(gpu=0, memory=25, threads=2) is None
        assert on(gpu=0, memory=128, threads=16) is None

    def test_on_a_gpu_of_a_kind_that_was_not_measured_nothing_is_claimed(self) -> None:
        assert on(gpu=24, memory=64, threads=8, backend="Vulkan") is None
        assert on(gpu=24, memory=64, threads=8, backend="MTL") is not None

    def test_where_the_gpu_has_room_for_few_samples_at_once_they_take_longer(self) -> None:
        assert on(gpu=8, memory=64, threads=8) is None
