"""config.json's rope_scaling -> the `{arch}.rope.*` keys and llama3's frequency factors.

Covers the three ways of stretching a context that llama.cpp runs for Qwen2 and Llama: linear, yarn and llama3. The
arithmetic is that of llama.cpp's converter, in single precision.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gguf.constants import Keys, RopeScalingType

from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import float32, string, to_float32, uint32
from r1_quantize.gguf.reader import Entry

_DEFAULT_THETA = 10_000.0  # transformers' default
_MIN = 0.001  # of any number here; only malicious files have smaller ones
_YARN = {
    # config.json -> GGUF key, in the order of the keys
    "extrapolation_factor": Keys.Rope.SCALING_YARN_EXT_FACTOR,
    "attention_factor": Keys.Rope.SCALING_YARN_ATTN_FACTOR,
    "beta_fast": Keys.Rope.SCALING_YARN_BETA_FAST,
    "beta_slow": Keys.Rope.SCALING_YARN_BETA_SLOW,
}
_YARN_DEFAULTS = {"extrapolation_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0}
"""llama.cpp's converter writes these keys, but llama.cpp ignores them and computes with these values."""


@dataclass(frozen=True, slots=True)
class Rope:
    """`theta` is `{arch}.rope.freq_base`, and `scaling` are the keys before it.

    `factors` are the F32 values of rope_freqs.weight, the divisor of each of the head_dim / 2 frequencies; empty when
    there is no such tensor.
    """

    theta: float
    scaling: tuple[Entry, ...]
    factors: bytes


def rope_of(config: Mapping[str, Any], architecture: str, head_dim: int) -> Rope:
    """The rotary embedding a config.json describes. Raises BadCheckpoint when llama.cpp would compute another."""
    settings = _settings(config)
    theta = _number(settings, "rope_theta", _DEFAULT_THETA)
    match settings.get("rope_type", settings.get("type", "default")):
        case "default" | None:
            return Rope(theta=theta, scaling=(), factors=b"")
        case "linear":
            return Rope(theta=theta, scaling=tuple(_linear(architecture, settings)), factors=b"")
        case "yarn":
            return Rope(theta=theta, scaling=tuple(_yarn(architecture, settings)), factors=b"")
        case "llama3" if architecture == "llama":
            return Rope(theta=theta, scaling=(), factors=_llama3_factors(settings, theta, head_dim))
        case kind:
            raise BadCheckpoint(f"config.json: unknown rope scaling {kind!r:.40} for {architecture}")


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """rope_scaling, which newer files call rope_parameters; two of its keys may also be at the top level."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if isinstance(scaling, dict):
        scaling = scaling.get("full_attention", scaling)
    if not isinstance(scaling, dict):
        raise BadCheckpoint(f"config.json: rope_scaling is {scaling!r:.80}")
    top_level = ("rope_theta", "original_max_position_embeddings")
    return {**{key: config[key] for key in top_level if config.get(key) is not None}, **scaling}


def _linear(architecture: str, settings: Mapping[str, Any]) -> Iterator[Entry]:
    yield string(Keys.Rope.SCALING_TYPE.format(arch=architecture), RopeScalingType.LINEAR.value)
    yield float32(Keys.Rope.SCALING_FACTOR.format(arch=architecture), _number(settings, "factor"))


def _yarn(architecture: str, settings: Mapping[str, Any]) -> Iterator[Entry]:
    yield string(Keys.Rope.SCALING_TYPE.format(arch=architecture), RopeScalingType.YARN.value)
    yield float32(Keys.Rope.SCALING_FACTOR.format(arch=architecture), _number(settings, "factor"))
    original = int(_number(settings, "original_max_position_embeddings"))
    yield uint32(Keys.Rope.SCALING_ORIG_CTX_LEN.format(arch=architecture), original)
    defaults = _YARN_DEFAULTS | {"attention_factor": 0.1 * math.log(_number(settings, "factor")) + 1}
    chosen = {"attention_factor": settings.get("attn_factor"), **settings}
    for name, key in _YARN.items():
        if chosen.get(name) is not None:
            value = _number(chosen, name)
            if not math.isclose(value, defaults[name], rel_tol=1e-4):
                raise BadCheckpoint(
                    f"config.json: rope_scaling has {name} {value:g}; llama.cpp computes yarn with {defaults[name]:g}"
                )
            yield float32(key.format(arch=architecture), value)


def _llama3_factors(settings: Mapping[str, Any], theta: float, head_dim: int) -> bytes:
    """Short wavelengths stay, long ones are divided by `factor`, those between by a smooth share of it.

    The formula is Llama 3.1's (transformers' modeling_rope_utils.py). Every step is rounded to F32 as torch does it;
    torch divides a number by a tensor by multiplying with the tensor's reciprocal.
    """
    factor = _number(settings, "factor", 8.0)
    low, high = _number(settings, "low_freq_factor", 1.0), _number(settings, "high_freq_factor", 4.0)
    context = _number(settings, "original_max_position_embeddings", 8192)
    if high - low < _MIN:
        raise BadCheckpoint(f"config.json: rope_scaling has low_freq_factor {low:g} and high_freq_factor {high:g}")
    f32, factors = to_float32, []
    for index in range(0, head_dim, 2):
        frequency = f32(1 / f32(theta ** f32(index / head_dim)))
        wavelength = f32(f32(1 / frequency) * f32(2 * math.pi))
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(factor)
        else:
            smooth = f32(f32(f32(f32(1 / wavelength) * context) - low) / f32(high - low))
            factors.append(f32(1 / f32(f32(f32(1 - smooth) / factor) + smooth)))
    return struct.pack(f"<{len(factors)}f", *factors)


def _number(settings: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = settings.get(key) if settings.get(key) is not None else default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _MIN <= value < 2**31:
        raise BadCheckpoint(f"config.json: {key} is {value!r:.80}, expected a number from {_MIN} up")
    return float(value)
