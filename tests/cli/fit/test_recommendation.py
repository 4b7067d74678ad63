"""`r1.fit.recommendation`: how each checkpoint would run here, and which one to recommend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from r1.fit.plan import Machine
from r1.fit.recommendation import (
    QUANTS,
    Prospect,
    Recommendation,
    Surroundings,
    best_that_fits,
    comfortable,
    prospects,
    recommend,
    shape_of_checkpoint,
)
from r1.fit.shape import shape_of_file
from r1.machine.cores import Threads
from r1.machine.memory import Memory
from r1_quantize import catalog
from r1_quantize.errors import UsageError
from tests.fakes.headers import write_header
from tests.fakes.paths import DATA

GB = 1_000_000_000
CONFIGS = json.loads((DATA / "r1-distill-configs.json").read_text())
SIX = ("qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b")

# the sizes of the files made from DeepSeek's own checkpoints, in GB
Q4_K_M = {"qwen-1.5b": 1.12, "qwen-7b": 4.68, "llama-8b": 4.92, "qwen-14b": 8.99, "qwen-32b": 19.9, "llama-70b": 42.5}


def on(free: float, total: float, bandwidth: float | None = 30) -> dict[str, Prospect]:
    """The catalogue on a machine with these GB of memory, read at `bandwidth` GB per second."""
    memory = Memory(int(total * GB), int(free * GB))
    around = Surroundings.of((), memory, bandwidth and bandwidth * GB, Threads(4, 4))
    return {found.reference: found for found in prospects(catalog.load().values(), around)}


class TestShapeOfCheckpoint:
    """The shape of the GGUF that a pull would make."""

    @pytest.mark.parametrize("name", SIX)
    def test_has_the_widths_of_the_published_configuration(self, name: str) -> None:
        config = CONFIGS[name]
        found = shape_of_checkpoint(catalog.load()[name], "Q4_K_M")
        assert found is not None
        heads = config["hidden_size"] // config["num_attention_heads"]
        assert found.keys == found.values == config["num_key_value_heads"] * heads
        assert (found.embedding, found.feed_forward) == (config["hidden_size"], config["intermediate_size"])
        assert len(found.layers) == config["num_hidden_layers"]
        assert (found.vocabulary, found.trained) == (config["vocab_size"], config["max_position_embeddings"])

    @pytest.mark.parametrize("name", ["qwen-1.5b", "llama-8b"])
    def test_equals_the_shape_of_the_file_made(self, name: str, tmp_path: Path) -> None:
        write_header(tmp_path / "header.gguf", name, "Q5_K_M")
        assert shape_of_checkpoint(catalog.load()[name], "Q5_K_M") == shape_of_file(tmp_path / "header.gguf")

    def test_is_unknown_where_the_catalogue_has_no_configuration(self) -> None:
        assert shape_of_checkpoint(catalog.load()["tiny"], "Q8_0") is None

    def test_an_unknown_type_is_refused(self) -> None:
        with pytest.raises(UsageError, match="Q4_K"):
            shape_of_checkpoint(catalog.load()["qwen-7b"], "Q4_K_X")


class TestProspects:
    """Each checkpoint in each quant type, on a machine."""

    def test_have_the_sizes_of_the_files(self) -> None:
        found = on(free=8, total=16)
        assert {name: found[f"{name}:Q4_K_M"].size / GB for name in Q4_K_M} == pytest.approx(Q4_K_M, rel=0.01)
        assert len(found) == len(Q4_K_M) * len(QUANTS)

    def test_are_as_fast_as_measured(self) -> None:
        # llama.cpp's own tools decoded 25 tokens per second on two cores that read 30 GB/s
        assert on(8, 16)["qwen-1.5b:Q4_K_M"].tokens_per_second == pytest.approx(25, rel=0.15)

    def test_have_the_context_that_fits_now_and_with_other_programs_closed(self) -> None:
        found = on(free=2.5, total=8)
        assert found["qwen-1.5b:Q4_K_M"].fits_now == 32_768
        assert (found["qwen-7b:Q4_K_M"].fits_now, found["qwen-7b:Q4_K_M"].fits_alone > 0) == (0, True)
        assert (found["qwen-14b:Q4_K_M"].fits_now, found["qwen-14b:Q4_K_M"].fits_alone) == (0, 0)

    def test_gain_as_much_from_several_samples_at_once_as_fit(self) -> None:
        # on four threads four at once pay; this model does not fit half a gigabyte
        assert on(free=8, total=16)["qwen-1.5b:Q4_K_M"].parallel_gain > 1
        assert on(free=0.5, total=1)["qwen-1.5b:Q4_K_M"].parallel_gain == 1

    def test_have_the_published_scores(self) -> None:
        found = on(8, 16)["qwen-7b:Q4_K_M"]
        assert (found.score, found.voted_score) == (55.5, 83.3)

    def test_have_no_speed_without_a_measurement(self) -> None:
        found = on(8, 16, bandwidth=None)["llama-70b:Q4_K_M"]
        assert found.tokens_per_second is None
        assert found.is_fast


def made_up(name: str, score: float, fits: int, speed: float, quant: str = "Q4_K_M", alone: int = 32_768) -> Prospect:
    needed = {4096: GB, 16_384: 2 * GB, 32_768: 3 * GB}
    return Prospect(name, quant, int(score * GB), needed, fits, alone, speed, score=score, disk_to_pull=int(score * GB))


SMALL, MIDDLE = made_up("small", 30, 32_768, 20), made_up("middle", 50, 16_384, 6)
LARGE = made_up("large", 70, 16_384, 2)


def advice(*found: Prospect, here: str = "", disk: int | None = None) -> Recommendation:
    chosen = recommend(found, {here} - {""}, disk)
    assert chosen is not None
    return chosen


class TestRecommend:
    """One model, and the reason."""

    def test_is_the_best_model_that_is_fast_enough(self) -> None:
        chosen = advice(SMALL, MIDDLE, LARGE)
        assert (chosen.prospect, chosen.why, chosen.here) == (MIDDLE, "best", None)

    def test_is_in_the_default_type_if_it_fits_else_in_a_smaller_one(self) -> None:
        eight, four, three = (replace(MIDDLE, quant=quant) for quant in ("Q8_0", "Q4_K_M", "Q3_K_M"))
        assert advice(eight, four, three).prospect == four
        assert advice(eight, replace(four, fits_now=4096), three).prospect == three

    def test_does_not_take_a_smaller_type_for_speed(self) -> None:
        slow, less = replace(MIDDLE, tokens_per_second=4.3), replace(MIDDLE, quant="IQ4_XS", tokens_per_second=4.7)
        assert advice(SMALL, slow, less).prospect == SMALL

    def test_on_a_gpu_counts_as_fast(self) -> None:
        assert advice(SMALL, MIDDLE, replace(LARGE, on_gpu=True)).prospect.name == "large"

    def test_is_the_fastest_where_none_is_fast_enough(self) -> None:
        chosen = advice(replace(SMALL, tokens_per_second=3), LARGE)
        assert (chosen.prospect.name, chosen.why) == ("small", "slow")

    def test_is_the_model_that_fits_at_all_where_none_has_a_comfortable_context(self) -> None:
        chosen = advice(replace(SMALL, fits_now=4096), replace(MIDDLE, fits_now=0))
        assert (chosen.prospect.name, chosen.why) == ("small", "short")

    def test_is_the_model_that_fits_alone_where_other_programs_use_the_memory(self) -> None:
        chosen = advice(replace(SMALL, fits_now=0), replace(MIDDLE, fits_now=0))
        assert (chosen.prospect.name, chosen.why) == ("small", "crowded")

    def test_is_none_where_nothing_can_fit(self) -> None:
        assert recommend([replace(SMALL, fits_now=0, fits_alone=0)], (), None) is None

    def test_names_the_model_here_in_any_type(self) -> None:
        assert advice(SMALL, MIDDLE, here="middle:Q5_K_M").here == "middle:Q5_K_M"

    def test_needs_disk_space(self) -> None:
        chosen = advice(SMALL, MIDDLE, disk=40 * GB)
        assert (chosen.prospect.name, chosen.better) == ("small", "middle:Q4_K_M")
        assert advice(SMALL, MIDDLE, disk=60 * GB).better is None

    def test_a_model_here_needs_no_disk_space(self) -> None:
        assert advice(SMALL, MIDDLE, here="middle:Q4_K_M", disk=0).prospect == MIDDLE


class TestComfortable:
    """Checkpoints that can be pulled and that fit, each once."""

    def test_has_each_in_the_default_type_or_a_smaller_one(self) -> None:
        eight, four, three = (replace(MIDDLE, quant=quant) for quant in ("Q8_0", "Q4_K_M", "Q3_K_M"))
        assert comfortable([SMALL, eight, four, three], (), None) == [four, SMALL]
        assert comfortable([eight, replace(four, fits_now=4096), three], (), None) == [three]

    def test_leaves_out_what_does_not_fit_the_memory_or_the_disk(self) -> None:
        assert comfortable([SMALL, replace(MIDDLE, fits_now=4096)], (), None) == [SMALL]
        assert comfortable([SMALL, MIDDLE], (), 40 * GB) == [SMALL]
        assert comfortable([SMALL, MIDDLE], {"middle:Q8_0"}, 0) == [MIDDLE]


class TestBestThatFits:
    """The model to suggest instead of one that is too large."""

    @pytest.mark.parametrize(
        ("free", "best"),
        [(100, "qwen-32b:Q8_0"), (26, "qwen-32b:Q5_K_M"), (12, "qwen-14b:Q5_K_M"), (0.5, None)],
    )
    def test_has_the_best_score_in_the_type_with_the_least_loss(self, free: float, best: str | None) -> None:
        assert best_that_fits(Machine(int(free * GB))) == best
