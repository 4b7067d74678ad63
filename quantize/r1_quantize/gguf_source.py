"""A GGUF, complete or split -> a source to quantize again, as llama.cpp's quantizer sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gguf.constants import GGUFType, Keys

from r1_quantize.checkpoint.architecture import ARCHITECTURES, required_tensors
from r1_quantize.errors import BadGGUF
from r1_quantize.files import SourceFile
from r1_quantize.gguf import reader
from r1_quantize.gguf.metadata import uint32
from r1_quantize.gguf.reader import DEFAULT_ALIGNMENT, GGUFFile
from r1_quantize.gguf.split import part_names
from r1_quantize.gguf.tensor_type import UNREADABLE
from r1_quantize.gguf.vocabulary import check_vocabulary
from r1_quantize.recipe import Traits
from r1_quantize.source import Source, Tensor

_SPLIT_NO = Keys.Split.LLM_KV_SPLIT_NO
_SPLIT_COUNT = Keys.Split.LLM_KV_SPLIT_COUNT
_SPLIT_TENSORS = Keys.Split.LLM_KV_SPLIT_TENSORS_COUNT
_DEFAULT_ALIGNMENT = uint32(Keys.General.ALIGNMENT, DEFAULT_ALIGNMENT)
_OUTDATED = (_SPLIT_NO, _SPLIT_COUNT, _SPLIT_TENSORS, Keys.General.ALIGNMENT)
"""Keys that do not apply to the result, which is one file with the default alignment."""

_NO_MODELS = {
    GGUFType.IMATRIX: "an importance matrix, not a model; pass it with --imatrix",
    GGUFType.ADAPTER: "a LoRA adapter, not a model; merge it into its base model first",
    GGUFType.MMPROJ: "the part of a model that reads images; r1 reads text only",
}
"""general.type -> what such a file is."""


def gguf_source(path: Path) -> Source:
    """The GGUF at `path`, or all parts of a split GGUF if `path` is one of them; all parts are in one folder.

    Raises BadGGUF when a file is damaged or of an unknown architecture, or when parts are missing or do not belong
    together.
    """
    parts = [Path(name) for name in part_names(str(path))]
    if len(parts) > 1:
        _check_all_exist(path, parts)
    return gguf_source_of([SourceFile(part, 0) for part in parts])


def gguf_source_of(files: Sequence[SourceFile]) -> Source:
    """The source made of one file, or of all parts in order. Only the headers need to be on this disk.

    Raises BadGGUF as `gguf_source` does, and TruncatedGGUF when a header is incomplete.
    """
    parts = [reader.read_file(file) for file in files]
    first = parts[0]
    _check_kind(first)
    check_vocabulary(first)
    if len(parts) > 1:
        _check_parts(parts)
    else:
        _check_not_a_part(first)
    tensors = tuple(_tensor(part.path, info) for part in parts for info in part.tensors)
    return Source(
        path=first.path,
        entries=tuple(entry for entry in first.entries if entry.key not in _OUTDATED or entry == _DEFAULT_ALIGNMENT),
        tensors=tensors,
        traits=_traits(first, {tensor.name for tensor in tensors}),
        files=tuple(part.file for part in parts),
        digests={},
        is_gguf=True,
    )


def _check_all_exist(path: Path, parts: Sequence[Path]) -> None:
    try:
        missing = [part.name for part in parts if not part.exists()]
    except OSError as exc:
        raise BadGGUF(f"{path}: {exc.strerror}") from exc
    if missing:
        absent = f"{missing[0]} and {len(missing) - 1} more are" if len(missing) > 1 else f"{missing[0]} is"
        raise BadGGUF(f"{path}: {absent} missing; put all {len(parts)} parts in one folder")


def _check_kind(gguf: GGUFFile) -> None:
    """Refuse a complete GGUF that is not a model."""
    kind = gguf.metadata.get(Keys.General.TYPE)
    if isinstance(kind, str) and kind in _NO_MODELS:
        raise BadGGUF(f"{gguf.path}: {_NO_MODELS[kind]}")


def _check_not_a_part(gguf: GGUFFile) -> None:
    """Refuse one part of a split GGUF. A file that llama-gguf-split has joined says that it has 0 parts."""
    if (count := _count(gguf, _SPLIT_COUNT, 1, minimum=0)) > 1:
        raise BadGGUF(
            f"{gguf.path}: one of {count} parts, but not named like one; put all parts in one folder, named "
            f"NAME-00001-of-{count:05}.gguf and so on"
        )


def _check_parts(parts: Sequence[GGUFFile]) -> None:
    """Check that these are all the parts of one model, in order, by the keys of each and by the tensors."""
    total = sum(len(part.tensors) for part in parts)
    for number, part in enumerate(parts):
        for key, expected in ((_SPLIT_NO, number), (_SPLIT_COUNT, len(parts)), (_SPLIT_TENSORS, total)):
            value = part.metadata.get(key)
            if type(value) is not int or value != expected:
                raise BadGGUF(
                    f"{part.path}: {key} is {value!r:.40}, expected {expected} with {len(parts)} parts; one of them is "
                    "damaged or of another model"
                )
    _check_alignment(parts)
    _check_unique(parts)
    _check_layers(parts)


def _check_alignment(parts: Sequence[GGUFFile]) -> None:
    """Check that all parts have one alignment.

    Some writers state it in the first part alone; the offsets in the other parts would then be read wrongly.
    """
    for part in parts:
        if part.alignment != parts[0].alignment:
            other = parts[0].alignment
            raise BadGGUF(f"{part.path}: alignment {part.alignment}, but the first part has {other}; r1 cannot read it")


def _check_unique(parts: Sequence[GGUFFile]) -> None:
    """Check that no tensor is in two parts; the reader refuses duplicates within a part."""
    seen: dict[str, Path] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in seen:
                raise BadGGUF(f"{part.path}: the tensor {tensor.name!r:.80} is also in {seen[tensor.name].name}")
            seen[tensor.name] = part.path


def _check_layers(parts: Sequence[GGUFFile]) -> None:
    """Check that all layers have the same shapes; otherwise these are parts of different models."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name.startswith("blk."):
                other = shapes.setdefault(tensor.name.split(".", 2)[-1], tensor.shape)
                if tensor.shape != other:
                    shape = f"{tensor.shape}, but {other} in another layer"
                    raise BadGGUF(f"{part.path}: {tensor.name!r:.80} is {shape}; these are parts of different models")


