"""A GGUF, in one file or in parts → what there is to quantize again, as llama.cpp's quantizer sees it.

Knows: which keys say what the recipes ask, which ones of the old file do not hold for a new one, and what the parts of
one model say of each other. Does not know: which types tensors get (`plan`), or what a checkpoint is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r1_quantize.checkpoint.architecture import ARCHITECTURES, required_tensors
from r1_quantize.errors import BadGGUF
from r1_quantize.files import SourceFile
from r1_quantize.gguf import reader
from r1_quantize.gguf.metadata import uint32
from r1_quantize.gguf.reader import DEFAULT_ALIGNMENT, GGUFFile
from r1_quantize.gguf.split import part_names
from r1_quantize.gguf.tensor_type import UNREADABLE
from r1_quantize.recipe import Traits
from r1_quantize.source import Source, Tensor

_SPLIT_NO, _SPLIT_COUNT, _SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"
_ALIGNMENT = "general.alignment"
_STILL_TRUE = uint32(_ALIGNMENT, DEFAULT_ALIGNMENT)
_OUTDATED = (_SPLIT_NO, _SPLIT_COUNT, _SPLIT_TENSORS, _ALIGNMENT)
"""The result is one file, and aligned by the default."""


def gguf_source(path: Path) -> Source:
    """What is in the GGUF at `path`, or in all the parts of which it is one; they lie in the same folder.

    Raises BadGGUF when a file is damaged or of an architecture whose rules are not known, or when the parts are not
    all there or do not belong together.
    """
    parts = [Path(name) for name in part_names(str(path))]
    if len(parts) > 1:
        _check_all_there(path, parts)
    return gguf_source_of([SourceFile(part, 0) for part in parts])


def gguf_source_of(files: Sequence[SourceFile]) -> Source:
    """What is in a GGUF in one file, or in all its parts, in order; of each the header suffices.

    Its path is that of the first. Raises BadGGUF as `gguf_source` does, and TruncatedGGUF when a header is not all here.
    """
    parts = [reader.read_file(file) for file in files]
    first = parts[0]
    if len(parts) > 1:
        _check_parts(parts)
    else:
        _check_whole(first)
    tensors = tuple(_tensor(part.path, info) for part in parts for info in part.tensors)
    return Source(
        path=first.path,
        entries=tuple(entry for entry in first.entries if entry.key not in _OUTDATED or entry == _STILL_TRUE),
        tensors=tensors,
        traits=_traits(first, {tensor.name for tensor in tensors}),
        files=tuple(part.file for part in parts),
        digests={},
        is_gguf=True,
    )


def _check_all_there(path: Path, parts: Sequence[Path]) -> None:
    try:
        missing = [part.name for part in parts if not part.exists()]
    except OSError as exc:
        raise BadGGUF(f"{path}: {exc.strerror}") from exc
    if missing:
        absent = f"{missing[0]} and {len(missing) - 1} more are" if len(missing) > 1 else f"{missing[0]} is"
        raise BadGGUF(f"{path}: one of {len(parts)} parts, of which {absent} missing; put all in one folder")


def _check_whole(found: GGUFFile) -> None:
    """Whether this is not one part of several; a file that llama-gguf-split has joined says it has 0."""
    if (count := _count(found, _SPLIT_COUNT, 1, least=0)) > 1:
        raise BadGGUF(
            f"{found.path}: one of {count} parts, though not called so; the parts of a GGUF lie in one folder, as "
            f"NAME-00001-of-{count:05}.gguf and so on"
        )


def _check_parts(parts: Sequence[GGUFFile]) -> None:
    """Whether these are all the parts of one model, in order, as each of them says itself."""
    total = sum(len(part.tensors) for part in parts)
    for number, part in enumerate(parts):
        for key, expected in ((_SPLIT_NO, number), (_SPLIT_COUNT, len(parts)), (_SPLIT_TENSORS, total)):
            said = part.metadata.get(key)
            if type(said) is not int or said != expected:
                raise BadGGUF(
                    f"{part.path}: {key} is {said!r:.40}, where these {len(parts)} parts make it {expected}; one of "
                    "them is damaged or of another model"
                )
    _check_alignment(parts)
    _check_once(parts)
    _check_layers(parts)


def _check_alignment(parts: Sequence[GGUFFile]) -> None:
    """Writers use one for all parts, and some say so in the first alone: there bytes would be taken for others."""
    for part in parts:
        if part.alignment != parts[0].alignment:
            said = f"aligned by {part.alignment}, and the first part by {parts[0].alignment}"
            raise BadGGUF(f"{part.path}: {said}; where its tensors begin is uncertain")


def _check_once(parts: Sequence[GGUFFile]) -> None:
    """Within a part the reader has seen to it."""
    seen: dict[str, Path] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in seen:
                raise BadGGUF(f"{part.path}: the tensor {tensor.name!r:.80} is in {seen[tensor.name].name} too")
            seen[tensor.name] = part.path


def _check_layers(parts: Sequence[GGUFFile]) -> None:
    """All layers of a model have the same shapes; where they differ, parts of several models were mixed up."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name.startswith("blk."):
                other = shapes.setdefault(tensor.name.split(".", 2)[-1], tensor.shape)
                if tensor.shape != other:
                    shape = f"{tensor.shape}, and in another layer {other}"
                    raise BadGGUF(f"{part.path}: {tensor.name!r:.80} is {shape}; these are parts of different models")


def _tensor(path: Path, info: reader.TensorInfo) -> Tensor:
    if len(info.shape) > 2:
        raise BadGGUF(f"{path}: {info.name!r:.80} has {len(info.shape)} dimensions; mixtures of experts are not known")
    if info.type in UNREADABLE:
        raise BadGGUF(f"{path}: {info.name!r:.80} is {info.type.name}, of which no weights can be made")
    label = f"{path}: {info.name}"
    return Tensor(info.name, info.shape[::-1], info.type, info.type, label, path, info.offset)


def _traits(found: GGUFFile, names: set[str]) -> Traits:
    name = found.metadata.get("general.architecture")
    if name not in ARCHITECTURES.values():
        known = ", ".join(ARCHITECTURES.values())
        raise BadGGUF(f"{found.path}: the architecture {name!r:.40} is not known; known are {known}")
    layers = _count(found, f"{name}.block_count")
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


def _count(found: GGUFFile, key: str, default: int | None = None, *, least: int = 1) -> int:
    value = found.metadata.get(key, default)
    if type(value) is not int or value < least:
        raise BadGGUF(f"{found.path}: {key} is {value!r:.40}, expected a number{' above 0' if least else ''}")
    return value
