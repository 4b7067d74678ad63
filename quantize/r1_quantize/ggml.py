"""The quantization kernels inside llama.cpp's library, on as many threads as there are cores.

A tensor goes through in pieces of whole rows: read, widened to F32, quantized, checked, handed back in order.
The kernels release the GIL; memory is a fixed number of buffers, however large the tensor.

Knows: ggml_quantize_chunk and its neighbours in ggml.h, and that a failed GGML_ASSERT ends the process:
everything is checked before a call. Does not know: files or recipes.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from r1_quantize.binding import function
from r1_quantize.errors import BadCheckpoint
from r1_quantize.tensor_type import TensorType

PIECE = 1 << 18  # values in a piece, unless a row is longer; small enough for a core's cache

Read = Callable[[int, memoryview], None]
"""Fills a view with a tensor's bytes, from an offset within the tensor."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is to happen to one tensor: `rows` × `columns` values from type `source` to type `target`."""

    label: str  # for messages
    rows: int
    columns: int
    source: TensorType  # F32, F16 or BF16
    target: TensorType


def default_threads() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Kernels:
    """The functions themselves; every one takes addresses of memory its caller has made large enough."""

    def __init__(self) -> None:
        address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
        kind = ctypes.c_int
        self._quantize = function(
            "ggml_quantize_chunk", [kind, address, address, number, number, number, address], size
        )
        self._valid = function("ggml_validate_row_data", [kind, address, size], ctypes.c_bool)
        self._init = function("ggml_quantize_init", [kind], None)
        self._widen: dict[TensorType, Any] = {
            TensorType.F16: function("ggml_fp16_to_fp32_row", [address, address, number], None),
            TensorType.BF16: function("ggml_bf16_to_fp32_row", [address, address, number], None),
        }

    def prepare(self, target: TensorType) -> None:
        """Build the tables of a type, once, before several threads want them at the same time."""
        self._init(target)

    def widen(self, source: TensorType, raw: int, wide: int, values: int) -> None:
        """F16 or BF16 → F32, exactly."""
        self._widen[source](raw, wide, values)

    def quantize(self, target: TensorType, wide: int, out: int, rows: int, columns: int) -> None:
        """F32 rows → blocks. `columns` is a multiple of the target's block."""
        assert columns % target.block == 0
        written = self._quantize(target, wide, out, 0, rows, columns, None)
        assert written == target.bytes_of(rows * columns)

    def finite(self, kind: TensorType, data: int, nbytes: int) -> bool:
        """Whether no value, or no block's scale, is NaN or infinite."""
        return bool(self._valid(kind, data, nbytes))


class _Buffers:
    """What one piece needs: its bytes as they were read, as F32, and as they will be written."""

    def __init__(self, values: int) -> None:
        self.raw = ctypes.create_string_buffer(4 * values)
        self.wide = ctypes.create_string_buffer(4 * values)
        self.out = ctypes.create_string_buffer(4 * values)


class Quantizer:
    """The kernels and the threads that run them. Use it as a context manager."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()
        self._kernels = Kernels()
        self._pool = ThreadPoolExecutor(self.threads)
        self._free: list[_Buffers] = []
        self._values = 0  # how many values the buffers in `_free` are made for

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def convert(self, conversion: Conversion, read: Read) -> Iterator[memoryview]:
        """The tensor's bytes in the target type, piece by piece; a piece is valid until the next is asked
        for.

        Raises BadCheckpoint when a value is NaN or infinite, and whatever `read` raises.
        """
        self._kernels.prepare(conversion.target)
        rows = max(1, PIECE // conversion.columns)
        self._make_room(rows * conversion.columns)
        pending: deque[Future[tuple[_Buffers, memoryview]]] = deque()
        for first in range(0, conversion.rows, rows):
            if not self._free:
                yield from self._next(pending)
            count = min(rows, conversion.rows - first)
            pending.append(self._pool.submit(self._piece, conversion, read, first, count, self._free.pop()))
        while pending:
            yield from self._next(pending)

    def _make_room(self, values: int) -> None:
        if values > self._values:
            self._values = values
            self._free = [_Buffers(values) for _ in range(self.threads + 1)]

    def _next(self, pending: deque[Future[tuple[_Buffers, memoryview]]]) -> Iterator[memoryview]:
        buffers, piece = pending.popleft().result()
        yield piece
        self._free.append(buffers)

    def _piece(
        self, conversion: Conversion, read: Read, first: int, rows: int, buffers: _Buffers
    ) -> tuple[_Buffers, memoryview]:
        source, target = conversion.source, conversion.target
        values = rows * conversion.columns
        raw, wide, out = map(ctypes.addressof, (buffers.raw, buffers.wide, buffers.out))
        nbytes = source.bytes_of(values)
        read(source.bytes_of(first * conversion.columns), memoryview(buffers.raw).cast("B")[:nbytes])
        self._check(conversion.label, source, raw, nbytes)
        if source is target:
            return buffers, memoryview(buffers.raw).cast("B")[:nbytes]
        if source is not TensorType.F32:
            self._kernels.widen(source, raw, wide, values)
            raw = wide
        self._kernels.quantize(target, raw, out, rows, conversion.columns)
        nbytes = target.bytes_of(values)
        self._check(conversion.label, target, out, nbytes)
        return buffers, memoryview(buffers.out).cast("B")[:nbytes]

    def _check(self, label: str, kind: TensorType, data: int, nbytes: int) -> None:
        if not self._kernels.finite(kind, data, nbytes):
            raise BadCheckpoint(f"{label}: it holds a value that is NaN, infinite or too large for {kind.name}")
