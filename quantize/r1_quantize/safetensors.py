"""One .safetensors file: its header, checked, and the bytes of its tensors.

Knows: the layout of https://github.com/huggingface/safetensors#format: eight bytes of length, a JSON object,
then the tensors without gaps. Does not know: what the tensors are for, or which files make up a checkpoint.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1_quantize.errors import BadCheckpoint
from r1_quantize.tensor_type import TensorType

_MAX_HEADER = 16 << 20  # bytes; 512 layers take one million, and parsing JSON takes many times its size
_ITEM_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2},
    **{"BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8},
}
_FLOATS = {"BF16": TensorType.BF16, "F16": TensorType.F16, "F32": TensorType.F32}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in its file. `shape` is (rows, columns) or (values,); `offset` is from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def type(self) -> TensorType | None:
        """Its type in GGML's terms; None when it is not one of the floats a checkpoint can be converted from."""
        return _FLOATS.get(self.dtype)


class SafetensorsFile:
    """An open file. Reading is safe from several threads at once; nothing is left mapped."""

    def __init__(self, path: Path) -> None:
        """Raises BadCheckpoint when the file cannot be read or its header contradicts itself."""
        self.path = path
        self._lock = threading.Lock()
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as exc:
            raise BadCheckpoint(f"{path}: {exc.strerror}") from exc
        try:
            self.tensors = self._header()
        except BaseException:
            self._file.close()
            raise

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the bytes at `offset`. Raises BadCheckpoint when they are not there."""
        done = 0
        try:
            with self._lock:
                self._file.seek(offset)
                while done < len(target) and (count := self._file.readinto(target[done:])):
                    done += count
        except OSError as exc:
            raise BadCheckpoint(f"{self.path}: {exc.strerror}") from exc
        if done < len(target):
            raise BadCheckpoint(f"{self.path}: the file became shorter while it was read")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _header(self) -> dict[str, StoredTensor]:
        """The tensors by name, in the order of their names."""
        size = self._file.seek(0, 2)
        if size < 8:
            raise self._bad(f"it is only {size} bytes long")
        length = int.from_bytes(self._bytes(0, 8), "little")
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise self._bad(f"its header is said to be {length:,} bytes long, in a file of {size:,}")
        try:
            found = json.loads(self._bytes(8, length), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as exc:
            raise self._bad(f"its header is not JSON ({exc})") from exc
        if not isinstance(found, dict):
            raise self._bad("its header is not a JSON object")
        found.pop("__metadata__", None)
        tensors = [self._tensor(name, entry, 8 + length) for name, entry in found.items()]
        self._check_layout(tensors, 8 + length, size)
        return {tensor.name: tensor for tensor in sorted(tensors, key=lambda tensor: tensor.name)}

    def _bytes(self, offset: int, count: int) -> bytearray:
        data = bytearray(count)
        self.read_into(offset, memoryview(data))
        return data

    def _tensor(self, name: str, entry: Any, start: int) -> StoredTensor:
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
                if dtype not in _ITEM_BYTES:
                    raise self._bad(f"tensor {name!r:.80} has the unknown dtype {dtype!r:.20}")
                if not all(type(dimension) is int and dimension >= 0 for dimension in shape):
                    raise self._bad(f"tensor {name!r:.80} has the shape {shape!r:.80}")
                values = 1
                for dimension in shape:
                    values *= dimension
                if begin < 0 or end - begin != values * _ITEM_BYTES[dtype]:
                    raise self._bad(f"tensor {name!r:.80} has {end - begin} bytes for {dtype} {shape!r:.80}")
                return StoredTensor(name, dtype, tuple(shape), start + begin, end - begin)
        raise self._bad(f"tensor {name!r:.80} is described by {entry!r:.80}")

    def _check_layout(self, tensors: list[StoredTensor], start: int, size: int) -> None:
        """The tensors fill the file from `start` to its end, without gap or overlap."""
        expected = start
        for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
            if tensor.offset != expected:
                fault = "overlaps another" if tensor.offset < expected else "leaves a gap before it"
                raise self._bad(f"tensor {tensor.name!r:.80} {fault}")
            expected += tensor.nbytes
        if expected != size:
            raise self._bad(f"{expected:,} bytes are announced, {size:,} are there")

    def _bad(self, what: str) -> BadCheckpoint:
        return BadCheckpoint(f"{self.path}: {what}; it is damaged or not whole")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
