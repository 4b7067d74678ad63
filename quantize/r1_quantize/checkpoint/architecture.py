"""What a model is made of: config.json → hyperparameters, and the tensors it must have under both their
names.

Knows: Qwen2 and Llama as llama.cpp expects them: GGUF keys and their order, tensor names, shapes, and which rows
have to be re-ordered. Does not know: where tensors are stored (`checkpoint`), what type they get (`recipe`), or
tokens (`vocab`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from r1_quantize.checkpoint.rope import Rope, rope_of
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import Entry, float32, uint32
from r1_quantize.recipe import Traits

_MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
_MAX_HEAD_DIM = 1 << 16  # far above any; what is computed for each value must end
_UINT32_MAX = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor the model consists of: its GGUF name, the checkpoint's name for it, and its (rows, columns).

    With `rotary_heads` its rows are that many heads, and in each the rows of the first half have to be interleaved
    with those of the second: Hugging Face rotates a head's value i with value i + d/2, llama.cpp's Llama value 2i
    with value 2i + 1.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    rotary_heads: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model's hyperparameters in GGUF's terms, and its weights."""

    name: str  # general.architecture
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int
    entries: tuple[Entry, ...]  # the `{arch}.` keys before general.file_type
    late_entries: tuple[Entry, ...]  # and those after it
    weights: tuple[Weight, ...]
    tied: bool  # the output may share the token embedding, and then has no tensor of its own
    rope_factors: bytes  # the F32 values of rope_freqs.weight; empty when there is none

    def traits(self, *, tied: bool) -> Traits:
        """What the recipes ask of it; `tied` when it has no output.weight."""
        return Traits.of(self.name, self.layers, self.heads, self.kv_heads, tied=tied)


