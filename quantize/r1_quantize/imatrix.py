"""Importance matrices: how much each column of a matrix matters, as llama-imatrix measured it on some text.

Reads both forms of the file, GGUF and the older .dat (common/imatrix-loader.cpp), and makes the quantize.imatrix.* keys
that llama.cpp's tool writes into a file made with one.
"""

from __future__ import annotations

import hashlib
import math
import stat
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from gguf.constants import Keys

from r1_quantize.errors import BadFile, BadGGUF, UsageError
from r1_quantize.gguf import reader
from r1_quantize.gguf.metadata import string, to_float32, uint32
from r1_quantize.gguf.reader import Entry, GGUFFile, TensorInfo
from r1_quantize.gguf.tensor_type import TensorType

_MAX_BYTES = 64 << 20  # a 70B model's takes 25 million
_MAX_WEIGHT = 1e15  # a mean of squares is far smaller; larger or negative weights make kernels abort the process
_MAX_TEXT_BYTES = 127  # llama.cpp's tool cuts longer texts to this length
_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True, slots=True)
class Imatrix:
    """`weights` maps a tensor's GGUF name to one F32 number per column."""

    path: Path
    sha256: str
    weights: Mapping[str, array[float]]
    dataset: str | None
    chunks: int  # chunks of text it was measured on; 0 when the file does not say

    def of(self, name: str, columns: int) -> array[float] | None:
        """The weights of one tensor; None when it has none. Raises BadFile when they have another size."""
        weights = self.weights.get(name)
        if weights is None or len(weights) == columns:
            return weights
        if name == "token_embd.weight":  # looked up, not multiplied: llama.cpp ignores its entry too
            return None
        problem = f"{len(weights)} weights for {name}, which has {columns} columns"
        raise BadFile(f"{self.path}: {problem}; is it for another model?")

    def entries(self) -> Iterator[Entry]:
        """The keys that llama.cpp's tool writes, in its order, but with the file name instead of the path."""
        yield string("quantize.imatrix.file", _shortened(self.path.name))
        if self.dataset:
            yield string("quantize.imatrix.dataset", _shortened(self.dataset))
        yield uint32("quantize.imatrix.entries_count", len(self.weights))
        if self.chunks > 0:
            yield uint32("quantize.imatrix.chunks_count", self.chunks)


def read_imatrix(path: Path) -> Imatrix:
    """The importance matrix in a file of either form. Raises UsageError when there is no such file, BadFile."""
    try:
        status = path.stat()
        if status.st_size > _MAX_BYTES:
            raise BadFile(f"{path}: {status.st_size:,} bytes is too large for an importance matrix")
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"--imatrix {path}: not a regular file")
        data = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"--imatrix {path}: {exc.strerror}") from exc
    digest = hashlib.sha256(data).hexdigest()
    if data[:4] == reader.MAGIC:
        weights, dataset, chunks = _from_gguf(reader.read(path), data)
    else:
        weights, dataset, chunks = _LegacyParser(path, data).parse()
    for name, values in weights.items():
        if not all(0 <= value <= _MAX_WEIGHT for value in values):
            raise BadFile(f"{path}: {name!r:.80} has a weight that is not between 0 and {_MAX_WEIGHT:g}")
    return Imatrix(path=path, sha256=digest, weights=weights, dataset=dataset, chunks=chunks)


_Parsed = tuple[dict[str, "array[float]"], str | None, int]


def _from_gguf(gguf: GGUFFile, data: bytes) -> _Parsed:
    tensors = {tensor.name: tensor for tensor in gguf.tensors}
    keys = gguf.metadata
    required = (Keys.IMatrix.DATASETS, Keys.IMatrix.CHUNK_COUNT, Keys.IMatrix.CHUNK_SIZE)
    if missing := [key for key in required if key not in keys]:
        raise BadGGUF(f"{gguf.path}: not an importance matrix; it lacks {missing[0]}")
    weights = {}
    for name in sorted(name.removesuffix(_SUMS) for name in tensors if name.endswith(_SUMS)):
        sums, counts = tensors[name + _SUMS], tensors.get(name + _COUNTS)
        if counts is None or {sums.type, counts.type} != {TensorType.F32}:
            raise BadGGUF(f"{gguf.path}: the entry for {name!r:.80} is not a pair of F32 tensors")
        if sums.nbytes % counts.nbytes:
            raise BadGGUF(f"{gguf.path}: the sums for {name!r:.80} are not a multiple of its counts")
        weights[name] = _averages(_floats_of(sums, data), _floats_of(counts, data))
    if not weights:
        raise BadGGUF(f"{gguf.path}: the importance matrix has no entries")
    return weights, _first_string(keys[Keys.IMatrix.DATASETS]), _count(keys[Keys.IMatrix.CHUNK_COUNT])


def _floats_of(tensor: TensorInfo, data: bytes) -> array[float]:
    return _floats(data[tensor.offset : tensor.offset + tensor.nbytes])


def _averages(sums: array[float], counts: array[float]) -> array[float]:
    """Sums of squares divided by the number of tokens; all ones for an expert that saw no token."""
    columns = len(sums) // len(counts)
    averages = array("f")
    for index, raw in enumerate(counts):
        count = math.floor(abs(raw) + 0.5) * (1 if raw > 0 else -1) if math.isfinite(raw) else 0
        part = sums[index * columns : (index + 1) * columns]
        averages.extend((value / count for value in part) if count > 0 else repeat(1.0, columns))
    return averages


class _LegacyParser:
    """Parses the .dat form: a count of entries, each name, calls and values; then chunks and dataset."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path = path
        self._data = data
        self._at = 0

    def parse(self) -> _Parsed:
        weights = {}
        for _ in range(self._count("entries")):
            name = self._take(self._count("bytes in a name"), "a name").decode("utf-8", "replace")
            (calls,) = struct.unpack("<i", self._take(4, "a number of calls"))
            values = _floats(self._take(4 * self._count("values"), f"the values of {name!r:.80}"))
            count = to_float32(calls)
            weights[name] = array("f", (value / count for value in values)) if count > 0 else values
        if self._at == len(self._data):
            return weights, None, 0
        (chunks,) = struct.unpack("<i", self._take(4, "the number of chunks"))
        if len(self._data) - self._at <= 4:
            return weights, None, chunks
        (length,) = struct.unpack("<i", self._take(4, "the dataset"))
        dataset = self._take(max(0, length), "the dataset").decode("utf-8", "replace")
        return weights, dataset or None, chunks

    def _count(self, what: str) -> int:
        (count,) = struct.unpack("<i", self._take(4, f"the number of {what}"))
        if count < 1:
            raise BadFile(f"{self._path}: not an importance matrix; the number of {what} is {count}")
        return int(count)

    def _take(self, count: int, what: str) -> bytes:
        if count > len(self._data) - self._at:
            raise BadFile(f"{self._path}: not an importance matrix, or cut short in {what}")
        self._at += count
        return self._data[self._at - count : self._at]


def _floats(data: bytes) -> array[float]:
    values = array("f", data)
    if struct.pack("=I", 1) != struct.pack("<I", 1):
        values.byteswap()
    return values


def _shortened(text: str) -> str:
    return text.encode("utf-8", "replace")[:_MAX_TEXT_BYTES].decode("utf-8", "ignore")


def _first_string(value: Any) -> str | None:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else None


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 32 else 0
