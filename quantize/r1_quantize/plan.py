"""A source and a recipe → a conversion plan: every byte of the result but the weights, before a weight is read.

The order of keys and tensors is that of llama.cpp's converter for plain floats from a checkpoint, and that of its
quantizer for everything else, so that the files can be compared byte for byte.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf.constants import GGML_QUANT_VERSION, Keys

from r1_quantize.errors import BadFile, UsageError
from r1_quantize.gguf.metadata import encode_header, uint32
from r1_quantize.gguf.reader import DEFAULT_ALIGNMENT, Entry
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.imatrix import Imatrix
from r1_quantize.recipe import (
    COPY,
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

_MAX_ROW_VALUES = 1 << 23  # in a row, or in a head whose rows are reordered; the 70B has 2¹⁵ and 2²⁰
_ALTERNATIVES = {"Q2_K_S": "Q2_K", "IQ3_XS": "IQ3_S", "IQ3_XXS": "IQ3_S"}
"""The nearest type that needs no importance matrix."""

_STORAGE_KEYS = (Keys.General.QUANTIZATION_VERSION, Keys.General.FILE_TYPE)
"""The keys that say how the values are stored."""


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the result: `source` has its values, and `offset` is its place in the file."""

    source: Tensor
    type: TensorType
    offset: int
    imatrix: array[float] | None  # the importance of each column

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def nbytes(self) -> int:
        """The size in the result."""
        return self.type.bytes_of(self.source.values)

    @property
    def extent(self) -> Extent:
        """The shape, and the size in the result."""
        return Extent(self.name, self.source.shape, self.nbytes)


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """The result: `header` is everything before the first tensor, `size` the size of the complete file."""

    recipe: Recipe | Copy
    header: bytes
    tensors: tuple[PlannedTensor, ...]  # in file order
    size: int

    def of_file(self, path: Path) -> list[PlannedTensor]:
        """The tensors whose values are in one file of the source, front to back."""
        tensors = [tensor for tensor in self.tensors if tensor.source.file == path]
        return sorted(tensors, key=lambda tensor: tensor.source.offset)

    @property
    def bytes_in(self) -> int:
        """The bytes of weights to read."""
        return sum(tensor.source.nbytes for tensor in self.tensors if tensor.source.file)

    @property
    def counts(self) -> dict[str, int]:
        """GGML type → number of tensors."""
        return dict(sorted(Counter(tensor.type.name for tensor in self.tensors).items()))


def plan(
    source: Source,
    recipe: Recipe | Copy,
    *,
    imatrix: Imatrix | None = None,
    overrides: Sequence[Override] = (),
    allow_requantize: bool = False,
) -> ConversionPlan:
    """Plan the conversion of `source` by `recipe`.

    Raises UsageError when a type needs an importance matrix and there is none, when quantized values would be quantized
    again without `allow_requantize`, when an override has no effect, or when COPY is used on anything but a GGUF;
    BadFile when the importance matrix does not fit the model.
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
    return _laid_out(recipe, entries, tensors, types, imatrix)


def _copy(source: Source, imatrix: Imatrix | None, overrides: Sequence[Override]) -> ConversionPlan:
    """Every tensor unchanged, in the order of llama.cpp's quantizer, which it also uses to copy."""
    if not source.is_gguf:
        raise UsageError(f"{source.path} is a checkpoint, and COPY works only on a GGUF; choose a type such as Q4_K_M")
    if imatrix or overrides:
        raise UsageError("COPY leaves every tensor unchanged; drop --imatrix and --tensor-type")
    _check_rows(source)
    tensors = in_file_order(source.tensors)
    by_key = {entry.key: entry for entry in source.entries}
    entries = [*_without_storage_keys(source), *(by_key[key] for key in _STORAGE_KEYS if key in by_key)]
    return _laid_out(COPY, entries, tensors, {tensor.name: tensor.type for tensor in tensors}, None)


def _laid_out(
    recipe: Recipe | Copy,
    entries: Sequence[Entry],
    tensors: Sequence[Tensor],
    types: dict[str, TensorType],
    imatrix: Imatrix | None,
) -> ConversionPlan:
    header, offsets = _layout(entries, tensors, types)
    planned = tuple(
        PlannedTensor(
            source=tensor,
            type=types[tensor.name],
            offset=offset,
            imatrix=_importance(recipe, tensor, types[tensor.name], imatrix),
        )
        for tensor, offset in zip(tensors, offsets, strict=False)
    )
    return ConversionPlan(recipe=recipe, header=header, tensors=planned, size=offsets[-1])


def size_of(source: Source, recipe: Recipe) -> tuple[int, float]:
    """The size in bytes of `source` converted by `recipe`, and its bits per weight.

    Assumes an importance matrix when the recipe needs one.
    """
    types = _types_of_all(source, recipe)
    _, offsets = _layout(source.entries, source.tensors, types)
    values = sum(tensor.values for tensor in source.tensors)
    stored = sum(types[tensor.name].bytes_of(tensor.values) for tensor in source.tensors)
    return offsets[-1], 8 * stored / max(1, values)


def extents_of(source: Source, recipe: Recipe) -> list[Extent]:
    """The size of each tensor of `source` converted by `recipe`; assumes an importance matrix as `size_of` does."""
    types = _types_of_all(source, recipe)
    return [Extent(t.name, t.shape, types[t.name].bytes_of(t.values)) for t in source.tensors]


