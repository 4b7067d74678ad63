"""The rotary embedding's settings: config.json's rope_scaling → the `{arch}.rope.*` keys, and llama3's factors.

Knows: the three ways of stretching a context that llama.cpp runs for these architectures (linear, yarn, llama3),
and the arithmetic of its converter, which is in single precision. Does not know: where in a file the keys stand
(`architecture`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import Entry, float32, single, string, uint32

_DEFAULT_THETA = 10_000.0  # transformers' default for models that do not say
_LEAST = 0.001  # of any of the numbers here; smaller ones only occur in files that were made to do harm
_YARN = {
    # config.json → {arch}.rope.scaling.*, in the order of the keys
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}
_YARN_DEFAULTS = {"extrapolation_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0}
"""The keys are written, and llama.cpp does not read them: only with these values does it compute what is meant."""


@dataclass(frozen=True, slots=True)
class Rope:
    """`scaling` are the keys before `{arch}.rope.freq_base`, which is `theta`.

    `factors` are the F32 values of rope_freqs.weight, head_dim / 2 of them: what each frequency is divided by.
    Empty where there is no such tensor.
    """

    theta: float
    scaling: tuple[Entry, ...]
    factors: bytes


def rope_of(config: Mapping[str, Any], architecture: str, head_dim: int) -> Rope:
    """What a config.json says of the rotary embedding. Raises BadCheckpoint when llama.cpp would not run it so."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if isinstance(found, dict):
        found = found.get("full_attention", found)
    if not isinstance(found, dict):
        raise BadCheckpoint(f"config.json: rope_scaling is {found!r:.80}")
    mirrored = ("rope_theta", "original_max_position_embeddings")  # these may stand beside the others or above them
    found = {**{key: config[key] for key in mirrored if config.get(key) is not None}, **found}
    theta = _number(found, "rope_theta", _DEFAULT_THETA)
    match found.get("rope_type", found.get("type", "default")):
        case "default" | None:
            return Rope(theta, (), b"")
        case "linear":
            return Rope(theta, tuple(_scaling(architecture, "linear", found)), b"")
        case "yarn":
            return Rope(theta, (*_scaling(architecture, "yarn", found), *_yarn(architecture, found)), b"")
        case "llama3" if architecture == "llama":
            return Rope(theta, (), _llama3_factors(found, theta, head_dim))
        case kind:
            raise BadCheckpoint(f"config.json: rope scaling of type {kind!r:.40} is not known for {architecture}")


def _scaling(architecture: str, kind: str, found: Mapping[str, Any]) -> Iterator[Entry]:
    yield string(f"{architecture}.rope.scaling.type", kind)
    yield float32(f"{architecture}.rope.scaling.factor", _number(found, "factor"))


def _yarn(architecture: str, found: Mapping[str, Any]) -> Iterator[Entry]:
    original = int(_number(found, "original_max_position_embeddings"))
    yield uint32(f"{architecture}.rope.scaling.original_context_length", original)
    defaults = _YARN_DEFAULTS | {"attention_factor": 0.1 * math.log(_number(found, "factor")) + 1}
    wishes = {"attention_factor": found.get("attn_factor"), **found}
    for key, name in _YARN.items():
        if wishes.get(key) is not None:
            value = _number(wishes, key)
            if not math.isclose(value, defaults[key], rel_tol=1e-4):
                raise BadCheckpoint(
                    f"config.json: rope_scaling has {key} {value:g}; llama.cpp computes yarn with {defaults[key]:g}"
                )
            yield float32(f"{architecture}.rope.scaling.{name}", value)


def _llama3_factors(found: Mapping[str, Any], theta: float, head_dim: int) -> bytes:
    """Short waves stay, long ones are stretched by `factor`, those between by a share of it.

    The formula is Llama 3.1's (transformers' modeling_rope_utils.py); every step is rounded to F32 as torch does it,
    which divides a number by a tensor by way of the tensor's reciprocal.
    """
    factor = _number(found, "factor", 8.0)
    low, high = _number(found, "low_freq_factor", 1.0), _number(found, "high_freq_factor", 4.0)
    context = _number(found, "original_max_position_embeddings", 8192)
    if high - low < _LEAST:
        raise BadCheckpoint(f"config.json: rope_scaling has low_freq_factor {low:g} and high_freq_factor {high:g}")
    factors = []
    for index in range(0, head_dim, 2):
        frequency = single(1 / single(theta ** single(index / head_dim)))
        wave = single(single(1 / frequency) * single(2 * math.pi))
        if wave < context / high:
            factors.append(1.0)
        elif wave > context / low:
            factors.append(factor)
        else:
            smooth = single(single(single(single(1 / wave) * context) - low) / single(high - low))
            factors.append(single(1 / single(single(single(1 - smooth) / factor) + smooth)))
    return struct.pack(f"<{len(factors)}f", *factors)


def _number(found: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = found.get(key) if found.get(key) is not None else default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _LEAST <= value < 2**31:
        raise BadCheckpoint(f"config.json: {key} is {value!r:.80}, expected a number from {_LEAST} up")
    return float(value)
