"""`r1_quantize.architecture`: config.json → hyperparameters and weights."""

from __future__ import annotations

from typing import Any

import pytest

from r1_quantize.architecture import architecture_of
from r1_quantize.errors import BadCheckpoint
from r1_quantize.metadata import float32
from tests.fakes.checkpoints import Shape

CONFIG = Shape().config


class TestQwen2:
    """The hyperparameters are checked, and say which weights there must be."""

    def test_asks_for_the_tensors_a_checkpoint_has(self) -> None:
        shape = Shape(hidden=192, inner=320, layers=3, heads=6, kv_heads=2)
        weights = architecture_of(shape.config).weights
        assert {weight.source: weight.shape for weight in weights} == shape.tensors

    def test_heads_may_be_of_another_size_than_the_hidden_state_divides_into(self) -> None:
        found = architecture_of(CONFIG | {"head_dim": 32})
        shapes = {weight.name: weight.shape for weight in found.weights}
        assert shapes["blk.0.attn_q.weight"] == (4 * 32, 256)
        assert shapes["blk.0.attn_output.weight"] == (256, 4 * 32)
        assert [entry.key for entry in found.entries][-2:] == [
            "qwen2.attention.key_length",
            "qwen2.attention.value_length",
        ]

    @pytest.mark.parametrize(
        "rope",
        [{"rope_theta": 1e6}, {"rope_theta": None, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}],
    )
    def test_the_rotary_base_stands_in_one_of_two_places(self, rope: dict[str, Any]) -> None:
        assert float32("qwen2.rope.freq_base", 1e6) in architecture_of(CONFIG | rope).entries

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("num_hidden_layers", 0),
            ("num_hidden_layers", -1),
            ("num_hidden_layers", 513),
            ("num_hidden_layers", "4"),
            ("num_hidden_layers", 2.0),
            ("num_hidden_layers", True),
            ("num_hidden_layers", None),
            ("hidden_size", 1 << 32),
            ("hidden_size", [256]),
            ("vocab_size", None),
            ("rms_norm_eps", "small"),
            ("rms_norm_eps", -1e-6),
            ("rms_norm_eps", float("nan")),
            ("rope_theta", float("inf")),
            ("num_attention_heads", 3),
            ("num_key_value_heads", 3),
            ("max_position_embeddings", None),
        ],
    )
    def test_an_impossible_value_is_refused(self, key: str, value: Any) -> None:
        with pytest.raises(BadCheckpoint, match=r"config\.json: "):
            architecture_of(CONFIG | {key: value})

    @pytest.mark.parametrize("scaling", [{"type": "yarn", "factor": 4.0}, {"rope_type": "llama3"}, [1], "linear"])
    def test_an_unknown_rope_scaling_is_refused(self, scaling: Any) -> None:
        with pytest.raises(BadCheckpoint, match=r"rope[ _]scaling"):
            architecture_of(CONFIG | {"rope_scaling": scaling})


class TestUnknown:
    """Another architecture is refused with the ones that are known."""

    @pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen3ForCausalLM", ""])
    def test_names_the_known_ones(self, name: str) -> None:
        with pytest.raises(BadCheckpoint, match=f"{name} is not known; known are Qwen2ForCausalLM"):
            architecture_of({"architectures": [name]})

    @pytest.mark.parametrize("found", [None, [], "Qwen2ForCausalLM", ["a", "b"], [7]])
    def test_no_name_or_several(self, found: Any) -> None:
        with pytest.raises(BadCheckpoint, match="expected one name under architectures"):
            architecture_of(CONFIG | {"architectures": found})
