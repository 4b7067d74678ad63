"""Reads and checks the header of a .safetensors file: which tensors it holds, and where.

The layout is in https://github.com/huggingface/safetensors#format: eight bytes of length, a JSON object, then the
tensors without gaps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from r1_quantize.errors import BadCheckpoint
from r1_quantize.file_kinds import START_BYTES, kind_of
from r1_quantize.files import SourceFile
from r1_quantize.gguf.tensor_type import TensorType

_MAX_DIMENSIONS, _UINT32_MAX = 8, (1 << 32) - 1
_MAX_HEADER_BYTES = 16 << 20  # 512 layers take one million, and parsing JSON takes many times its size
_ITEM_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2},
    **{"BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8},
}
_FLOATS = {"BF16": TensorType.BF16, "F16": TensorType.F16, "F32": TensorType.F32}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor's place in its file. `shape` is (rows, columns) or (values,); `offset` is from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def type(self) -> TensorType | None:
        """The GGML type; None for anything but the floats r1 converts."""
        return _FLOATS.get(self.dtype)


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """The header of one file: its tensors by name, sorted by name."""

    file: SourceFile
    tensors: Mapping[str, StoredTensor]


def header_end(prefix: bytes, size: int) -> int:
    """How much of a file of `size` bytes to read for its header; `prefix` is its first eight bytes."""
    return min(8 + int.from_bytes(prefix[:8], "little"), 8 + _MAX_HEADER_BYTES, size)


def read(path: Path) -> SafetensorsFile:
    """The header of the file at `path`; see `read_file`."""
    return read_file(SourceFile(path, 0))


def read_file(file: SourceFile) -> SafetensorsFile:
    """The header of a file. Raises BadCheckpoint when it cannot be read or contradicts itself."""
    try:
        with file.open_header() as (opened, current):
            return _HeaderReader(current).parse(opened)
    except OSError as exc:
        raise BadCheckpoint(f"{file.path}: {exc.strerror}") from exc


class _HeaderReader:
    """Reads one header and trusts none of it."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._path = file.path
        self._size = file.size

    def parse(self, file: BinaryIO) -> SafetensorsFile:
        start = file.read(START_BYTES)
        if (kind := kind_of(start)) and not start[8:].startswith(b"{"):
            raise BadCheckpoint(f"{self._path}: {kind}")
        file.seek(0)
        if self._size < 8:
            raise self._bad(f"only {self._size} bytes long")
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, self._size - 8):
            raise self._bad(f"a header of {length:,} bytes in a file of {self._size:,}")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as exc:
            raise self._bad(f"the header is not JSON ({exc})") from exc
        if not isinstance(header, dict):
            raise self._bad("the header is not a JSON object")
        header.pop("__metadata__", None)
        tensors = [self._tensor(name, entry, 8 + length) for name, entry in header.items()]
        self._check_layout(tensors, 8 + length)
        by_name = {tensor.name: tensor for tensor in sorted(tensors, key=lambda tensor: tensor.name)}
        return SafetensorsFile(self._file, by_name)

    def _tensor(self, name: str, entry: Any, start: int) -> StoredTensor:
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
                if dtype not in _ITEM_BYTES:
                    raise self._bad(f"tensor {name!r:.80} has the unknown dtype {dtype!r:.20}")
                plain = all(type(dimension) is int and 0 <= dimension <= _UINT32_MAX for dimension in shape)
                if not plain or len(shape) > _MAX_DIMENSIONS:
                    raise self._bad(f"tensor {name!r:.80} has the shape {shape!r:.80}")
                if not 0 <= begin <= end <= self._size:
                    raise self._bad(f"tensor {name!r:.80} lies outside the file")
                if end - begin != prod(shape) * _ITEM_BYTES[dtype]:
                    raise self._bad(f"tensor {name!r:.80} has {end - begin} bytes for {dtype} {shape!r:.80}")
                return StoredTensor(
                    name=name, dtype=dtype, shape=tuple(shape), offset=start + begin, nbytes=end - begin
                )
        raise self._bad(f"bad description of tensor {name!r:.80}: {entry!r:.80}")

    def _check_layout(self, tensors: list[StoredTensor], start: int) -> None:
        """Check that the tensors fill the file from `start` to its end, without gap or overlap."""
        expected = start
        for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
            if tensor.offset != expected:
                fault = "overlaps another" if tensor.offset < expected else "leaves a gap before it"
                raise self._bad(f"tensor {tensor.name!r:.80} {fault}")
            expected += tensor.nbytes
        if expected != self._size:
            raise self._bad(f"{self._size:,} bytes long, but the header describes {expected:,}")

    def _bad(self, what: str) -> BadCheckpoint:
        return BadCheckpoint(f"{self._path}: {what}; it is damaged or incomplete")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("duplicate key")
    return values
