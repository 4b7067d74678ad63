"""Reads a GGUF's header without trusting a byte of it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

Every length, count and offset is checked against the file before it is used. A damaged or hostile file ends in BadGGUF
with a line that says what is wrong, never in a crash inside llama.cpp. Imports only the standard library and light
modules of ours, because `r1 run` reads a header before it loads a model.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from r1_quantize.errors import BadGGUF
from r1_quantize.file_kinds import START_BYTES, kind_of
from r1_quantize.files import SourceFile
from r1_quantize.gguf.tensor_type import TensorType

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32  # bytes, where general.alignment is absent
_MAX_DIMENSIONS = 4
_MAX_NAME_BYTES = 63  # llama.cpp's limit
_MAX_HEADER_BYTES = 128 << 20  # a vocabulary takes 8 million
_MAX_STRINGS = 4 << 20  # in one array; a vocabulary has 0.3 million
_MIN_FILE_BYTES = 24  # magic, version and the two counts
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class ValueType(IntEnum):
    """The type of a metadata value, or of an array's items: enum gguf_type."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_FORMATS: dict[ValueType, str] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
"""The `struct` format of each type of fixed size, little-endian."""


class TokenType(IntEnum):
    """The type of a token in a byte-level vocabulary: part of enum llama_token_type in llama.h."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5


class Entry(NamedTuple):
    """One key-value pair; `data` is the complete pair as encoded in the file."""

    key: str
    data: bytes


class TensorInfo(NamedTuple):
    """One tensor. `shape` has the row length first, as in the file; `offset` is from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    nbytes: int


class GGUFFile(NamedTuple):
    """The header of one file. `data_offset` is where the first tensor begins; sizes and offsets are bytes."""

    file: SourceFile
    version: int
    metadata: Mapping[str, Any]
    entries: tuple[Entry, ...]  # the same pairs, still encoded
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    alignment: int

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def size(self) -> int:
        return self.file.size


class TruncatedGGUF(BadGGUF):
    """The header is longer than the part of the file that is on this disk."""


def read(path: Path) -> GGUFFile:
    """The header of the GGUF at `path`; see `read_file`."""
    return read_file(SourceFile(path, 0))


def read_file(file: SourceFile) -> GGUFFile:
    """The header of a GGUF. Arrays in it are decoded only when they are looked up.

    Raises BadGGUF when the file is not a GGUF or contradicts itself, TruncatedGGUF when its header is incomplete.
    """
    try:
        with file.open_header() as (opened, current):
            available = opened.seek(0, 2)
            start = _read_start(opened)
            if start[:4] != MAGIC and (kind := kind_of(start)):
                raise BadGGUF(f"{file.path}: not a GGUF but {kind}")
            if available < _MIN_FILE_BYTES:
                raise BadGGUF(f"{file.path}: not a GGUF, only {available} bytes long")
            # Map no more than the largest header: with a limited address space, the weights need the rest.
            mapped = min(available, _MAX_HEADER_BYTES + 8)
            with mmap.mmap(opened.fileno(), mapped, access=mmap.ACCESS_READ) as data:
                return _Parser(data, current, available).parse()
    except OSError as exc:
        raise BadGGUF(f"{file.path}: {exc.strerror}") from exc


