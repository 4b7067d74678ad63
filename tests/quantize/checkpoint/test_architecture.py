"""`r1_quantize.checkpoint.architecture`: config.json → hyperparameters and weights."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from r1_quantize.checkpoint.architecture import ARCHITECTURES, architecture_of, required_tensors
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import float32, uint32
from r1_quantize.gguf.reader import Entry
from r1_quantize.recipe import Traits
from tests.fakes.checkpoints import Shape
from tests.fakes.paths import DATA

CONFIG = Shape().config
LLAMA = Shape(llama=True).config
DISTILLS = json.loads((DATA / "r1-distill-configs.json").read_text())
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Names in a checkpoint → names in a GGUF, without layer numbers and suffixes."""


def keys(entries: tuple[Entry, ...]) -> list[str]:
    """The keys, in order."""
    return [entry.key for entry in entries]


def gguf_name(source: str) -> str:
    """The name in a GGUF of a tensor of a checkpoint: model.layers.3.mlp.up_proj.weight → blk.3.ffn_up.weight."""
    name, _, suffix = source.rpartition(".")
    if name.startswith("model.layers."):
        layer, _, within = name.removeprefix("model.layers.").partition(".")
        return f"blk.{layer}.{NAMES[within]}.{suffix}"
    return f"{NAMES[name]}.{suffix}"


class TestWeights:
    """The hyperparameters determine the weights."""

    @pytest.mark.parametrize(
        "shape",
        [
            Shape(hidden=192, inner=320, layers=3, heads=6, kv_heads=2),
            Shape(llama=True),
            Shape(llama=True, biased=True),
            Shape(hidden=192, inner=320, layers=3, heads=6, kv_heads=2, llama=True, biased=True),
        ],
    )
    def test_are_those_of_a_checkpoint(self, shape: Shape) -> None:
        weights = architecture_of(shape.config).weights
        assert {weight.source: weight.shape for weight in weights} == shape.tensors

    @pytest.mark.parametrize("shape", [Shape(), Shape(llama=True, biased=True)])
    def test_have_llama_cpps_names(self, shape: Shape) -> None:
        found = architecture_of(shape.config)
        assert {weight.name: weight.source for weight in found.weights} == {
            gguf_name(source): source for source in shape.tensors
        }

    @pytest.mark.parametrize("config", [CONFIG, LLAMA])
    def test_heads_may_have_another_size_than_hidden_size_over_heads(self, config: dict[str, Any]) -> None:
        found = architecture_of(config | {"head_dim": 32})
        shapes = {weight.name: weight.shape for weight in found.weights}
        assert shapes["blk.0.attn_q.weight"] == (4 * 32, 256)
        assert shapes["blk.0.attn_k.weight"] == shapes["blk.0.attn_v.weight"] == (2 * 32, 256)
        assert shapes["blk.0.attn_output.weight"] == (256, 4 * 32)

    def test_without_a_kv_head_count_it_equals_the_head_count(self) -> None:
        config = {key: value for key, value in CONFIG.items() if key != "num_key_value_heads"}
        shapes = {weight.name: weight.shape for weight in architecture_of(config).weights}
        assert shapes["blk.0.attn_k.weight"] == shapes["blk.0.attn_q.weight"] == (256, 256)

    @pytest.mark.parametrize("shape", [Shape(), Shape(llama=True), Shape(llama=True, biased=True)])
    def test_llamas_rotated_weights_are_reordered_by_heads(self, shape: Shape) -> None:
        heads = {f"self_attn.{which}_proj": count for which, count in (("q", shape.heads), ("k", shape.kv_heads))}
        expected = {
            name: heads.get(name.rpartition(".")[0].split(".", 3)[-1], 0) if shape.llama else 0
            for name in shape.tensors
        }
        assert sum(map(bool, expected.values())) == (shape.llama * (1 + shape.biased)) * 2 * shape.layers
        found = architecture_of(shape.config).weights
        assert {weight.source: weight.rotary_heads for weight in found} == expected

    @pytest.mark.parametrize("tied", [False, True])
    def test_the_output_may_be_tied(self, tied: bool) -> None:
        assert architecture_of(Shape(tied=tied).config).tied is tied
        assert architecture_of(Shape(llama=True, tied=tied).config).tied is tied


