"""config.json -> hyperparameters, and the tensors the model must have, under GGUF's and the checkpoint's names.

Covers Qwen2 and Llama as llama.cpp expects them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES, MODEL_TENSOR, TENSOR_NAMES, Keys
from gguf.tensor_mapping import TensorNameMap, get_tensor_name_map

from r1_quantize.checkpoint import foreign
from r1_quantize.checkpoint.rope import Rope, rope_of
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import float32, uint32
from r1_quantize.gguf.reader import Entry
from r1_quantize.recipe import Traits

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
_MAX_HEAD_DIM = 1 << 16  # far above any real one; it bounds work that is done for each value
_UINT32_MAX = (1 << 32) - 1

_MODEL_ARCHS = {"Qwen2ForCausalLM": MODEL_ARCH.QWEN2, "LlamaForCausalLM": MODEL_ARCH.LLAMA}

ARCHITECTURES = {name: MODEL_ARCH_NAMES[arch] for name, arch in _MODEL_ARCHS.items()}
"""Hugging Face's name -> general.architecture."""

_LAYER_TENSORS = (
    *(MODEL_TENSOR.ATTN_NORM, MODEL_TENSOR.ATTN_Q, MODEL_TENSOR.ATTN_K, MODEL_TENSOR.ATTN_V, MODEL_TENSOR.ATTN_OUT),
    *(MODEL_TENSOR.FFN_NORM, MODEL_TENSOR.FFN_GATE, MODEL_TENSOR.FFN_UP, MODEL_TENSOR.FFN_DOWN),
)


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of the model: its GGUF name, its name in the checkpoint, and its (rows, columns) or (values,).

    With `rotary_heads`, its rows are that many heads, and in each head the rows of the first half must be interleaved
    with those of the second: Hugging Face rotates a head's value i with value i + d/2, llama.cpp's Llama rotates value
    2i with value 2i + 1.
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
    tied: bool  # the output may share the token embedding and then has no tensor of its own
    rope_factors: bytes  # the F32 values of rope_freqs.weight; empty when there is none

    def traits(self, *, tied: bool) -> Traits:
        """The facts the recipes depend on; `tied` means there is no output.weight."""
        return Traits.of(self.name, self.layers, self.heads, self.kv_heads, tied=tied)


