"""What a model is made of: config.json → hyperparameters, and the tensors it must have under both their
names.

Knows: Qwen2 as llama.cpp expects it: GGUF keys and their order, tensor names, shapes.
Does not know: where tensors are stored (`checkpoint`), what type they get (`recipe`), or tokens (`vocab`).
Another architecture is one more function in `_KNOWN`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from r1_quantize.errors import BadCheckpoint
from r1_quantize.metadata import Entry, float32, uint32

_DEFAULT_ROPE_THETA = 10_000.0  # transformers' default for models that do not say
_MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
_UINT32_MAX = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor the model consists of: its GGUF name, the checkpoint's name for it, and its (rows, columns)."""

    name: str
    source: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model's hyperparameters in GGUF's terms, and its weights."""

    name: str  # general.architecture
    block_count: int
    context_length: int
    vocab_size: int
    entries: tuple[Entry, ...]
    weights: tuple[Weight, ...]
    tied: bool  # the output may share the token embedding, and then has no tensor of its own


def architecture_of(config: dict[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises BadCheckpoint when it is not one of the known ones, or a hyperparameter is missing or impossible.
    """
    match config.get("architectures"):
        case [str(found)]:
            pass
        case found:
            raise BadCheckpoint(f"config.json: expected one name under architectures, found {found!r:.80}")
    if found not in _KNOWN:
        raise BadCheckpoint(f"the architecture {found:.80} is not known; known are {', '.join(_KNOWN)}")
    return _KNOWN[found](_Config(config))


class _Config:
    """config.json, each value checked as it is taken."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def count(self, key: str, default: int | None = None) -> int:
        value = self._values[key] if self.has(key) else default
        if type(value) is not int or not 0 < value <= _UINT32_MAX:
            raise BadCheckpoint(f"config.json: {key} is {value!r:.80}, expected a number above 0")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._values[key] if self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
            raise BadCheckpoint(f"config.json: {key} is {value!r:.80}, expected a number above 0")
        return float(value)

    def rope(self) -> dict[str, Any]:
        """The settings of the rotary embedding, which newer files gather under rope_parameters."""
        found = self._values.get("rope_parameters") or self._values.get("rope_scaling") or {}
        if not isinstance(found, dict):
            raise BadCheckpoint(f"config.json: rope_scaling is {found!r:.80}")
        return found

    def flag(self, key: str) -> bool:
        return self._values.get(key) is True

    def has(self, key: str) -> bool:
        return self._values.get(key) is not None


def _qwen2(config: _Config) -> Architecture:
    layers = config.count("num_hidden_layers")
    if layers > _MAX_LAYERS:
        raise BadCheckpoint(f"config.json: {layers:,} layers; llama.cpp runs at most {_MAX_LAYERS}")
    tied = config.flag("tie_word_embeddings")
    return Architecture(
        name="qwen2",
        block_count=layers,
        context_length=config.count("max_position_embeddings"),
        vocab_size=config.count("vocab_size"),
        entries=tuple(_hyperparameters("qwen2", config)),
        weights=tuple(_qwen2_weights(config, layers)),
        tied=tied,
    )


def _hyperparameters(name: str, config: _Config) -> Iterator[Entry]:
    """The `{arch}.` keys, in the order of llama.cpp's converter."""
    rope = config.rope()
    if (scaling := rope.get("rope_type", rope.get("type", "default"))) != "default":
        raise BadCheckpoint(f"config.json: rope scaling of type {scaling!r:.40} is not known for {name}")
    theta = _Config(rope).number("rope_theta", config.number("rope_theta", _DEFAULT_ROPE_THETA))
    heads = config.count("num_attention_heads")
    yield uint32(f"{name}.block_count", config.count("num_hidden_layers"))
    yield uint32(f"{name}.context_length", config.count("max_position_embeddings"))
    yield uint32(f"{name}.embedding_length", config.count("hidden_size"))
    yield uint32(f"{name}.feed_forward_length", config.count("intermediate_size"))
    yield uint32(f"{name}.attention.head_count", heads)
    yield uint32(f"{name}.attention.head_count_kv", config.count("num_key_value_heads", heads))
    yield float32(f"{name}.rope.freq_base", theta)
    yield float32(f"{name}.attention.layer_norm_rms_epsilon", config.number("rms_norm_eps", 1e-6))
    if config.has("head_dim"):
        yield uint32(f"{name}.attention.key_length", config.count("head_dim"))
        yield uint32(f"{name}.attention.value_length", config.count("head_dim"))


def _qwen2_weights(config: _Config, layers: int) -> Iterator[Weight]:
    vocab, hidden = config.count("vocab_size"), config.count("hidden_size")
    yield Weight("token_embd.weight", "model.embed_tokens.weight", (vocab, hidden))
    yield Weight("output_norm.weight", "model.norm.weight", (hidden,))
    yield Weight("output.weight", "lm_head.weight", (vocab, hidden))
    for layer in range(layers):
        for name, source, shape in _qwen2_block(config):
            yield Weight(f"blk.{layer}.{name}", f"model.layers.{layer}.{source}", shape)


def _qwen2_block(config: _Config) -> list[tuple[str, str, tuple[int, ...]]]:
    """The tensors of one layer: (GGUF name, checkpoint name, shape)."""
    hidden, inner = config.count("hidden_size"), config.count("intermediate_size")
    heads = config.count("num_attention_heads")
    groups = config.count("num_key_value_heads", heads)
    if heads % groups or (hidden % heads and not config.has("head_dim")):
        raise BadCheckpoint(f"config.json: {heads} query heads do not divide into {groups} groups and {hidden}")
    head = config.count("head_dim", hidden // heads)
    q, kv = heads * head, groups * head
    return [
        ("attn_norm.weight", "input_layernorm.weight", (hidden,)),
        ("attn_q.weight", "self_attn.q_proj.weight", (q, hidden)),
        ("attn_q.bias", "self_attn.q_proj.bias", (q,)),
        ("attn_k.weight", "self_attn.k_proj.weight", (kv, hidden)),
        ("attn_k.bias", "self_attn.k_proj.bias", (kv,)),
        ("attn_v.weight", "self_attn.v_proj.weight", (kv, hidden)),
        ("attn_v.bias", "self_attn.v_proj.bias", (kv,)),
        ("attn_output.weight", "self_attn.o_proj.weight", (hidden, q)),
        ("ffn_norm.weight", "post_attention_layernorm.weight", (hidden,)),
        ("ffn_gate.weight", "mlp.gate_proj.weight", (inner, hidden)),
        ("ffn_up.weight", "mlp.up_proj.weight", (inner, hidden)),
        ("ffn_down.weight", "mlp.down_proj.weight", (hidden, inner)),
    ]


CONVERTIBLE = frozenset({"qwen2"})
"""What `models.toml` calls the architectures in `_KNOWN`."""

_KNOWN: dict[str, Callable[[_Config], Architecture]] = {"Qwen2ForCausalLM": _qwen2}
