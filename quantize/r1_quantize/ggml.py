"""Runs the quantization kernels of llama.cpp's library on as many threads as there are cores.

Pieces of complete rows are read one after the other, widened to F32, quantized and checked on many threads, and
returned in order. The kernels release the GIL. Memory is a fixed number of buffers, however large the tensors.

A failed GGML_ASSERT in a kernel (ggml_quantize_chunk and others in ggml.h) ends the process, so everything is checked
before a call.
"""

from __future__ import annotations

import ctypes
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from r1_quantize.binding import function
from r1_quantize.errors import BadValue
from r1_quantize.gguf.tensor_type import WITH_TABLES, TensorType

_PIECE_VALUES = 1 << 18  # unless a row is longer; small enough for a core's cache
_BUFFER_BYTES = 256 << 20  # for all buffers together, unless one piece is larger

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Conversion:
    """Converts rows of `columns` values from type `source` to type `target`.

    With `head_rows`, the rows form heads of that many rows, and in each head the rows of the first half are interleaved
    with those of the second. `imatrix` has one number per column.
    """

    label: str  # for messages
    columns: int
    source: TensorType
    target: TensorType
    head_rows: int = 0
    imatrix: array[float] | None = None

    @property
    def rows_at_once(self) -> int:
        """Rows in a piece."""
        rows = max(1, _PIECE_VALUES // self.columns)
        return max(1, rows // self.head_rows) * self.head_rows if self.head_rows else rows

    @property
    def values_at_once(self) -> int:
        """Values in a piece."""
        return self.rows_at_once * self.columns


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """Some complete rows. `read` fills a view with their bytes; `tag` belongs to the caller."""

    conversion: Conversion
    rows: int
    read: Callable[[memoryview], None]
    tag: T

    @property
    def nbytes(self) -> int:
        """The size in the source type."""
        return self.conversion.source.bytes_of(self.rows * self.conversion.columns)


def default_threads() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Traits(ctypes.Structure):
    """struct ggml_type_traits."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float_ref", ctypes.c_void_p),
    )


class Kernels:
    """The C functions. They take addresses of memory that the caller has made large enough."""

    def __init__(self) -> None:
        address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
        kind = ctypes.c_int
        self._quantize = function(
            "ggml_quantize_chunk", [kind, address, address, number, number, number, address], size
        )
        self._valid = function("ggml_validate_row_data", [kind, address, size], ctypes.c_bool)
        self._init = function("ggml_quantize_init", [kind], None)
        self._traits = function("ggml_get_type_traits", [kind], ctypes.POINTER(_Traits))
        self._widen: dict[TensorType, Any] = {
            TensorType.F16: function("ggml_fp16_to_fp32_row", [address, address, number], None),
            TensorType.BF16: function("ggml_bf16_to_fp32_row", [address, address, number], None),
        }

    def prepare(self, target: TensorType) -> None:
        """Compute the lookup tables of a type, once per process."""
        self._init(target)

    def widen(self, source: TensorType, raw: int, wide: int, values: int) -> None:
        """Any type but F32 → F32, exactly."""
        convert = self._widen.get(source) or self._traits(source).contents.to_float
        convert(raw, wide, values)

    def quantize(self, target: TensorType, wide: int, out: int, rows: int, columns: int, imatrix: int | None) -> None:
        """F32 → `target`; `columns` is a whole number of its blocks, and `imatrix` as many floats or None."""
        written = self._quantize(target, wide, out, 0, rows, columns, imatrix)
        assert written == target.bytes_of(rows * columns)

    def finite(self, kind: TensorType, data: int, nbytes: int) -> bool:
        """True when every value, or every scale of a block, is finite."""
        return bool(self._valid(kind, data, nbytes))


class _Buffers:
    """The buffers for one piece: its bytes as read, as F32, and as they will be written."""

    def __init__(self, values: int) -> None:
        self.raw, self.wide, self.out = (ctypes.create_string_buffer(4 * values) for _ in range(3))


class Quantizer:
    """Runs the kernels on threads. Use it as a context manager."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()
        self._kernels = Kernels()
        self._pool = ThreadPoolExecutor(self.threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def prepare(self, target: TensorType) -> None:
        """Compute the lookup tables of a type, before several threads need them."""
        self._kernels.prepare(target)

    def convert(self, pieces: Iterable[Piece[T]], values: int) -> Iterator[tuple[Piece[T], memoryview]]:
        """Each piece with its bytes in the target type, in order. The bytes are valid until the next piece.

        The target types must be prepared, and no piece may hold more than `values` values. The pieces are read on this
        thread, only a few ahead of the results. Raises BadValue when a value is NaN, infinite or too large, and
        any error of `Piece.read`.
        """
        count = min(self.threads + 2, max(1, _BUFFER_BYTES // (3 * 4 * values)))
        free = [_Buffers(values) for _ in range(count)]
        pending: deque[tuple[Piece[T], Future[tuple[_Buffers, memoryview]]]] = deque()
        for piece in pieces:
            if not free:
                yield from self._oldest(pending, free)
            buffers = free.pop()
            piece.read(memoryview(buffers.raw).cast("B")[: piece.nbytes])
            pending.append((piece, self._pool.submit(self._convert, piece, buffers)))
        while pending:
            yield from self._oldest(pending, free)

    def _oldest(
        self, pending: deque[tuple[Piece[T], Future[tuple[_Buffers, memoryview]]]], free: list[_Buffers]
    ) -> Iterator[tuple[Piece[T], memoryview]]:
        piece, future = pending.popleft()
        buffers, data = future.result()
        yield piece, data
        free.append(buffers)

    def _convert(self, piece: Piece[T], buffers: _Buffers) -> tuple[_Buffers, memoryview]:
        conversion, nbytes = piece.conversion, piece.nbytes
        source, target, columns = conversion.source, conversion.target, conversion.columns
        if conversion.head_rows:
            _interleave(buffers, conversion.head_rows, nbytes // piece.rows, nbytes)
        raw, wide, out = map(ctypes.addressof, (buffers.raw, buffers.wide, buffers.out))
        self._check(conversion.label, source, source, raw, nbytes)
        if source is target:
            return buffers, memoryview(buffers.raw).cast("B")[:nbytes]
        if source is not TensorType.F32:
            self._kernels.widen(source, raw, wide, piece.rows * columns)
            raw = wide
        if target in WITH_TABLES:  # their kernels abort the process at values of 1e13; Q8_0's scale overflows at 8e6
            self._kernels.quantize(TensorType.Q8_0, raw, out, piece.rows, columns, None)
            self._check(conversion.label, target, TensorType.Q8_0, out, TensorType.Q8_0.bytes_of(piece.rows * columns))
        weights = conversion.imatrix.buffer_info()[0] if conversion.imatrix else None
        self._kernels.quantize(target, raw, out, piece.rows, columns, weights)
        nbytes = target.bytes_of(piece.rows * columns)
        self._check(conversion.label, target, target, out, nbytes)
        return buffers, memoryview(buffers.out).cast("B")[:nbytes]

    def _check(self, label: str, wanted: TensorType, kind: TensorType, data: int, nbytes: int) -> None:
        if not self._kernels.finite(kind, data, nbytes):
            raise BadValue(f"{label}: a value is NaN, infinite or too large for {wanted.name}")


def _interleave(buffers: _Buffers, head_rows: int, row: int, nbytes: int) -> None:
    """Reorder the `head_rows` rows of `row` bytes in each head to 0, h/2, 1, h/2 + 1, …"""
    source, target = memoryview(buffers.raw).cast("B"), memoryview(buffers.out).cast("B")
    half = head_rows // 2 * row
    for head in range(0, nbytes, 2 * half):
        for step in range(0, half, row):
            first, to = head + step, head + 2 * step
            target[to : to + row] = source[first : first + row]
            target[to + row : to + 2 * row] = source[first + half : first + half + row]
    buffers.raw, buffers.out = buffers.out, buffers.raw