def architecture_of(config: dict[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises BadCheckpoint when it is not one of the known ones, or a hyperparameter is missing or impossible.
    """
    match config.get("architectures"):
        case [str(found)]:
            pass
        case found:
            raise BadCheckpoint(f"config.json: expected one name under architectures, found {found!r:.80}")
    if found not in ARCHITECTURES:
        raise BadCheckpoint(f"the architecture {found:.80} is not known; known are {', '.join(ARCHITECTURES)}")
    return _Reading(_Config(config), ARCHITECTURES[found]).architecture()


def required_tensors(architecture: str, layers: int) -> list[str] | None:
    """The GGUF names of the tensors no model can do without; None for an architecture that is not known.

    The output is not among them, as it may be tied, and of biases only those that every Qwen2 has.
    """
    if architecture not in ARCHITECTURES.values() or not 0 < layers <= _MAX_LAYERS:
        return None
    kinds = [f"{kind}.weight" for kind in _KINDS]
    if architecture == "qwen2":
        kinds += [f"attn_{which}.bias" for which in "qkv"]
    names = [f"blk.{layer}.{kind}" for layer in range(layers) for kind in kinds]
    return ["token_embd.weight", "output_norm.weight", *names]


_KINDS = (
    *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"),
    *("ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
)

ARCHITECTURES = {"Qwen2ForCausalLM": "qwen2", "LlamaForCausalLM": "llama"}
"""Hugging Face's name → general.architecture."""


class _Config:
    """config.json, each value checked as it is taken."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def count(self, key: str, default: int | None = None) -> int:
        value = self.values[key] if self.has(key) else default
        if type(value) is not int or not 0 < value <= _UINT32_MAX:
            raise BadCheckpoint(f"config.json: {key} is {value!r:.80}, expected a number above 0")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.values[key] if self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1e-30 < value < 1e30:
            raise BadCheckpoint(f"config.json: {key} is {value!r:.80}, expected a number above 0")
        return float(value)

    def flag(self, key: str) -> bool:
        return self.values.get(key) is True

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None


class _Reading:
    """One config.json being read as one of the architectures."""

    def __init__(self, config: _Config, name: str) -> None:
        self.config = config
        self.name = name
        self.is_llama = name == "llama"
        self.layers = config.count("num_hidden_layers")
        self.hidden, self.inner = config.count("hidden_size"), config.count("intermediate_size")
        self.heads = config.count("num_attention_heads")
        self.kv_heads = config.count("num_key_value_heads", self.heads)
        self.vocab = config.count("vocab_size")
        if self.layers > _MAX_LAYERS:
            raise BadCheckpoint(f"config.json: {self.layers:,} layers; llama.cpp runs at most {_MAX_LAYERS}")
        if self.heads % self.kv_heads or (self.hidden % self.heads and not config.has("head_dim")):
            raise BadCheckpoint(
                f"config.json: {self.heads} query heads do not divide into {self.kv_heads} groups and {self.hidden}"
            )
        self.head_dim = config.count("head_dim", self.hidden // self.heads)
        self._check_what_llama_cpp_computes()
        if self.head_dim % 2 or self.head_dim > _MAX_HEAD_DIM:
            raise BadCheckpoint(f"config.json: heads of {self.head_dim:,} values cannot be rotated in pairs")

    def _check_what_llama_cpp_computes(self) -> None:
        """llama.cpp's converter looks at none of this, and what it makes then answers nonsense."""
        values = self.config.values
        if (activation := values.get("hidden_act") or "silu") not in ("silu", "swish"):
            raise BadCheckpoint(
                f"config.json: hidden_act is {activation!r:.40}; llama.cpp computes {self.name} with silu"
            )
        sliding = values.get("max_window_layers")
        slides = not isinstance(sliding, int) or sliding < self.layers
        if self.config.flag("use_sliding_window") and self.config.has("sliding_window") and slides:
            raise BadCheckpoint(f"config.json: use_sliding_window is true; llama.cpp runs {self.name} without a window")

    def architecture(self) -> Architecture:
        rope = rope_of(self.config.values, self.name, self.head_dim)
        return Architecture(
            name=self.name,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            vocab_size=self.vocab,
            entries=tuple(self._entries(rope)),
            late_entries=tuple(self._late_entries()),
            weights=tuple(self._weights()),
            tied=self.config.flag("tie_word_embeddings"),
            rope_factors=rope.factors,
        )

    def _entries(self, rope: Rope) -> Iterator[Entry]:
        """In the order of llama.cpp's converter."""
        yield uint32(f"{self.name}.block_count", self.layers)
        yield uint32(f"{self.name}.context_length", self.config.count("max_position_embeddings"))
        yield uint32(f"{self.name}.embedding_length", self.hidden)
        yield uint32(f"{self.name}.feed_forward_length", self.inner)
        yield uint32(f"{self.name}.attention.head_count", self.heads)
        yield uint32(f"{self.name}.attention.head_count_kv", self.kv_heads)
        yield from rope.scaling
        yield float32(f"{self.name}.rope.freq_base", rope.theta)
        yield float32(f"{self.name}.attention.layer_norm_rms_epsilon", self.config.number("rms_norm_eps", 1e-6))
        if self.is_llama or self.config.has("head_dim"):  # transformers fills it in for Llama
            yield uint32(f"{self.name}.attention.key_length", self.head_dim)
            yield uint32(f"{self.name}.attention.value_length", self.head_dim)

    def _late_entries(self) -> Iterator[Entry]:
        if self.is_llama:
            yield uint32(f"{self.name}.vocab_size", self.vocab)
            yield uint32(f"{self.name}.rope.dimension_count", self.head_dim)

    def _weights(self) -> Iterator[Weight]:
        yield Weight("token_embd.weight", "model.embed_tokens.weight", (self.vocab, self.hidden))
        yield Weight("output_norm.weight", "model.norm.weight", (self.hidden,))
        yield Weight("output.weight", "lm_head.weight", (self.vocab, self.hidden))
        for layer in range(self.layers):
            for name, source, shape, rotary_heads in self._layer():
                yield Weight(f"blk.{layer}.{name}", f"model.layers.{layer}.{source}", shape, rotary_heads)

    def _layer(self) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
        """The tensors of one layer: GGUF name, checkpoint name, shape, heads to be re-ordered."""
        hidden, inner = self.hidden, self.inner
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q_heads, k_heads = (self.heads, self.kv_heads) if self.is_llama else (0, 0)
        bias = self.config.flag("attention_bias") if self.is_llama else True
        mlp_bias = self.config.flag("mlp_bias") if self.is_llama else False
        yield "attn_norm.weight", "input_layernorm.weight", (hidden,), 0
        yield from _matrix("attn_q", "self_attn.q_proj", (q, hidden), bias=bias, rotary_heads=q_heads)
        yield from _matrix("attn_k", "self_attn.k_proj", (kv, hidden), bias=bias, rotary_heads=k_heads)
        yield from _matrix("attn_v", "self_attn.v_proj", (kv, hidden), bias=bias)
        yield from _matrix("attn_output", "self_attn.o_proj", (hidden, q), bias=bias and self.is_llama)
        yield "ffn_norm.weight", "post_attention_layernorm.weight", (hidden,), 0
        yield from _matrix("ffn_gate", "mlp.gate_proj", (inner, hidden), bias=mlp_bias)
        yield from _matrix("ffn_up", "mlp.up_proj", (inner, hidden), bias=mlp_bias)
        yield from _matrix("ffn_down", "mlp.down_proj", (hidden, inner), bias=mlp_bias)


def _matrix(
    name: str, source: str, shape: tuple[int, int], *, bias: bool, rotary_heads: int = 0
) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """A linear layer: its matrix, and its bias if it has one."""
    yield f"{name}.weight", f"{source}.weight", shape, rotary_heads
    if bias:
        yield f"{name}.bias", f"{source}.bias", shape[:1], rotary_heads
