"""The key–value pairs at the head of a GGUF: their types, and their bytes on the way out.

Knows: enum gguf_type and the encodings of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version
3, little-endian). Does not know: which keys a model needs (`architecture`, `vocab`), or how they are read
(`reader`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ValueType(IntEnum):
    """The type of a value, or of the items of an array."""

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


SCALARS: dict[ValueType, str] = {
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
"""The `struct` letter of each type of fixed size; all are little-endian."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One pair: `value` holds type number and value, as they stand in the file after the key."""

    key: str
    value: bytes

    def encode(self) -> bytes:
        """The pair as it stands in the file."""
        return encode_text(self.key) + self.value


def encode_text(text: str) -> bytes:
    """A string as it stands in the file: its length in bytes as 64 bits, then UTF-8."""
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def uint32(key: str, value: int) -> Entry:
    """An entry holding an unsigned number of 32 bits; struct.error when it does not fit."""
    return Entry(key, struct.pack("<II", ValueType.UINT32, value))


def int32(key: str, value: int) -> Entry:
    """An entry holding a signed number of 32 bits; struct.error when it does not fit."""
    return Entry(key, struct.pack("<Ii", ValueType.INT32, value))


def float32(key: str, value: float) -> Entry:
    """An entry holding a float of 32 bits; OverflowError when it does not fit."""
    return Entry(key, struct.pack("<If", ValueType.FLOAT32, value))


def boolean(key: str, value: bool) -> Entry:
    """An entry holding true or false."""
    return Entry(key, struct.pack("<I?", ValueType.BOOL, value))


def string(key: str, value: str) -> Entry:
    """An entry holding a string; UnicodeEncodeError when it has lone surrogates."""
    return Entry(key, struct.pack("<I", ValueType.STRING) + encode_text(value))


def strings(key: str, values: Sequence[str]) -> Entry:
    """An entry holding an array of strings."""
    return Entry(key, _array(ValueType.STRING, len(values)) + b"".join(map(encode_text, values)))


def int32s(key: str, values: Sequence[int]) -> Entry:
    """An entry holding an array of signed numbers of 32 bits."""
    return Entry(key, _array(ValueType.INT32, len(values)) + struct.pack(f"<{len(values)}i", *values))


def single(value: float) -> float:
    """The nearest number of single precision; OverflowError when there is none."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _array(items: ValueType, count: int) -> bytes:
    return struct.pack("<IIQ", ValueType.ARRAY, items, count)
