"""What a checkpoint means: the logits of Qwen2 and Llama as their papers and transformers have them, in plain NumPy.

It is a witness, so it shares nothing with the converter: it reads config.json and model.safetensors itself, rotates
as Hugging Face does (a head's value i with value i + d/2), and works in double precision throughout. transformers
4.57.6 gives the same logits, within 3e-5 of their standard deviation: it computes angles in single precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rotation = Callable[[Array, Array], Array]
"""(values of heads, one angle a pair of them) → the values rotated."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The config.json, and the tensors by name."""

    config: dict[str, Any]
    tensors: dict[str, Array]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """A checkpoint of one shard."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(config, read_safetensors(folder / "model.safetensors"))

    def linear(self, name: str, values: Array) -> Array:
        """A linear layer, with a bias if the checkpoint has one."""
        product = values @ self.tensors[f"{name}.weight"].T
        return product + self.tensors.get(f"{name}.bias", 0.0)

    def norm(self, name: str, values: Array) -> Array:
        """RMSNorm."""
        mean_square = np.mean(values**2, axis=-1, keepdims=True)
        return values / np.sqrt(mean_square + self.config["rms_norm_eps"]) * self.tensors[f"{name}.weight"]


def read_safetensors(path: Path) -> dict[str, Array]:
    """Every tensor of a file; https://github.com/huggingface/safetensors#format."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        begin, end = (start + offset for offset in info["data_offsets"])
        tensors[name] = _floats(content[begin:end], info["dtype"]).reshape(info["shape"])
    return tensors


def _floats(data: bytes, dtype: str) -> Array:
    if dtype == "BF16":  # the upper half of an F32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[dtype]).astype(np.float64)


def rotate_halves(values: Array, angles: Array) -> Array:
    """Hugging Face's rotation: value i with value i + d/2."""
    first, second = np.split(values, 2, axis=-1)
    cosines, sines = (np.concatenate((found, found), axis=-1) for found in (np.cos(angles), np.sin(angles)))
    return values * cosines + np.concatenate((-second, first), axis=-1) * sines


def logits(checkpoint: Checkpoint, tokens: Sequence[int], *, rotate: Rotation = rotate_halves) -> Array:
    """What the model says of every token to come next: (tokens, vocabulary)."""
    values = checkpoint.tensors["model.embed_tokens.weight"][list(tokens)]
    angles = np.arange(len(tokens))[:, None] * frequencies(checkpoint.config)

    def turned(heads: Array) -> Array:
        return rotate(heads, angles)

    for layer in range(checkpoint.config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        normal = checkpoint.norm(f"{block}.input_layernorm", values)
        values = values + _attention(checkpoint, f"{block}.self_attn", normal, turned)
        normal = checkpoint.norm(f"{block}.post_attention_layernorm", values)
        values = values + _feed_forward(checkpoint, f"{block}.mlp", normal)
    output = "model.embed_tokens" if checkpoint.config["tie_word_embeddings"] else "lm_head"
    return checkpoint.linear(output, checkpoint.norm("model.norm", values))


def _attention(checkpoint: Checkpoint, name: str, values: Array, turned: Callable[[Array], Array]) -> Array:
    """Each query head looks back from every token; a group of them shares one head of keys and values."""
    heads, kv_heads = (checkpoint.config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    queries = turned(_heads(checkpoint.linear(f"{name}.q_proj", values), heads))
    keys = turned(_heads(checkpoint.linear(f"{name}.k_proj", values), kv_heads))
    keys = np.repeat(keys, heads // kv_heads, axis=0)
    shown = np.repeat(_heads(checkpoint.linear(f"{name}.v_proj", values), kv_heads), heads // kv_heads, axis=0)
    scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(queries.shape[-1])
    scores[:, ~np.tri(len(values), dtype=bool)] = -np.inf  # nothing to come is seen
    seen = _softmax(scores) @ shown
    return checkpoint.linear(f"{name}.o_proj", seen.transpose(1, 0, 2).reshape(len(values), -1))


def _heads(values: Array, count: int) -> Array:
    """(tokens, heads × d) → (heads, tokens, d)."""
    return values.reshape(len(values), count, -1).transpose(1, 0, 2)


def _softmax(scores: Array) -> Array:
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def _feed_forward(checkpoint: Checkpoint, name: str, values: Array) -> Array:
    """SwiGLU."""
    gate = checkpoint.linear(f"{name}.gate_proj", values)
    silu = gate / (1 + np.exp(-gate))
    return checkpoint.linear(f"{name}.down_proj", silu * checkpoint.linear(f"{name}.up_proj", values))


def frequencies(config: dict[str, Any]) -> Array:
    """How far each pair of a head's values turns from one token to the next, in radians."""
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    plain = config["rope_theta"] ** -(np.arange(0, head, 2) / head)
    scaling = config.get("rope_scaling")
    if scaling is None:
        return plain
    if scaling["rope_type"] != "llama3":
        raise NotImplementedError(f"rope scaling of type {scaling['rope_type']}")
    return _llama3(plain, scaling)


def _llama3(plain: Array, scaling: dict[str, Any]) -> Array:
    """transformers' modeling_rope_utils: slow turns are slowed by `factor`, quick ones kept, and between they blend."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * plain / (2 * np.pi)  # over the context it was trained with
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * plain + (1 - kept) * plain / scaling["factor"]
