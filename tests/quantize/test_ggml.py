"""`r1_quantize.ggml`: rows in, blocks out, in order and from many threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from r1_quantize import ggml
from r1_quantize.errors import BadCheckpoint
from r1_quantize.ggml import Conversion, Quantizer, Read, default_threads
from r1_quantize.tensor_type import TensorType
from tests.fakes.checkpoints import weights

F32, F16, BF16, Q8_0 = TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.Q8_0


def reading(data: bytes) -> Read:
    """A tensor whose bytes are `data`."""

    def read(offset: int, target: memoryview) -> None:
        target[:] = data[offset : offset + len(target)]

    return read


def convert(conversion: Conversion, read: Read, threads: int = 2) -> bytes:
    """The whole result."""
    with Quantizer(threads) as quantizer:
        return b"".join(map(bytes, quantizer.convert(conversion, read)))


class TestConvert:
    """Values become the target type, and stay in their order."""

    def test_bf16_becomes_f32_exactly(self) -> None:
        bits = np.array([b for b in range(1 << 16) if b & 0x7F80 != 0x7F80], "<u2")  # all that are finite
        conversion = Conversion("x", len(bits) // 2, 2, BF16, F32)
        assert convert(conversion, reading(bits.tobytes())) == (bits.astype("<u4") << 16).tobytes()

    def test_f16_becomes_f32_exactly(self) -> None:
        bits = np.array([b for b in range(1 << 16) if b & 0x7C00 != 0x7C00], "<u2")
        conversion = Conversion("x", len(bits) // 2, 2, F16, F32)
        assert convert(conversion, reading(bits.tobytes())) == bits.view("<f2").astype("<f4").tobytes()

    def test_f32_becomes_f16_rounded_to_even(self) -> None:
        values = np.array([1 + 2**-11, 1 + 3 * 2**-11, 65519, 1e-8, 2**-25, -0.0, 0.1, -2049], "<f4")
        expected = values.astype("<f2").tobytes()
        assert convert(Conversion("x", 1, 8, F32, F16), reading(values.tobytes())) == expected

    @pytest.mark.parametrize("threads", [1, 2, 7])
    @pytest.mark.parametrize(("rows", "columns"), [(1, 32), (700, 2048), (3, 1 << 19)])
    def test_q8_0_is_the_formula(self, rows: int, columns: int, threads: int) -> None:
        values = weights("x", (rows, columns))
        conversion = Conversion("x", rows, columns, F32, Q8_0)
        assert convert(conversion, reading(values.tobytes()), threads) == q8_0(values)

    def test_the_same_type_is_copied(self) -> None:
        data = weights("x", (4, 8)).tobytes()
        assert convert(Conversion("x", 4, 8, F32, F32), reading(data)) == data

    def test_one_quantizer_takes_tensors_of_any_size(self) -> None:
        with Quantizer(2) as quantizer:
            for columns in (32, 1 << 19, 64):
                values = weights("x", (2, columns))
                pieces = quantizer.convert(Conversion("x", 2, columns, F32, Q8_0), reading(values.tobytes()))
                assert b"".join(map(bytes, pieces)) == q8_0(values)

    def test_no_more_is_read_than_there_are_buffers_for(self) -> None:
        rows, seen = 64, []

        def read(offset: int, target: memoryview) -> None:
            seen.append(offset)

        with Quantizer(2) as quantizer:
            pieces = quantizer.convert(Conversion("x", rows, ggml.PIECE, F32, Q8_0), read)
            for taken in range(5):
                next(pieces)
                assert len(seen) <= taken + 1 + 3


class TestNotFinite:
    """A value that is not finite, or would not be in the target type, is refused with the tensor's name."""

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("target", [F32, Q8_0])
    @pytest.mark.parametrize("narrow", [lambda v: v, lambda v: (v.view("<u4") >> 16).astype("<u2")])
    def test_in_the_source(self, value: float, target: TensorType, narrow: Callable[..., NDArray]) -> None:
        values = weights("x", (2, 64))
        values[77] = value
        data = narrow(values)
        conversion = Conversion("model.x", 2, 64, F32 if data.itemsize == 4 else BF16, target)
        with pytest.raises(BadCheckpoint, match=r"model\.x: it holds a value that is NaN, infinite"):
            convert(conversion, reading(data.tobytes()))

    @pytest.mark.parametrize("target", [F16, Q8_0])
    def test_in_the_result(self, target: TensorType) -> None:
        values = np.full(32, 1e20, "<f4")
        with pytest.raises(BadCheckpoint, match=f"too large for {target.name}"):
            convert(Conversion("model.x", 1, 32, F32, target), reading(values.tobytes()))


class TestFailures:
    """What goes wrong while reading comes out where the pieces are taken."""

    def test_of_reading(self) -> None:
        def read(offset: int, target: memoryview) -> None:
            raise BadCheckpoint("gone")

        with pytest.raises(BadCheckpoint, match="gone"):
            convert(Conversion("x", 4, 32, F32, Q8_0), read)

    def test_leaving_early_waits_for_nothing_but_the_pieces_under_way(self) -> None:
        with Quantizer(2) as quantizer:
            pieces = quantizer.convert(Conversion("x", 1 << 20, ggml.PIECE, F32, Q8_0), lambda *_: None)
            next(pieces)


def test_there_is_a_thread_for_each_core_this_process_may_use() -> None:
    assert default_threads() >= 1


def q8_0(values: NDArray[np.float32]) -> bytes:
    """Q8_0 in plain numpy: a half-precision scale, then 32 bytes, x ≈ scale · byte (ggml-quants.c)."""
    blocks = values.reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, 0, np.float32(1) / scale).astype("<f4")
    scaled = blocks * inverse
    rounded = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype("i1")
    return np.hstack([scale.astype("<f2").view("u1").reshape(-1, 2), rounded.view("u1")]).tobytes()