def _tensor(path: Path, info: reader.TensorInfo) -> Tensor:
    if len(info.shape) > 2:
        raise BadGGUF(
            f"{path}: {info.name!r:.80} has {len(info.shape)} dimensions; mixtures of experts are not supported"
        )
    if info.type in UNREADABLE:
        raise BadGGUF(f"{path}: {info.name!r:.80} is {info.type.name}, which cannot be converted")
    return Tensor(
        name=info.name,
        shape=info.shape[::-1],
        type=info.type,
        default_type=info.type,
        label=f"{path}: {info.name}",
        file=path,
        offset=info.offset,
    )


def _traits(gguf: GGUFFile, names: set[str]) -> Traits:
    architecture = gguf.metadata.get(Keys.General.ARCHITECTURE)
    if architecture not in ARCHITECTURES.values():
        known = ", ".join(ARCHITECTURES.values())
        raise BadGGUF(
            f"{gguf.path}: unknown architecture {architecture!r:.40}; r1 knows {known}; "
            "`r1 list` shows the models that it runs"
        )
    block_count = Keys.LLM.BLOCK_COUNT.format(arch=architecture)
    layers = _count(gguf, block_count)
    required = required_tensors(str(architecture), layers)
    if required is None:
        raise BadGGUF(f"{gguf.path}: {block_count} is {layers:,}, more than llama.cpp runs")
    if missing := [tensor for tensor in required if tensor not in names]:
        raise BadGGUF(f"{gguf.path}: the tensor {missing[0]} is missing")
    heads = _count(gguf, Keys.Attention.HEAD_COUNT.format(arch=architecture))
    kv_heads = _count(gguf, Keys.Attention.HEAD_COUNT_KV.format(arch=architecture), heads)
    if heads % kv_heads:
        raise BadGGUF(f"{gguf.path}: {heads} query heads do not divide into {kv_heads} groups")
    return Traits.of(str(architecture), layers, heads, kv_heads, tied="output.weight" not in names)


def _count(gguf: GGUFFile, key: str, default: int | None = None, *, minimum: int = 1) -> int:
    value = gguf.metadata.get(key, default)
    if type(value) is not int or value < minimum:
        raise BadGGUF(f"{gguf.path}: {key} is {value!r:.40}, expected a number{' above 0' if minimum else ''}")
    return value
