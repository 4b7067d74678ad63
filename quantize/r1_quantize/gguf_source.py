"""A GGUF → what there is to quantize again, as llama.cpp's quantizer sees it.

Knows: which keys say what the recipes ask, and which ones of the old file do not hold for a new one. Does not know:
which types tensors get (`plan`), or what a checkpoint is.
"""

from __future__ import annotations

from pathlib import Path

from r1_quantize import reader
from r1_quantize.architecture import ARCHITECTURES, required_tensors
from r1_quantize.errors import BadGGUF
from r1_quantize.reader import GGUFFile
from r1_quantize.recipe import Traits
from r1_quantize.source import Source, Tensor
from r1_quantize.tensor_type import UNREADABLE

_OUTDATED = ("split.no", "split.count", "split.tensors.count", "general.alignment")
"""The result is one file, and aligned by the default."""


def gguf_source(path: Path) -> Source:
    """Raises BadGGUF when the file is damaged, of an architecture whose rules are not known, or one part of several."""
    found = reader.read(path)
    if _count(found, "split.count", 1) > 1:
        raise BadGGUF(
            f"{path}: one of {found.metadata['split.count']} parts; join them first (llama-gguf-split --merge)"
        )
    traits = _traits(found)
    return Source(
        path=path,
        entries=tuple(entry for entry in found.entries if entry.key not in _OUTDATED),
        tensors=tuple(_tensor(path, info) for info in found.tensors),
        traits=traits,
        files={path: found.stamp},
        digests={},
        is_gguf=True,
    )


def _tensor(path: Path, info: reader.TensorInfo) -> Tensor:
    if len(info.shape) > 2:
        raise BadGGUF(f"{path}: {info.name!r:.80} has {len(info.shape)} dimensions; mixtures of experts are not known")
    if info.type in UNREADABLE:
        raise BadGGUF(f"{path}: {info.name!r:.80} is {info.type.name}, of which no weights can be made")
    label = f"{path}: {info.name}"
    return Tensor(info.name, info.shape[::-1], info.type, info.type, label, path, info.offset)


def _traits(found: GGUFFile) -> Traits:
    name = found.metadata.get("general.architecture")
    if name not in ARCHITECTURES.values():
        known = ", ".join(ARCHITECTURES.values())
        raise BadGGUF(f"{found.path}: the architecture {name!r:.40} is not known; known are {known}")
    layers = _count(found, f"{name}.block_count")
    names = {tensor.name for tensor in found.tensors}
    required = required_tensors(str(name), layers)
    if required is None:
        raise BadGGUF(f"{found.path}: {name}.block_count is {layers:,}, more than llama.cpp runs")
    if missing := [tensor for tensor in required if tensor not in names]:
        raise BadGGUF(f"{found.path}: the tensor {missing[0]} is missing")
    heads = _count(found, f"{name}.attention.head_count")
    kv_heads = _count(found, f"{name}.attention.head_count_kv", heads)
    if heads % kv_heads:
        raise BadGGUF(f"{found.path}: {heads} query heads do not divide into {kv_heads} groups")
    return Traits.of(str(name), layers, heads, kv_heads, tied="output.weight" not in names)


def _count(found: GGUFFile, key: str, default: int | None = None) -> int:
    value = found.metadata.get(key, default)
    if type(value) is not int or value < 1:
        raise BadGGUF(f"{found.path}: {key} is {value!r:.40}, expected a number above 0")
    return value