class TestEntries:
    """The keys of the architecture, in the order of llama.cpp's converter."""

    COMMON = (
        *("block_count", "context_length", "embedding_length", "feed_forward_length"),
        *("attention.head_count", "attention.head_count_kv"),
    )
    AFTER_SCALING = ("rope.freq_base", "attention.layer_norm_rms_epsilon")
    LENGTHS = ("attention.key_length", "attention.value_length")

    def named(self, architecture: str, *names: str) -> list[str]:
        return [f"{architecture}.{name}" for name in names]

    def test_of_a_qwen2(self) -> None:
        found = architecture_of(CONFIG)
        assert keys(found.entries) == self.named("qwen2", *self.COMMON, *self.AFTER_SCALING)
        assert found.late_entries == ()

    def test_of_a_qwen2_with_a_head_size(self) -> None:
        found = architecture_of(CONFIG | {"head_dim": 32})
        assert keys(found.entries) == self.named("qwen2", *self.COMMON, *self.AFTER_SCALING, *self.LENGTHS)
        assert found.entries[-2:] == (
            uint32("qwen2.attention.key_length", 32),
            uint32("qwen2.attention.value_length", 32),
        )

    @pytest.mark.parametrize("head_dim", [None, 32, 64])
    def test_of_a_llama_always_include_the_head_size(self, head_dim: int | None) -> None:
        found, size = architecture_of(LLAMA | {"head_dim": head_dim}), head_dim or 256 // 4
        assert keys(found.entries) == self.named("llama", *self.COMMON, *self.AFTER_SCALING, *self.LENGTHS)
        assert found.entries[-2:] == (
            uint32("llama.attention.key_length", size),
            uint32("llama.attention.value_length", size),
        )
        assert found.late_entries == (uint32("llama.vocab_size", 320), uint32("llama.rope.dimension_count", size))

    @pytest.mark.parametrize("config", [CONFIG, LLAMA])
    def test_scaling_comes_before_the_rotary_base(self, config: dict[str, Any]) -> None:
        found = architecture_of(config | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}})
        scaling = ("rope.scaling.type", "rope.scaling.factor")
        expected = self.named(found.name, *self.COMMON, *scaling, *self.AFTER_SCALING)
        assert keys(found.entries)[: len(expected)] == expected

    def test_have_the_numbers_of_config_json(self) -> None:
        config = DISTILLS["llama-8b"]
        numbers = (
            *("num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size"),
            *("num_attention_heads", "num_key_value_heads"),
        )
        found = architecture_of(config).entries
        assert [struct.unpack("<I", entry.data[-4:])[0] for entry in found[: len(numbers)]] == [
            config[number] for number in numbers
        ]
        assert float32("llama.attention.layer_norm_rms_epsilon", 1e-5) in found
        assert float32("llama.rope.freq_base", 500_000.0) in found

    @pytest.mark.parametrize(
        "rope",
        [{"rope_theta": 1e6}, {"rope_theta": None, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}],
    )
    def test_the_rotary_base_is_in_one_of_two_places(self, rope: dict[str, Any]) -> None:
        assert float32("qwen2.rope.freq_base", 1e6) in architecture_of(CONFIG | rope).entries

    def test_only_llama3s_scaling_has_factors(self) -> None:
        assert len(architecture_of(LLAMA).rope_factors) == 4 * (256 // 4) // 2
        assert architecture_of(LLAMA | {"rope_scaling": None}).rope_factors == b""
        assert architecture_of(CONFIG).rope_factors == b""


class TestTraits:
    """The traits for the recipes; a Llama of 80 layers is a 70B only if its heads are grouped."""

    def found(self, config: dict[str, Any], *, tied: bool = False) -> Traits:
        return architecture_of(config).traits(tied=tied)

    @pytest.mark.parametrize(
        ("name", "layers", "heads_per_kv_head", "is_70b"),
        [
            *(("qwen-1.5b", 28, 6, False), ("qwen-7b", 28, 7, False), ("qwen-14b", 48, 5, False)),
            *(("qwen-32b", 64, 5, False), ("llama-8b", 32, 4, False), ("llama-70b", 80, 8, True)),
        ],
    )
    def test_of_the_distills(self, name: str, layers: int, heads_per_kv_head: int, is_70b: bool) -> None:
        assert self.found(DISTILLS[name]) == Traits(layers, heads_per_kv_head, is_70b, tied=False)

    def test_of_eighty_layers(self) -> None:
        eighty = {"num_hidden_layers": 80}
        assert self.found(LLAMA | eighty).is_70b
        assert not self.found(LLAMA | eighty | {"num_key_value_heads": 4}).is_70b
        assert self.found(CONFIG | eighty | {"num_key_value_heads": 4}).is_70b

    @pytest.mark.parametrize("tied", [False, True])
    def test_the_caller_says_whether_the_output_is_tied(self, tied: bool) -> None:
        assert self.found(CONFIG, tied=tied).tied is tied


class TestRequiredTensors:
    """The tensors that every model of an architecture has."""

    @pytest.mark.parametrize("shape", [Shape(tied=True, layers=3), Shape(tied=True, layers=3, llama=True)])
    def test_are_those_of_the_smallest_checkpoint(self, shape: Shape) -> None:
        name = architecture_of(shape.config).name
        found = required_tensors(name, 3)
        assert found is not None
        assert len(found) == len(set(found))
        assert set(found) == {gguf_name(source) for source in shape.tensors}

    @pytest.mark.parametrize(("name", "layers"), [("gemma", 2), ("", 2), ("llama", 0), ("llama", -1), ("llama", 513)])
    def test_are_none_for_an_impossible_model(self, name: str, layers: int) -> None:
        assert required_tensors(name, layers) is None


class TestImpossible:
    """Each hyperparameter is checked."""

    @pytest.mark.parametrize("config", [CONFIG, LLAMA], ids=["qwen2", "llama"])
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
            ("hidden_size", 255),
            ("vocab_size", None),
            ("rms_norm_eps", "small"),
            ("rms_norm_eps", -1e-6),
            ("rms_norm_eps", float("nan")),
            ("rope_theta", float("inf")),
            ("num_attention_heads", 3),
            ("num_key_value_heads", 3),
            ("num_key_value_heads", 8),
            ("max_position_embeddings", None),
            ("head_dim", 0),
            ("head_dim", "64"),
            ("head_dim", 63),
        ],
    )
    def test_an_impossible_value_is_refused(self, config: dict[str, Any], key: str, value: Any) -> None:
        with pytest.raises(BadCheckpoint, match=r"config\.json: ") as caught:
            architecture_of(config | {key: value})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("config", [Shape(hidden=36).config, Shape(hidden=36, llama=True).config])
    def test_heads_that_cannot_be_rotated_in_pairs(self, config: dict[str, Any]) -> None:
        with pytest.raises(BadCheckpoint, match="heads of 9 values cannot be rotated in pairs"):
            architecture_of(config)

    @pytest.mark.parametrize("scaling", [{"type": "longrope", "factor": 4.0}, {"rope_type": "llama3"}, [1], "linear"])
    def test_an_unknown_rope_scaling_is_refused(self, scaling: Any) -> None:
        with pytest.raises(BadCheckpoint, match=r"rope[ _]scaling"):
            architecture_of(CONFIG | {"rope_scaling": scaling})


