"""`r1.fit.choice` and `r1.fit.choice`: what would run here, and what to take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r1.fit.choice import QUANTS, Prospect, Recommendation, Surroundings, prospects, recommend
from r1.machine.memory import Memory
from r1_quantize import catalog

GB = 1_000_000_000

# what was made of DeepSeek's own checkpoints, in GB
Q4_K_M = {"qwen-1.5b": 1.12, "qwen-7b": 4.68, "llama-8b": 4.92, "qwen-14b": 8.99, "qwen-32b": 19.9, "llama-70b": 42.5}


def on(free: float, total: float, bandwidth: float | None = 30) -> dict[str, Prospect]:
    """The catalogue on a machine with so many GB of memory, which it reads at so many a second."""
    memory = Memory(int(total * GB), int(free * GB))
    around = Surroundings.of((), memory, bandwidth and bandwidth * GB)
    return {found.reference: found for found in prospects(catalog.load().values(), around)}


class TestProspects:
    """Each checkpoint in each type, on a machine."""

    def test_are_of_the_size_that_the_files_have(self) -> None:
        found = on(free=8, total=16)
        assert {name: found[f"{name}:Q4_K_M"].size / GB for name in Q4_K_M} == pytest.approx(Q4_K_M, rel=0.01)
        assert len(found) == len(Q4_K_M) * len(QUANTS)

    def test_are_as_fast_as_was_measured(self) -> None:
        # two cores that read 30 GB/s decoded 25 tokens a second with llama.cpp's own tools
        assert on(8, 16)["qwen-1.5b:Q4_K_M"].tokens_per_second == pytest.approx(25, rel=0.15)

    def test_say_how_long_a_context_fits_now_and_with_other_programs_closed(self) -> None:
        found = on(free=2.5, total=8)
        assert found["qwen-1.5b:Q4_K_M"].fits_now == 32_768
        assert (found["qwen-7b:Q4_K_M"].fits_now, found["qwen-7b:Q4_K_M"].fits_alone > 0) == (0, True)
        assert (found["qwen-14b:Q4_K_M"].fits_now, found["qwen-14b:Q4_K_M"].fits_alone) == (0, 0)

    def test_leave_the_speed_open_where_it_was_not_measured(self) -> None:
        found = on(8, 16, bandwidth=None)["llama-70b:Q4_K_M"]
        assert found.tokens_per_second is None
        assert found.is_fast


def made_up(name: str, score: float, fits: int, speed: float, quant: str = "Q4_K_M", alone: int = 32_768) -> Prospect:
    needed = {4096: GB, 16_384: 2 * GB, 32_768: 3 * GB}
    return Prospect(name, quant, int(score * GB), needed, fits, alone, speed, score=score, room_to_pull=int(score * GB))


SMALL, MIDDLE = made_up("small", 30, 32_768, 20), made_up("middle", 50, 16_384, 6)
LARGE = made_up("large", 70, 16_384, 2)


def advice(*found: Prospect, here: str = "", disk: int | None = None) -> Recommendation:
    chosen = recommend(found, {here} - {""}, disk)
    assert chosen is not None
    return chosen


class TestRecommend:
    """One model, and the reason for it."""

    def test_is_the_best_that_is_fast_enough(self) -> None:
        chosen = advice(SMALL, MIDDLE, LARGE)
        assert (chosen.prospect, chosen.why, chosen.here) == (MIDDLE, "best", None)

    def test_of_a_model_is_the_usual_type_if_it_does_else_a_smaller_one(self) -> None:
        eight, four, three = (replace(MIDDLE, quant=quant) for quant in ("Q8_0", "Q4_K_M", "Q3_K_M"))
        assert advice(eight, four, three).prospect == four
        assert advice(eight, replace(four, fits_now=4096), three).prospect == three

    def test_is_no_smaller_type_for_the_sake_of_speed(self) -> None:
        slow, less = replace(MIDDLE, tokens_per_second=4.3), replace(MIDDLE, quant="IQ4_XS", tokens_per_second=4.7)
        assert advice(SMALL, slow, less).prospect == SMALL

    def test_on_a_gpu_counts_as_fast(self) -> None:
        assert advice(SMALL, MIDDLE, replace(LARGE, on_gpu=True)).prospect.name == "large"

    def test_is_the_fastest_where_none_is_fast(self) -> None:
        chosen = advice(replace(SMALL, tokens_per_second=3), LARGE)
        assert (chosen.prospect.name, chosen.why) == ("small", "slow")

    def test_is_what_fits_at_all_where_none_has_a_comfortable_context(self) -> None:
        chosen = advice(replace(SMALL, fits_now=4096), replace(MIDDLE, fits_now=0))
        assert (chosen.prospect.name, chosen.why) == ("small", "short")

    def test_is_for_later_where_other_programs_have_the_memory(self) -> None:
        chosen = advice(replace(SMALL, fits_now=0), replace(MIDDLE, fits_now=0))
        assert (chosen.prospect.name, chosen.why) == ("small", "crowded")

    def test_is_none_where_nothing_would_ever_fit(self) -> None:
        assert recommend([replace(SMALL, fits_now=0, fits_alone=0)], (), None) is None

    def test_knows_what_is_here_in_whatever_type(self) -> None:
        assert advice(SMALL, MIDDLE, here="middle:Q5_K_M").here == "middle:Q5_K_M"

    def test_is_nothing_that_the_disk_cannot_hold(self) -> None:
        chosen = advice(SMALL, MIDDLE, disk=40 * GB)
        assert (chosen.prospect.name, chosen.better) == ("small", "middle:Q4_K_M")
        assert advice(SMALL, MIDDLE, disk=60 * GB).better is None

    def test_what_is_here_needs_no_more_disk(self) -> None:
        assert advice(SMALL, MIDDLE, here="middle:Q4_K_M", disk=0).prospect == MIDDLE
