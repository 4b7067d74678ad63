"""A source and a recipe → every byte of the result but the weights, before a weight is read.

Knows: which type each tensor gets, where it will lie, and the bytes before the first one: the order is that of
llama.cpp's converter for plain floats made from a checkpoint, and that of its quantizer for everything else, so that
files can be compared with theirs byte for byte. Does not know: how anything is read, computed or written.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.errors import BadFile, UsageError
from r1_quantize.gguf.metadata import Entry, encode_text, uint32
from r1_quantize.gguf.reader import DEFAULT_ALIGNMENT, MAGIC
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.imatrix import Imatrix
from r1_quantize.recipe import (
    COPY,
    QUANTIZATION_VERSION,
    RECIPES,
    Copy,
    Override,
    Recipe,
    in_file_order,
    is_matrix,
    needs_imatrix,
    override_for,
    types_of,
)
from r1_quantize.source import Extent, Source, Tensor

_VERSION = 3  # of the format
_MAX_VALUES = 1 << 23  # in a row, or in a head whose rows are re-ordered; the 70B's have 2¹⁵ and 2²⁰
_INSTEAD = {"Q2_K_S": "Q2_K", "IQ3_XS": "IQ3_S", "IQ3_XXS": "IQ3_S"}
"""What comes nearest without an importance matrix."""

_QUANTIZATION_VERSION, _FILE_TYPE = _STORAGE = "general.quantization_version", "general.file_type"
"""What says how the values are stored."""


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the result: `source` is where its values come from, `offset` where it begins in the file."""

    source: Tensor
    type: TensorType
    offset: int
    imatrix: array[float] | None  # how much each column matters

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def nbytes(self) -> int:
        """Its size in the result."""
        return self.type.bytes_of(self.source.values)

    @property
    def extent(self) -> Extent:
        """How large it is in the result."""
        return Extent(self.name, self.source.shape, self.nbytes)


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """The result: `header` is everything before the first tensor, `size` that of the whole file."""

    recipe: Recipe | Copy
    header: bytes
    tensors: tuple[PlannedTensor, ...]  # in file order
    size: int

    def of_file(self, path: Path) -> list[PlannedTensor]:
        """The tensors whose values lie in one file of the source, front to back."""
        found = [tensor for tensor in self.tensors if tensor.source.file == path]
        return sorted(found, key=lambda tensor: tensor.source.offset)

    @property
    def bytes_in(self) -> int:
        """How many bytes of weights there are to read."""
        return sum(tensor.source.nbytes for tensor in self.tensors if tensor.source.file)

    @property
    def counts(self) -> dict[str, int]:
        """GGML type → how many tensors have it."""
        return dict(sorted(Counter(tensor.type.name for tensor in self.tensors).items()))


def plan(
    source: Source,
    recipe: Recipe | Copy,
    *,
    imatrix: Imatrix | None = None,
    overrides: Sequence[Override] = (),
    allow_requantize: bool = False,
) -> ConversionPlan:
    """What `recipe` makes of `source`.

    Raises UsageError when a type needs an importance matrix and there is none, when one would be made of values that
    are quantized already and that is not allowed, when an override is of no effect, or when what is to be copied is no
    GGUF; BadFile when the matrix does not fit the model.
    """
    if isinstance(recipe, Copy):
        return _copy(source, imatrix, overrides)
    _check_overrides(source, recipe, overrides)
    _check_rows(source)
    as_converted = not (source.is_gguf or recipe.quantized)
    tensors = list(source.tensors) if as_converted else in_file_order(source.tensors)
    types = _types(source, tensors, recipe, overrides, imatrix=imatrix is not None)
    _check_imatrix(recipe, types, imatrix)
    if not allow_requantize:
        _check_requantizing(tensors, types)
    entries = _entries(source, recipe, imatrix, in_place=as_converted)
    header, offsets = _layout(entries, tensors, types)
    planned = tuple(
        PlannedTensor(tensor, types[tensor.name], offset, _weights(recipe, tensor, types[tensor.name], imatrix))
        for tensor, offset in zip(tensors, offsets, strict=False)
    )
    return ConversionPlan(recipe, header, planned, offsets[-1])


def _copy(source: Source, imatrix: Imatrix | None, overrides: Sequence[Override]) -> ConversionPlan:
    """Every tensor as it is, in the order of llama.cpp's quantizer, which is also its order for copying."""
    if not source.is_gguf:
        raise UsageError(f"{source.path} is a checkpoint, and only a GGUF can be copied; take a type instead of COPY")
    if imatrix or overrides:
        raise UsageError("--imatrix and --tensor-type have no effect on COPY, which leaves every tensor as it is")
    _check_rows(source)
    tensors = in_file_order(source.tensors)
    said = {entry.key: entry for entry in source.entries}
    entries = [*_without_storage(source), *(said[key] for key in _STORAGE if key in said)]
    header, offsets = _layout(entries, tensors, {tensor.name: tensor.type for tensor in tensors})
    copied = tuple(
        PlannedTensor(tensor, tensor.type, offset, None) for tensor, offset in zip(tensors, offsets, strict=False)
    )
    return ConversionPlan(COPY, header, copied, offsets[-1])


def size_of(source: Source, recipe: Recipe) -> tuple[int, float]:
    """The size of what `recipe` would make of `source`, in bytes, and the bits a weight takes in it.

    A recipe that needs an importance matrix is taken to have one.
    """
    types = _types_of_all(source, recipe)
    _, offsets = _layout(source.entries, source.tensors, types)
    values = sum(tensor.values for tensor in source.tensors)
    stored = sum(types[tensor.name].bytes_of(tensor.values) for tensor in source.tensors)
    return offsets[-1], 8 * stored / max(1, values)


