"""The header of a GGUF we write, encoded by the gguf package's own writer."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from io import BufferedWriter, BytesIO
from math import prod
from typing import Any, cast

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # only gguf needs numpy; threads would take address space

import numpy as np
from gguf.constants import GGUF_MAGIC, GGUF_VERSION, GGMLQuantizationType, GGUFValueType
from gguf.gguf_writer import GGUFWriter, WriterState

from r1_quantize.gguf.reader import Entry
from r1_quantize.gguf.tensor_type import TensorType


def uint32(key: str, value: int) -> Entry:
    """An unsigned 32-bit number. Raises struct.error when it does not fit."""
    return _entry(key, value, GGUFValueType.UINT32)


def int32(key: str, value: int) -> Entry:
    """A signed 32-bit number. Raises struct.error when it does not fit."""
    return _entry(key, value, GGUFValueType.INT32)


def float32(key: str, value: float) -> Entry:
    """A 32-bit float. Raises OverflowError when it does not fit."""
    return _entry(key, value, GGUFValueType.FLOAT32)


def boolean(key: str, value: bool) -> Entry:
    """True or false."""
    return _entry(key, value, GGUFValueType.BOOL)


def string(key: str, value: str) -> Entry:
    """A string. Raises UnicodeEncodeError when it has lone surrogates."""
    return _entry(key, value, GGUFValueType.STRING)


def strings(key: str, values: Sequence[str]) -> Entry:
    """An array of strings, at least one."""
    return _entry(key, values, GGUFValueType.ARRAY)


def int32s(key: str, values: Sequence[int]) -> Entry:
    """An array of signed 32-bit numbers, at least one."""
    return _entry(key, values, GGUFValueType.ARRAY)


def encode_header(entries: Sequence[Entry], tensors: Sequence[tuple[str, tuple[int, ...], TensorType]]) -> bytes:
    """Everything before the first tensor, without padding: counts, `entries`, and name, shape and type of each tensor.

    A shape is (rows, columns) or (values,). The tensors follow each other in this order, each at an aligned offset.
    """
    counts = struct.pack("<IIQQ", GGUF_MAGIC, GGUF_VERSION, len(tensors), len(entries))
    return b"".join((counts, *(entry.data for entry in entries), _tensor_infos(tensors)))


def to_float32(value: float) -> float:
    """The nearest float of single precision. Raises OverflowError when it does not fit."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _entry(key: str, value: Any, kind: GGUFValueType) -> Entry:
    writer = _new_writer()
    writer.add_key_value(key, value, kind)
    return Entry(key, _written(writer, WriterState.HEADER, GGUFWriter.write_kv_data_to_file))


def _tensor_infos(tensors: Iterable[tuple[str, tuple[int, ...], TensorType]]) -> bytes:
    writer, unused = _new_writer(), np.dtype(np.float32)
    for name, shape, kind in tensors:
        ggml_type = cast(GGMLQuantizationType, kind)  # ours knows types that gguf 0.19 does not; it packs the number
        writer.add_tensor_info(name, shape, unused, kind.bytes_of(prod(shape)), ggml_type)
    return _written(writer, WriterState.KV_DATA, GGUFWriter.write_ti_data_to_file)


def _new_writer() -> GGUFWriter:
    return GGUFWriter(None, "")  # an empty architecture adds no entry


def _written(writer: GGUFWriter, state: WriterState, write: Callable[[GGUFWriter], None]) -> bytes:
    """The part of a file that `write` writes when the writer has reached `state`."""
    out = BytesIO()
    writer.fout, writer.state = [cast(BufferedWriter, out)], state
    write(writer)
    return out.getvalue()