def architecture_of(config: dict[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises BadCheckpoint when r1 does not know it, or a hyperparameter is missing or impossible.
    """
    match config.get("architectures"):
        case [str(name)]:
            pass
        case other:
            raise BadCheckpoint(f"config.json: expected one name under architectures, found {other!r:.80}")
    if name not in _MODEL_ARCHS:
        raise BadCheckpoint(
            f"config.json: unknown architecture {name:.80}; r1 knows {', '.join(_MODEL_ARCHS)}; "
            f"{foreign.by_architecture(name)}"
        )
    return _ConfigReader(_Config(config), _MODEL_ARCHS[name]).architecture()


def required_tensors(architecture: str, layers: int) -> list[str] | None:
    """The GGUF names of the tensors every model of an architecture must have; None when r1 does not know it.

    Leaves out the output, which may be tied, and all biases but those that every Qwen2 has.
    """
    if architecture not in ARCHITECTURES.values() or not 0 < layers <= MAX_LAYERS:
        return None
    templates = [f"{TENSOR_NAMES[tensor]}.weight" for tensor in _LAYER_TENSORS]
    if architecture == MODEL_ARCH_NAMES[MODEL_ARCH.QWEN2]:
        biased = (MODEL_TENSOR.ATTN_Q, MODEL_TENSOR.ATTN_K, MODEL_TENSOR.ATTN_V)
        templates += [f"{TENSOR_NAMES[tensor]}.bias" for tensor in biased]
    outside = [f"{TENSOR_NAMES[tensor]}.weight" for tensor in (MODEL_TENSOR.TOKEN_EMBD, MODEL_TENSOR.OUTPUT_NORM)]
    return [*outside, *(template.format(bid=layer) for layer in range(layers) for template in templates)]


@cache
def _tensor_names(arch: MODEL_ARCH, layers: int) -> TensorNameMap:
    """The checkpoint's tensor names -> GGUF's. Cached: `r1 doctor` looks at each model in several quant types."""
    return get_tensor_name_map(arch, layers)


class _Config:
    """config.json; each value is checked as it is read."""

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


class _ConfigReader:
    """Reads one config.json as one of the architectures."""

    def __init__(self, config: _Config, arch: MODEL_ARCH) -> None:
        self.config = config
        self.arch = arch
        self.name = MODEL_ARCH_NAMES[arch]
        self.is_llama = arch is MODEL_ARCH.LLAMA
        self.layers = config.count("num_hidden_layers")
        self.hidden, self.inner = config.count("hidden_size"), config.count("intermediate_size")
        self.heads = config.count("num_attention_heads")
        self.kv_heads = config.count("num_key_value_heads", self.heads)
        self.vocab = config.count("vocab_size")
        if self.layers > MAX_LAYERS:
            raise BadCheckpoint(f"config.json: {self.layers:,} layers; llama.cpp runs at most {MAX_LAYERS}")
        if self.heads % self.kv_heads or (self.hidden % self.heads and not config.has("head_dim")):
            raise BadCheckpoint(
                f"config.json: {self.heads} query heads do not divide into {self.kv_heads} groups and {self.hidden}"
            )
        self.head_dim = config.count("head_dim", self.hidden // self.heads)
        self._check_unsupported()
        if self.head_dim % 2 or self.head_dim > _MAX_HEAD_DIM:
            raise BadCheckpoint(f"config.json: heads of {self.head_dim:,} values cannot be rotated in pairs")

    def _check_unsupported(self) -> None:
        """Refuse options that llama.cpp's converter ignores; the converted model would answer nonsense."""
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
        yield self._uint32(Keys.LLM.BLOCK_COUNT, self.layers)
        yield self._uint32(Keys.LLM.CONTEXT_LENGTH, self.config.count("max_position_embeddings"))
        yield self._uint32(Keys.LLM.EMBEDDING_LENGTH, self.hidden)
        yield self._uint32(Keys.LLM.FEED_FORWARD_LENGTH, self.inner)
        yield self._uint32(Keys.Attention.HEAD_COUNT, self.heads)
        yield self._uint32(Keys.Attention.HEAD_COUNT_KV, self.kv_heads)
        yield from rope.scaling
        yield self._float32(Keys.Rope.FREQ_BASE, rope.theta)
        yield self._float32(Keys.Attention.LAYERNORM_RMS_EPS, self.config.number("rms_norm_eps", 1e-6))
        if self.is_llama or self.config.has("head_dim"):  # transformers fills it in for Llama
            yield self._uint32(Keys.Attention.KEY_LENGTH, self.head_dim)
            yield self._uint32(Keys.Attention.VALUE_LENGTH, self.head_dim)

    def _late_entries(self) -> Iterator[Entry]:
        if self.is_llama:
            yield self._uint32(Keys.LLM.VOCAB_SIZE, self.vocab)
            yield self._uint32(Keys.Rope.DIMENSION_COUNT, self.head_dim)

    def _uint32(self, key: str, value: int) -> Entry:
        return uint32(key.format(arch=self.name), value)

    def _float32(self, key: str, value: float) -> Entry:
        return float32(key.format(arch=self.name), value)

    def _weights(self) -> Iterator[Weight]:
        yield self._weight("model.embed_tokens.weight", (self.vocab, self.hidden))
        yield self._weight("model.norm.weight", (self.hidden,))
        yield self._weight("lm_head.weight", (self.vocab, self.hidden))
        for layer in range(self.layers):
            yield from self._layer(f"model.layers.{layer}")

    def _layer(self, prefix: str) -> Iterator[Weight]:
        hidden, inner = self.hidden, self.inner
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q_heads, k_heads = (self.heads, self.kv_heads) if self.is_llama else (0, 0)
        bias = self.config.flag("attention_bias") if self.is_llama else True
        mlp_bias = self.config.flag("mlp_bias") if self.is_llama else False
        yield self._weight(f"{prefix}.input_layernorm.weight", (hidden,))
        yield from self._linear(f"{prefix}.self_attn.q_proj", (q, hidden), bias=bias, rotary_heads=q_heads)
        yield from self._linear(f"{prefix}.self_attn.k_proj", (kv, hidden), bias=bias, rotary_heads=k_heads)
        yield from self._linear(f"{prefix}.self_attn.v_proj", (kv, hidden), bias=bias)
        yield from self._linear(f"{prefix}.self_attn.o_proj", (hidden, q), bias=bias and self.is_llama)
        yield self._weight(f"{prefix}.post_attention_layernorm.weight", (hidden,))
        yield from self._linear(f"{prefix}.mlp.gate_proj", (inner, hidden), bias=mlp_bias)
        yield from self._linear(f"{prefix}.mlp.up_proj", (inner, hidden), bias=mlp_bias)
        yield from self._linear(f"{prefix}.mlp.down_proj", (hidden, inner), bias=mlp_bias)

    def _linear(self, module: str, shape: tuple[int, int], *, bias: bool, rotary_heads: int = 0) -> Iterator[Weight]:
        """A linear layer: its matrix, and its bias if it has one."""
        yield self._weight(f"{module}.weight", shape, rotary_heads)
        if bias:
            yield self._weight(f"{module}.bias", shape[:1], rotary_heads)

    def _weight(self, source: str, shape: tuple[int, ...], rotary_heads: int = 0) -> Weight:
        name = _tensor_names(self.arch, self.layers).get_name(source, try_suffixes=(".weight", ".bias"))
        assert name is not None, source
        return Weight(name=name, source=source, shape=shape, rotary_heads=rotary_heads)
