"""What is quantized, whatever it came from: key–value pairs, and tensors that lie somewhere in files.

`checkpoint_source` and `gguf_source` make one; `plan` says what a recipe makes of it.

Knows: what both have in common. Does not know: either's format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from r1_quantize.files import SourceFile
from r1_quantize.gguf.metadata import Entry
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.recipe import Traits


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor under its GGUF name, of (rows, columns) or (values,); `type` is that of its values as they lie.

    They begin at `offset` of `file`; a tensor that is computed has no file but its bytes, in `data`. `plain` is the
    type it gets where a recipe has no say (see `recipe.is_matrix`). `label` names it in messages. For `rotary_heads`
    see `architecture.Weight`.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    plain: TensorType
    label: str
    file: Path | None = None
    offset: int = 0
    data: bytes = b""
    rotary_heads: int = 0

    @property
    def values(self) -> int:
        """How many values it holds."""
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count

    @property
    def nbytes(self) -> int:
        """Its size where it lies."""
        return self.type.bytes_of(self.values)

    @property
    def extent(self) -> Extent:
        """How large it is where it lies."""
        return Extent(self.name, self.shape, self.nbytes)


class Extent(NamedTuple):
    """How large a tensor is: its shape as that of `Tensor`, and its bytes in some file."""

    name: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """`entries` are those of a whole GGUF, `tensors` in its order; `path` is a folder's, a GGUF's or its first part's.

    `files` are those with the tensors, in the order in which they are best read. `digests` has the SHA-256 of every
    other file that was read, by name. `is_gguf`: what is made of it is the work of llama.cpp's quantizer alone, without
    its converter, and stands in the quantizer's order.
    """

    path: Path
    entries: tuple[Entry, ...]
    tensors: tuple[Tensor, ...]
    traits: Traits
    files: tuple[SourceFile, ...]
    digests: Mapping[str, str]
    is_gguf: bool
