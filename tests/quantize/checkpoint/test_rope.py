"""`r1_quantize.checkpoint.rope`: rope_scaling → keys and frequency factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from r1_quantize.checkpoint.rope import Rope, rope_of
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import float32, string, uint32

LLAMA3 = {
    "rope_type": "llama3",
    **{"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
YARN_DEFAULTS = {
    # transformers' defaults for a factor of 4, including the paper's 0.1 ln(s) + 1; llama.cpp uses only these
    **{"beta_slow": 1.0, "beta_fast": 32, "attention_factor": 1.138629436, "extrapolation_factor": 1.0},
}


class TestPlain:
    """Without scaling there is only the base."""

    @pytest.mark.parametrize(
        "config",
        [
            {"rope_theta": 1e6},
            {"rope_theta": 1_000_000},
            {"rope_theta": 1e6, "rope_scaling": None},
            {"rope_theta": 1e6, "rope_scaling": {}},
            {"rope_theta": 1e6, "rope_scaling": {"rope_type": "default"}},
            {"rope_theta": 1e6, "rope_scaling": {"type": "default"}},
            {"rope_parameters": {"rope_theta": 1e6}},
            {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}},
        ],
    )
    @pytest.mark.parametrize("architecture", ["qwen2", "llama"])
    def test_the_base_is_in_one_of_two_places(self, config: dict[str, Any], architecture: str) -> None:
        assert rope_of(config, architecture, 128) == Rope(1e6, (), b"")

    def test_a_missing_base_is_transformers_default(self) -> None:
        assert rope_of({}, "llama", 128).theta == 10_000.0


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
class TestScaling:
    """linear and yarn become keys, in the order of llama.cpp's converter."""

    @pytest.mark.parametrize("name", ["rope_type", "type"])
    @pytest.mark.parametrize("place", ["rope_scaling", "rope_parameters"])
    def test_linear(self, architecture: str, name: str, place: str) -> None:
        found = rope_of({"rope_theta": 1e4, place: {name: "linear", "factor": 2.5}}, architecture, 64)
        assert found.scaling == (
            string(f"{architecture}.rope.scaling.type", "linear"),
            float32(f"{architecture}.rope.scaling.factor", 2.5),
        )
        assert (found.theta, found.factors) == (1e4, b"")

    def test_yarn(self, architecture: str) -> None:
        assert rope_of({"rope_scaling": YARN}, architecture, 64).scaling == (
            string(f"{architecture}.rope.scaling.type", "yarn"),
            float32(f"{architecture}.rope.scaling.factor", 4.0),
            uint32(f"{architecture}.rope.scaling.original_context_length", 32768),
        )

    def test_yarn_with_all_its_keys(self, architecture: str) -> None:
        found = rope_of({"rope_scaling": YARN | YARN_DEFAULTS}, architecture, 64)
        assert found.scaling[3:] == (
            float32(f"{architecture}.rope.scaling.yarn_ext_factor", 1.0),
            float32(f"{architecture}.rope.scaling.yarn_attn_factor", 1.138629436),
            float32(f"{architecture}.rope.scaling.yarn_beta_fast", 32.0),
            float32(f"{architecture}.rope.scaling.yarn_beta_slow", 1.0),
        )

    @pytest.mark.parametrize("name", ["extrapolation_factor", "attention_factor", "beta_fast", "beta_slow"])
    def test_yarn_with_numbers_that_llama_cpp_does_not_use(self, architecture: str, name: str) -> None:
        with pytest.raises(BadCheckpoint, match=f"{name} 1.25; llama.cpp computes yarn with {YARN_DEFAULTS[name]:g}"):
            rope_of({"rope_scaling": YARN | {name: 1.25}}, architecture, 64)

    def test_yarns_original_context_may_be_at_the_top_level(self, architecture: str) -> None:
        inside = rope_of({"rope_scaling": YARN}, architecture, 64)
        outside = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 32768}
        assert rope_of(outside, architecture, 64) == inside


