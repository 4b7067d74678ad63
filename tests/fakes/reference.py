"""The logits of a Qwen2 or Llama checkpoint, computed in plain NumPy as their papers and transformers define them.

It is an independent reference, so it shares no code with the converter: it reads config.json and model.safetensors
itself, rotates as Hugging Face does (a head's value i with value i + d/2), and computes in double precision.
transformers 4.57.6 gives the same logits, within 3e-5 of their standard deviation: its angles are in single precision.
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
"""(values of heads, one angle per pair) → the rotated values."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's config.json, and its tensors by name."""

    config: dict[str, Any]
    tensors: dict[str, Array]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads a checkpoint with one shard."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(config, read_safetensors(folder / "model.safetensors"))

    def linear(self, name: str, values: Array) -> Array:
        """Applies a linear layer, with a bias if the checkpoint has one."""
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
    """The logits after each token: (tokens, vocabulary)."""
    values = checkpoint.tensors["model.embed_tokens.weight"][list(tokens)]
    angles = np.arange(len(tokens))[:, None] * frequencies(checkpoint.config)

    def rotated(heads: Array) -> Array:
        return rotate(heads, angles)

    for layer in range(checkpoint.config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        normal = checkpoint.norm(f"{block}.input_layernorm", values)
        values = values + _attention(checkpoint, f"{block}.self_attn", normal, rotated)
        normal = checkpoint.norm(f"{block}.post_attention_layernorm", values)
        values = values + _feed_forward(checkpoint, f"{block}.mlp", normal)
    output = "model.embed_tokens" if checkpoint.config["tie_word_embeddings"] else "lm_head"
    return checkpoint.linear(output, checkpoint.norm("model.norm", values))


def _attention(checkpoint: Checkpoint, name: str, values: Array, rotated: Callable[[Array], Array]) -> Array:
    """Causal attention; a group of query heads shares one head of keys and values."""
    heads, kv_heads = (checkpoint.config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    queries = rotated(_heads(checkpoint.linear(f"{name}.q_proj", values), heads))
    keys = rotated(_heads(checkpoint.linear(f"{name}.k_proj", values), kv_heads))
    keys = np.repeat(keys, heads // kv_heads, axis=0)
    values_of_heads = np.repeat(
        _heads(checkpoint.linear(f"{name}.v_proj", values), kv_heads), heads // kv_heads, axis=0
    )
    scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(queries.shape[-1])
    scores[:, ~np.tri(len(values), dtype=bool)] = -np.inf  # later tokens are masked
    mixed = _softmax(scores) @ values_of_heads
    return checkpoint.linear(f"{name}.o_proj", mixed.transpose(1, 0, 2).reshape(len(values), -1))


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
    """The angle in radians by which each pair of a head's values rotates per token."""
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    plain = config["rope_theta"] ** -(np.arange(0, head, 2) / head)
    scaling = config.get("rope_scaling")
    if scaling is None:
        return plain
    if scaling["rope_type"] != "llama3":
        raise NotImplementedError(f"rope scaling of type {scaling['rope_type']}")
    return _llama3(plain, scaling)


def _llama3(plain: Array, scaling: dict[str, Any]) -> Array:
    """transformers' modeling_rope_utils: divides low frequencies by `factor`, keeps high ones, blends in between."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * plain / (2 * np.pi)  # in the context of the first training
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * plain + (1 - kept) * plain / scaling["factor"]