class TestWhatLlamaCppComputes:
    """Options that llama.cpp's converter ignores are refused when they change the result."""

    @pytest.mark.parametrize("config", [CONFIG, LLAMA], ids=["qwen2", "llama"])
    @pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_pytorch_tanh", 7, ["silu"]])
    def test_another_activation(self, config: dict[str, Any], activation: Any) -> None:
        with pytest.raises(BadCheckpoint, match=r"config\.json: hidden_act is .*; llama\.cpp computes .* with silu"):
            architecture_of(config | {"hidden_act": activation})

    @pytest.mark.parametrize("config", [CONFIG, LLAMA], ids=["qwen2", "llama"])
    @pytest.mark.parametrize("head_dim", [(1 << 16) + 2, 1 << 31])
    def test_absurdly_large_heads(self, config: dict[str, Any], head_dim: int) -> None:
        with pytest.raises(BadCheckpoint, match="cannot be rotated in pairs"):
            architecture_of(config | {"head_dim": head_dim})

    @pytest.mark.parametrize("config", [CONFIG, LLAMA], ids=["qwen2", "llama"])
    def test_swish_is_another_name_of_silu(self, config: dict[str, Any]) -> None:
        assert architecture_of(config | {"hidden_act": "swish"}) == architecture_of(config)

    @pytest.mark.parametrize("config", [CONFIG, LLAMA], ids=["qwen2", "llama"])
    def test_no_activation_is_silu(self, config: dict[str, Any]) -> None:
        assert architecture_of(config | {"hidden_act": None}) == architecture_of(config)
        assert architecture_of({key: config[key] for key in config if key != "hidden_act"}) == architecture_of(config)

    @pytest.mark.parametrize("layers", [None, 0, 1, "all"])
    def test_a_sliding_window(self, layers: Any) -> None:
        with pytest.raises(BadCheckpoint, match=r"config\.json: use_sliding_window is true"):
            architecture_of(CONFIG | {"use_sliding_window": True, "sliding_window": 512, "max_window_layers": layers})

    @pytest.mark.parametrize(
        "slides", [{"use_sliding_window": False}, {"max_window_layers": 2}, {"max_window_layers": 9}]
    )
    def test_a_sliding_window_that_no_layer_has(self, slides: dict[str, Any]) -> None:
        window = {"use_sliding_window": True, "sliding_window": 512, "max_window_layers": 0}
        assert architecture_of(CONFIG | window | slides) == architecture_of(CONFIG)


class TestUnknown:
    """Another architecture is refused with the known ones."""

    def test_two_are_known(self) -> None:
        assert [architecture_of(config).name for config in (CONFIG, LLAMA)] == ["qwen2", "llama"]
        assert list(ARCHITECTURES.values()) == ["qwen2", "llama"]

    @pytest.mark.parametrize("name", ["Qwen3ForCausalLM", "LlamaModel", "llama", ""])
    def test_names_the_known_ones(self, name: str) -> None:
        with pytest.raises(
            BadCheckpoint, match=f"unknown architecture {name}; r1 knows Qwen2ForCausalLM, LlamaForCausalLM"
        ):
            architecture_of({"architectures": [name]})

    @pytest.mark.parametrize("found", [None, [], "Qwen2ForCausalLM", ["a", "b"], [7]])
    def test_no_name_or_several(self, found: Any) -> None:
        with pytest.raises(BadCheckpoint, match="expected one name under architectures"):
            architecture_of(CONFIG | {"architectures": found})