class TestLlama3:
    """llama3's factors equal its formula in double precision."""

    def factors(self, scaling: dict[str, Any], theta: float, head_dim: int) -> NDArray[np.float32]:
        found = rope_of({"rope_theta": theta, "rope_scaling": scaling}, "llama", head_dim)
        assert (found.theta, found.scaling) == (theta, ())
        return np.frombuffer(found.factors, "<f4")

    def expected(
        self, theta: float, head_dim: int, factor: float = 8.0, low: float = 1.0, high: float = 4.0, first: int = 8192
    ) -> NDArray[np.float64]:
        waves = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
        share = (first / waves - low) / (high - low)
        between = 1 / ((1 - share) / factor + share)
        return np.where(waves < first / high, 1.0, np.where(waves > first / low, factor, between))

    def test_of_the_llama_distills(self) -> None:
        found = self.factors(LLAMA3, 500_000.0, 128)
        assert len(found) == 64
        assert (found[0], found[-1]) == (1.0, 8.0)
        assert all(np.diff(found) >= 0)
        assert len(set(found.tolist()) - {1.0, 8.0}) == 6
        np.testing.assert_allclose(found, self.expected(500_000.0, 128), rtol=1e-6)

    @pytest.mark.parametrize("head_dim", [2, 64, 96, 128, 256])
    @pytest.mark.parametrize("theta", [10_000.0, 500_000.0, 1e6])
    @pytest.mark.parametrize(
        ("factor", "low", "high", "first"), [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (2.5, 0.5, 16.0, 2048)]
    )
    def test_of_any(self, theta: float, head_dim: int, factor: float, low: float, high: float, first: int) -> None:
        scaling = LLAMA3 | {"factor": factor, "low_freq_factor": low, "high_freq_factor": high}
        found = self.factors(scaling | {"original_max_position_embeddings": first}, theta, head_dim)
        expected = self.expected(theta, head_dim, factor, low, high, first)
        np.testing.assert_allclose(found, expected, rtol=1e-5)  # a small share loses some digits

    @pytest.mark.parametrize("name", ["rope_type", "type"])
    def test_missing_numbers_are_those_of_llama_3(self, name: str) -> None:
        assert self.factors({name: "llama3"}, 500_000.0, 128).tobytes() == (
            self.factors(LLAMA3, 500_000.0, 128).tobytes()
        )

    def test_is_refused_for_another_architecture(self) -> None:
        with pytest.raises(BadCheckpoint, match="unknown rope scaling 'llama3' for qwen2"):
            rope_of({"rope_scaling": LLAMA3}, "qwen2", 128)

    def test_swapped_bounds(self) -> None:
        with pytest.raises(BadCheckpoint, match="low_freq_factor 4 and high_freq_factor 4"):
            rope_of({"rope_scaling": LLAMA3 | {"low_freq_factor": 4}}, "llama", 128)


class TestRefused:
    """Anything llama.cpp would compute differently is refused in one line."""

    def check(self, config: dict[str, Any], said: str) -> None:
        with pytest.raises(BadCheckpoint, match=said) as caught:
            rope_of(config, "llama", 128)
        assert str(caught.value).startswith("config.json: ")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["dynamic", "longrope", "su", "mrope", "Linear", "", 7, True, ["yarn"], {}])
    def test_an_unknown_kind(self, kind: Any) -> None:
        self.check({"rope_scaling": {"rope_type": kind, "factor": 2.0}}, r"unknown rope scaling .* for")

    @pytest.mark.parametrize("scaling", [[1], "linear", 2.0, True])
    def test_scaling_that_is_not_an_object(self, scaling: Any) -> None:
        self.check({"rope_scaling": scaling}, "rope_scaling is ")

    @pytest.mark.parametrize(
        "value", [0, 0.0, -1, 1e-40, 2**31, 10**400, float("inf"), float("nan"), True, "8", [8.0], {"factor": 8.0}]
    )
    @pytest.mark.parametrize(
        ("scaling", "name"),
        [
            *(({"rope_type": "linear", "factor": 2.0}, "factor"), (YARN, "factor")),
            *((YARN, "original_max_position_embeddings"), (YARN, "beta_fast"), (YARN, "beta_slow")),
            *((YARN, "attention_factor"), (YARN, "extrapolation_factor"), (YARN, "rope_theta")),
            *((LLAMA3, "factor"), (LLAMA3, "low_freq_factor"), (LLAMA3, "high_freq_factor")),
            *((LLAMA3, "original_max_position_embeddings"), ({"rope_type": "default"}, "rope_theta")),
        ],
    )
    def test_an_impossible_number(self, scaling: dict[str, Any], name: str, value: Any) -> None:
        self.check({"rope_scaling": scaling | {name: value}}, f"{name} is .*, expected a number from 0.001 up")

    def test_nested_settings_count(self) -> None:
        self.check(
            {"rope_parameters": {"full_attention": {"rope_type": "nonsense"}}}, "unknown rope scaling 'nonsense'"
        )

    def test_the_other_name_of_attention_factor_counts(self) -> None:
        self.check({"rope_scaling": YARN | {"attn_factor": 1.9}}, "has attention_factor 1.9; llama.cpp computes")

    @pytest.mark.parametrize(
        ("scaling", "name"),
        [
            ({"rope_type": "linear"}, "factor"),
            ({"rope_type": "linear", "factor": None}, "factor"),
            ({"rope_type": "yarn", "original_max_position_embeddings": 32768}, "factor"),
            ({"rope_type": "yarn", "factor": 4.0}, "original_max_position_embeddings"),
        ],
    )
    def test_a_missing_number(self, scaling: dict[str, Any], name: str) -> None:
        self.check({"rope_scaling": scaling}, f"{name} is None, expected a number from 0.001 up")