def extents_of(source: Source, recipe: Recipe) -> list[Extent]:
    """How large each tensor would be in what `recipe` makes of `source`; as for `size_of`."""
    types = _types_of_all(source, recipe)
    return [Extent(t.name, t.shape, types[t.name].bytes_of(t.values)) for t in source.tensors]


def _types_of_all(source: Source, recipe: Recipe) -> dict[str, TensorType]:
    needs = recipe_needs_imatrix(source, recipe)
    return _types(source, in_file_order(source.tensors), recipe, (), imatrix=needs)


def recipe_needs_imatrix(source: Source, recipe: Recipe) -> bool:
    """Whether llama.cpp makes such a file of this model only with an importance matrix."""
    types = types_of(recipe, in_file_order(source.tensors), source.traits, imatrix=False)
    return any(needs_imatrix(recipe, name, kind) for name, kind in types.items())


def _types(
    source: Source, tensors: Sequence[Tensor], recipe: Recipe, overrides: Sequence[Override], *, imatrix: bool
) -> dict[str, TensorType]:
    """Name → type of every tensor."""
    chosen = types_of(recipe, tensors, source.traits, lambda name: override_for(overrides, name), imatrix=imatrix)
    return {tensor.name: chosen.get(tensor.name, tensor.plain) for tensor in tensors}


def _entries(source: Source, recipe: Recipe, imatrix: Imatrix | None, *, in_place: bool) -> list[Entry]:
    """The source's keys; what says how they are stored stays where it is, or goes to the end as llama.cpp has it."""
    file_type = uint32(_FILE_TYPE, recipe.number)
    if in_place:
        return [file_type if entry.key == _FILE_TYPE else entry for entry in source.entries]
    kept = _without_storage(source)
    added = list(imatrix.entries()) if imatrix else []
    if imatrix:
        kept = [entry for entry in kept if not entry.key.startswith("quantize.imatrix.")]
    return [*kept, uint32(_QUANTIZATION_VERSION, QUANTIZATION_VERSION), file_type, *added]


def _without_storage(source: Source) -> list[Entry]:
    return [entry for entry in source.entries if entry.key not in _STORAGE]


def _layout(
    entries: Sequence[Entry], tensors: Sequence[Tensor], types: dict[str, TensorType]
) -> tuple[bytes, list[int]]:
    """The header, and where in the file each tensor begins; the last number is where the file ends."""
    parts = [MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(entries))]
    parts += [entry.encode() for entry in entries]
    offsets = [0]
    for tensor in tensors:
        kind, dimensions = types[tensor.name], tensor.shape[::-1]  # a GGUF has the row length first
        parts.append(encode_text(tensor.name))
        parts.append(struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions))
        parts.append(struct.pack("<IQ", kind, offsets[-1]))
        offsets.append(offsets[-1] + padded(kind.bytes_of(tensor.values)))
    header = b"".join(parts)
    header = header.ljust(padded(len(header)), b"\0")
    return header, [len(header) + offset for offset in offsets]


def padded(count: int) -> int:
    """`count`, or the next number at which a tensor may begin."""
    return count + -count % DEFAULT_ALIGNMENT


def _weights(recipe: Recipe, tensor: Tensor, kind: TensorType, imatrix: Imatrix | None) -> array[float] | None:
    if imatrix is None or kind is tensor.type or len(tensor.shape) < 2:
        return None
    found = imatrix.of(tensor.name, tensor.shape[1])
    if found is None and needs_imatrix(recipe, tensor.name, kind):
        raise UsageError(f"{imatrix.path} has nothing on {tensor.name}, which {kind.name} needs; take another type")
    return found


def _check_imatrix(recipe: Recipe, types: dict[str, TensorType], imatrix: Imatrix | None) -> None:
    if imatrix is not None:
        return
    for name, kind in types.items():
        if needs_imatrix(recipe, name, kind):
            instead = _INSTEAD.get(recipe.name, "Q2_K" if recipe.smallest else "another type for it")
            raise UsageError(
                f"{name} would be {kind.name} in {recipe.name}, which needs an importance matrix: give one with "
                f"--imatrix FILE, or take {instead}"
            )


def _check_requantizing(tensors: Sequence[Tensor], types: dict[str, TensorType]) -> None:
    for tensor in tensors:
        if tensor.type.block > 1 and types[tensor.name] is not tensor.type:
            raise UsageError(
                f"{tensor.label} is {tensor.type.name} already, and what that lost does not come back; start from the "
                "checkpoint or a BF16 file, or say --allow-requantize"
            )


def _check_rows(source: Source) -> None:
    """Rows are handled whole, and heads whose rows are re-ordered too; memory is bounded by refusing absurd ones."""
    for tensor in source.tensors:
        head_rows = tensor.shape[0] // tensor.rotary_heads if tensor.rotary_heads else 1
        if len(tensor.shape) == 2 and head_rows * tensor.shape[1] > _MAX_VALUES:
            raise BadFile(f"{tensor.label}: rows of {tensor.shape[1]:,} values are more than any known model has")


def _check_overrides(source: Source, recipe: Recipe, overrides: Sequence[Override]) -> None:
    if overrides and not recipe.quantized:
        quantized = ", ".join(name for name, known in RECIPES.items() if known.quantized)
        raise UsageError(f"--tensor-type has no effect on {recipe.name}; it goes with {quantized}")
    for override in overrides:
        if not any(override.pattern.search(tensor.name) for tensor in source.tensors if is_matrix(tensor)):
            raise UsageError(
                f"--tensor-type {override}: no matrix of this model has such a name, and no other is changed"
            )