def _types_of_all(source: Source, recipe: Recipe) -> dict[str, TensorType]:
    needs = recipe_needs_imatrix(source, recipe)
    return _types(source, in_file_order(source.tensors), recipe, (), imatrix=needs)


def recipe_needs_imatrix(source: Source, recipe: Recipe) -> bool:
    """True when llama.cpp makes such a file of this model only with an importance matrix."""
    types = types_of(recipe, in_file_order(source.tensors), source.traits, imatrix=False)
    return any(needs_imatrix(recipe, name, kind) for name, kind in types.items())


def _types(
    source: Source, tensors: Sequence[Tensor], recipe: Recipe, overrides: Sequence[Override], *, imatrix: bool
) -> dict[str, TensorType]:
    """Name → type of every tensor."""
    chosen = types_of(recipe, tensors, source.traits, lambda name: override_for(overrides, name), imatrix=imatrix)
    return {tensor.name: chosen.get(tensor.name, tensor.default_type) for tensor in tensors}


def _entries(source: Source, recipe: Recipe, imatrix: Imatrix | None, *, in_place: bool) -> list[Entry]:
    """The source's keys with the new file type, `in_place` or at the end, where llama.cpp's quantizer puts it."""
    file_type = uint32(Keys.General.FILE_TYPE, recipe.number)
    if in_place:
        return [file_type if entry.key == file_type.key else entry for entry in source.entries]
    kept = _without_storage_keys(source)
    added = list(imatrix.entries()) if imatrix else []
    if imatrix:
        kept = [entry for entry in kept if not entry.key.startswith("quantize.imatrix.")]
    return [*kept, uint32(Keys.General.QUANTIZATION_VERSION, GGML_QUANT_VERSION), file_type, *added]


def _without_storage_keys(source: Source) -> list[Entry]:
    return [entry for entry in source.entries if entry.key not in _STORAGE_KEYS]


def _layout(
    entries: Sequence[Entry], tensors: Sequence[Tensor], types: dict[str, TensorType]
) -> tuple[bytes, list[int]]:
    """The padded header, and the offset of each tensor in the file; the last number is the size of the file."""
    header = encode_header(entries, [(tensor.name, tensor.shape, types[tensor.name]) for tensor in tensors])
    header = header.ljust(padded(len(header)), b"\0")
    offsets = [len(header)]
    for tensor in tensors:
        offsets.append(offsets[-1] + padded(types[tensor.name].bytes_of(tensor.values)))
    return header, offsets


def padded(count: int) -> int:
    """`count` rounded up to the next offset at which a tensor may begin."""
    return count + -count % DEFAULT_ALIGNMENT


def _importance(
    recipe: Recipe | Copy, tensor: Tensor, kind: TensorType, imatrix: Imatrix | None
) -> array[float] | None:
    """The importance of a tensor's columns; None when it has none or needs none."""
    if imatrix is None or isinstance(recipe, Copy) or kind is tensor.type or len(tensor.shape) < 2:
        return None
    weights = imatrix.of(tensor.name, tensor.shape[1])
    if weights is None and needs_imatrix(recipe, tensor.name, kind):
        raise UsageError(f"{imatrix.path} has no entry for {tensor.name}, which {kind.name} needs; choose another type")
    return weights


def _check_imatrix(recipe: Recipe, types: dict[str, TensorType], imatrix: Imatrix | None) -> None:
    if imatrix is not None:
        return
    for name, kind in types.items():
        if needs_imatrix(recipe, name, kind):
            alternative = _ALTERNATIVES.get(recipe.name, "Q2_K" if recipe.smallest else "another type for it")
            raise UsageError(
                f"{name} would be {kind.name} in {recipe.name}, which needs an importance matrix; pass --imatrix FILE, "
                f"or choose {alternative}"
            )


def _check_requantizing(tensors: Sequence[Tensor], types: dict[str, TensorType]) -> None:
    for tensor in tensors:
        if tensor.type.block > 1 and types[tensor.name] is not tensor.type:
            raise UsageError(
                f"{tensor.label} is already {tensor.type.name}, and its lost precision does not come back; start from "
                "the checkpoint or a BF16 file, or pass --allow-requantize"
            )


def _check_rows(source: Source) -> None:
    """Refuse absurdly long rows: a complete row, or a head whose rows are reordered, is in memory at once."""
    for tensor in source.tensors:
        head_rows = tensor.shape[0] // tensor.rotary_heads if tensor.rotary_heads else 1
        if len(tensor.shape) == 2 and head_rows * tensor.shape[1] > _MAX_ROW_VALUES:
            raise BadFile(f"{tensor.label}: rows of {tensor.shape[1]:,} values are longer than any known model's")


def _check_overrides(source: Source, recipe: Recipe, overrides: Sequence[Override]) -> None:
    if overrides and not recipe.quantized:
        quantized = ", ".join(name for name, known in RECIPES.items() if known.quantized)
        raise UsageError(f"--tensor-type has no effect on {recipe.name}; it works with {quantized}")
    for override in overrides:
        if not any(override.pattern.search(tensor.name) for tensor in source.tensors if is_matrix(tensor)):
            raise UsageError(f"--tensor-type {override}: matches no matrix of this model")