def _read_start(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(START_BYTES)


class _Array(NamedTuple):
    """An array in the header that has not been decoded."""

    items: ValueType
    length: int
    start: int


class _Metadata(Mapping[str, Any]):
    """Key -> value. An array stays encoded until it is looked up."""

    def __init__(self, values: dict[str, Any], header: bytes) -> None:
        self._values = values
        self._header = header

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        return _decode(self._header, value) if isinstance(value, _Array) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:  # Mapping's own would decode the value
        return key in self._values


def _decode(header: bytes, array: _Array) -> list[Any]:
    if format_ := _FORMATS.get(array.items):
        return list(struct.unpack_from(f"<{array.length}{format_}", header, array.start))
    texts, at = [], array.start
    for _ in range(array.length):
        (length,) = _U64.unpack_from(header, at)
        at += 8 + length
        texts.append(header[at - length : at].decode("utf-8", "replace"))
    return texts


class _Description(NamedTuple):
    """A tensor as the header describes it; `offset` is from the start of the data."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int


class _Parser:
    """A position in the header that only moves forward, and never past its end."""

    def __init__(self, data: mmap.mmap, file: SourceFile, available: int) -> None:
        self._data = data
        self._file = file
        self._at = 0
        self._end = available

    def parse(self) -> GGUFFile:
        version = self._version()
        tensor_count, entry_count = self._number(_U64), self._number(_U64)
        values, entries = self._pairs(entry_count)
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise self._bad(f"general.alignment is {alignment!r:.80}, not a power of two")
        described = [self._description() for _ in range(tensor_count)]
        data_offset = _padded(self._at, alignment)
        return GGUFFile(
            file=self._file,
            version=version,
            metadata=_Metadata(values, self._data[: self._at]),
            entries=entries,
            tensors=self._placed(described, data_offset, alignment),
            data_offset=data_offset,
            alignment=alignment,
        )

    def _version(self) -> int:
        if self._data[:4] != MAGIC:
            raise BadGGUF(f"{self._file.path}: not a GGUF, the format of models; choose another file")
        self._at = 4
        version: int = self._number(_U32)
        if version not in (2, 3):
            big_endian = " (a big-endian file?)" if version & 0xFFFF == 0 else ""
            raise self._bad(f"GGUF version {version}{big_endian}; r1 reads versions 2 and 3")
        return version

    def _pairs(self, count: int) -> tuple[dict[str, Any], tuple[Entry, ...]]:
        """Every key-value pair, decoded and encoded."""
        values: dict[str, Any] = {}
        entries = []
        for _ in range(count):
            start = self._at
            key = self._text("a key")
            if key in values:
                raise self._bad(f"duplicate key {key!r:.80}")
            values[key] = self._value(key)
            entries.append(Entry(key, self._data[start : self._at]))
        return values, tuple(entries)

    def _description(self) -> _Description:
        name = self._text("a tensor's name")
        if len(name.encode()) > _MAX_NAME_BYTES:
            raise self._bad(f"a tensor name of {len(name.encode()):,} bytes, {name!r:.80}")
        dimensions = self._number(_U32)
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self._bad(f"tensor {name!r:.80} has {dimensions} dimensions")
        shape = tuple(self._number(_U64) for _ in range(dimensions))
        number = self._number(_U32)
        try:
            kind = TensorType(number)
        except ValueError:
            raise self._bad(f"tensor {name!r:.80} has the unknown type {number}") from None
        if 0 in shape or shape[0] % kind.block:
            raise self._bad(f"tensor {name!r:.80} of shape {shape} cannot be {kind.name}")
        return _Description(name, shape, kind, self._number(_U64))

    def _placed(self, described: list[_Description], start: int, alignment: int) -> tuple[TensorInfo, ...]:
        """The tensors with their offsets and sizes.

        llama.cpp requires each to begin where the last ended, and all must lie inside the file.
        """
        placed: dict[str, TensorInfo] = {}
        expected = 0
        for tensor in described:
            if tensor.name in placed:
                raise self._bad(f"duplicate tensor {tensor.name!r:.80}")
            if tensor.offset != expected:
                raise self._bad(f"tensor {tensor.name!r:.80} has offset {tensor.offset}, expected {expected}")
            nbytes = tensor.type.bytes_of(prod(tensor.shape))
            placed[tensor.name] = TensorInfo(tensor.name, tensor.shape, tensor.type, start + tensor.offset, nbytes)
            expected = _padded(tensor.offset + nbytes, alignment)
        end = max((info.offset + info.nbytes for info in placed.values()), default=0)
        if end > self._file.size:
            raise self._bad(f"cut short: {self._file.size:,} of {end:,} bytes")
        return tuple(placed.values())

    def _value(self, key: str) -> Any:
        kind = self._value_type(key)
        if kind is ValueType.STRING:
            return self._text(f"the value of {key!r:.80}")
        if kind is ValueType.ARRAY:
            return self._array(key)
        return self._number(struct.Struct("<" + _FORMATS[kind]))

    def _array(self, key: str) -> _Array:
        items, count = self._value_type(key), self._number(_U64)
        start = self._at
        if format_ := _FORMATS.get(items):
            self._skip(count * struct.calcsize("<" + format_), f"the array {key!r:.80}")
        elif items is ValueType.STRING:
            self._skip_strings(count, key)
        else:
            raise self._bad(f"{key!r:.80} is an array of arrays")
        return _Array(items, count, start)

    def _value_type(self, key: str) -> ValueType:
        number = self._number(_U32)
        try:
            return ValueType(number)
        except ValueError:
            raise self._bad(f"{key!r:.80} has the unknown type {number}") from None

    def _skip_strings(self, count: int, key: str) -> None:
        """Skip `count` strings. A vocabulary has 300,000, so none of them costs a function call."""
        if count > _MAX_STRINGS:
            raise self._bad(f"{count:,} strings in the array {key!r:.80}")
        data, unpack, at, last = self._data, _U64.unpack_from, self._at, len(self._data) - 8
        for _ in range(count):
            if at > last:
                raise self._too_long() if last + 8 < self._end else self._truncated(f"the array {key!r:.80}")
            at += 8 + unpack(data, at)[0]
        self._at = at
        self._skip(0, f"the array {key!r:.80}")

    def _text(self, what: str) -> str:
        length = self._number(_U64)
        start = self._at
        self._skip(length, what)
        return self._data[start : self._at].decode("utf-8", "replace")

    def _number(self, layout: struct.Struct) -> Any:
        start = self._at
        self._skip(layout.size, "a number")
        return layout.unpack_from(self._data, start)[0]

    def _skip(self, count: int, what: str) -> None:
        if self._at + count > self._end:
            raise self._truncated(what)
        self._at += count
        if self._at > _MAX_HEADER_BYTES:
            raise self._too_long()

    def _bad(self, what: str) -> BadGGUF:
        return BadGGUF(f"{self._file.path}: {what}; it is damaged or not a complete GGUF")

    def _too_long(self) -> BadGGUF:
        return self._bad(f"a header of more than {_MAX_HEADER_BYTES:,} bytes")

    def _truncated(self, what: str) -> TruncatedGGUF:
        return TruncatedGGUF(f"{self._file.path}: cut short in {what}; it is damaged or not a complete GGUF")


def _padded(offset: int, alignment: int) -> int:
    return offset + -offset % alignment
