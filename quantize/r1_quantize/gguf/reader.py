"""A GGUF's header, read without trusting a byte of it.

Every length, count and offset is checked against the file before it is used, so that a damaged or hostile
file ends in BadGGUF with a line that says what is wrong, never in a crash inside llama.cpp.

Knows: the layout of versions 2 and 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), and that
llama.cpp wants tensors without gaps, in order. Does not know: what the keys mean, or what is in the tensors.
Imports only the standard library.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1_quantize.errors import BadGGUF
from r1_quantize.files import SourceFile
from r1_quantize.gguf.metadata import SCALARS, Entry, ValueType
from r1_quantize.gguf.tensor_type import TensorType

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32  # bytes, where general.alignment is absent
_MAX_DIMENSIONS = 4
_MAX_NAME = 63  # bytes, as llama.cpp has it
_MAX_HEADER, _MAX_TEXTS = 128 << 20, 4 << 20  # bytes, and strings in an array; a vocabulary takes 8 and 0.3 million
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor. `shape` has the row length first, as in the file; `offset` counts from the file's start."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class GGUFFile:
    """The header of one file; `data_offset` is where the first tensor begins, sizes and offsets are bytes."""

    file: SourceFile
    version: int
    metadata: Mapping[str, Any]
    entries: tuple[Entry, ...]  # the same pairs, as they stand in the file
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
    """The header is longer than what is here of the file."""


def read(path: Path) -> GGUFFile:
    """The header of the GGUF at `path`; see `read_file`."""
    return read_file(SourceFile(path, 0))


def read_file(file: SourceFile) -> GGUFFile:
    """The header of a GGUF; arrays in it are decoded only when they are asked for.

    Raises BadGGUF when it is not a GGUF, or contradicts itself; TruncatedGGUF when not all of it is here.
    """
    try:
        with file.open_header() as (beginning, found):
            here = beginning.seek(0, 2)
            if here < 24:
                raise BadGGUF(f"{file.path}: not a GGUF, only {here} bytes long")
            # no more than a header can be: where address space is limited, there may be none for the weights
            with mmap.mmap(beginning.fileno(), min(here, _MAX_HEADER + 8), access=mmap.ACCESS_READ) as data:
                return _Parser(data, found, here).parse()
    except OSError as exc:
        raise BadGGUF(f"{file.path}: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class _Array:
    items: ValueType
    count: int
    start: int
    end: int


class _Metadata(Mapping[str, Any]):
    """Key → value; an array stays bytes until it is asked for."""

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
    if letter := SCALARS.get(array.items):
        return list(struct.unpack_from(f"<{array.count}{letter}", header, array.start))
    texts, at = [], array.start
    for _ in range(array.count):
        (length,) = _U64.unpack_from(header, at)
        at += 8 + length
        texts.append(header[at - length : at].decode("utf-8", "replace"))
    return texts


class _Parser:
    """A position in the file that only ever moves forward, and never past its end."""

    def __init__(self, data: mmap.mmap, file: SourceFile, here: int) -> None:
        self._data = data
        self._file = file
        self._at = 0
        self._end = here

    def parse(self) -> GGUFFile:
        version = self._version()
        tensor_count, entry_count = self._number(_U64), self._number(_U64)
        values: dict[str, Any] = {}
        entries = []
        for _ in range(entry_count):
            key = self._text("a key")
            if key in values:
                raise self._bad(f"the key {key!r:.80} stands twice")
            start = self._at
            values[key] = self._value(key)
            entries.append(Entry(key, self._data[start : self._at]))
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise self._bad(f"an alignment of {alignment!r:.80}")
        infos = [self._tensor() for _ in range(tensor_count)]
        header = self._data[: self._at]
        data_offset = _padded(self._at, alignment)
        tensors = self._placed(infos, data_offset, alignment)
        metadata = _Metadata(values, header)
        return GGUFFile(self._file, version, metadata, tuple(entries), tensors, data_offset, alignment)

    def _version(self) -> int:
        if self._data[:4] != MAGIC:
            raise self._bad("not a GGUF")
        self._at = 4
        version: int = self._number(_U32)
        if version not in (2, 3):
            big_endian = " (a big-endian file?)" if version & 0xFFFF == 0 else ""
            raise self._bad(f"GGUF version {version}{big_endian}; versions 2 and 3 can be read")
        return version

    def _tensor(self) -> tuple[str, tuple[int, ...], TensorType, int]:
        name = self._text("a tensor's name")
        if len(name.encode()) > _MAX_NAME:
            raise self._bad(f"a tensor's name of {len(name.encode()):,} bytes, {name!r:.80}")
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
        return name, shape, kind, self._number(_U64)

    def _placed(
        self, infos: list[tuple[str, tuple[int, ...], TensorType, int]], start: int, alignment: int
    ) -> tuple[TensorInfo, ...]:
        """The tensors with their bounds: each begins where the last ended, and all lie inside the file."""
        placed, expected = {}, 0
        for name, shape, kind, offset in infos:
            if name in placed:
                raise self._bad(f"the tensor {name!r:.80} stands twice")
            if offset != expected:
                raise self._bad(f"tensor {name!r:.80} is said to be at {offset}, not at {expected}")
            values = 1
            for dimension in shape:
                values *= dimension
            placed[name] = TensorInfo(name, shape, kind, start + offset, kind.bytes_of(values))
            expected = _padded(offset + placed[name].nbytes, alignment)
        end = max((info.offset + info.nbytes for info in placed.values()), default=0)
        if end > self._file.size:
            raise self._bad(f"cut short: {end:,} bytes are announced, {self._file.size:,} are there")
        return tuple(placed.values())

    def _value(self, key: str) -> Any:
        kind = self._value_type(key)
        if kind is ValueType.STRING:
            return self._text(f"the value of {key!r:.80}")
        if kind is ValueType.ARRAY:
            return self._array(key)
        return self._number(struct.Struct("<" + SCALARS[kind]))

    def _array(self, key: str) -> _Array:
        items, count = self._value_type(key), self._number(_U64)
        start = self._at
        if letter := SCALARS.get(items):
            self._skip(count * struct.calcsize("<" + letter), f"the array {key!r:.80}")
        elif items is ValueType.STRING:
            self._skip_texts(count, key)
        else:
            raise self._bad(f"{key!r:.80} is an array of arrays")
        return _Array(items, count, start, self._at)

    def _value_type(self, key: str) -> ValueType:
        number = self._number(_U32)
        try:
            return ValueType(number)
        except ValueError:
            raise self._bad(f"{key!r:.80} has the unknown type {number}") from None

    def _skip_texts(self, count: int, key: str) -> None:
        """Past `count` strings. A vocabulary has 300,000 of them, hence no call for each."""
        if count > _MAX_TEXTS:
            raise self._bad(f"{count:,} strings in the array {key!r:.80}")
        data, unpack, at, last = self._data, _U64.unpack_from, self._at, len(self._data) - 8
        for _ in range(count):
            if at > last:
                raise self._too_long() if last + 8 < self._end else self._cut_short(f"the array {key!r:.80}")
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
            raise self._cut_short(what)
        self._at += count
        if self._at > _MAX_HEADER:
            raise self._too_long()

    def _bad(self, what: str) -> BadGGUF:
        return BadGGUF(f"{self._file.path}: {what}; it is damaged or not a whole GGUF")

    def _too_long(self) -> BadGGUF:
        return self._bad(f"a header of more than {_MAX_HEADER:,} bytes")

    def _cut_short(self, what: str) -> TruncatedGGUF:
        return TruncatedGGUF(f"{self._file.path}: cut short in {what}; it is damaged or not a whole GGUF")


def _padded(offset: int, alignment: int) -> int:
    return offset + -offset % alignment
