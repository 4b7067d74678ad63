"""The input of a conversion, from a checkpoint or a GGUF: key-value pairs, and where each tensor's values are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from r1_quantize.files import SourceFile
from r1_quantize.gguf.reader import Entry
from r1_quantize.gguf.tensor_type import TensorType

if TYPE_CHECKING:
    from r1_quantize.recipe import Traits  # slow to import, and `r1 run` needs only the extents


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor under its GGUF name, of (rows, columns) or (values,); `type` is that of its stored values.

    The values are at `offset` of `file`. A computed tensor has no file; its bytes are in `data`. `default_type` is used
    where a recipe does not choose one (see `recipe.is_matrix`). `label` names the tensor in messages. For
    `rotary_heads` see `architecture.Weight`.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    default_type: TensorType
    label: str
    file: Path | None = None
    offset: int = 0
    data: bytes = b""
    rotary_heads: int = 0

    @property
    def values(self) -> int:
        """The number of values."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in the source."""
        return self.type.bytes_of(self.values)

    @property
    def extent(self) -> Extent:
        """The shape, and the size in the source."""
        return Extent(self.name, self.shape, self.nbytes)


class Extent(NamedTuple):
    """A tensor's shape, as in `Tensor`, and its bytes in some file."""

    name: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """The model to quantize. `path` is a folder, a GGUF, or the first part of a split GGUF.

    `entries` and `tensors` are those of a complete GGUF, in its order. `files` hold the tensors, in the best order to
    read them. `digests` maps every other file that was read to its SHA-256. `is_gguf` means that llama.cpp would use
    its quantizer alone, without its converter, so the tensors are written in the quantizer's order. `notes` say how the
    source was read where that is unusual.
    """

    path: Path
    entries: tuple[Entry, ...]
    tensors: tuple[Tensor, ...]
    traits: Traits
    files: tuple[SourceFile, ...]
    digests: Mapping[str, str]
    is_gguf: bool
    notes: tuple[str, ...] = ()
