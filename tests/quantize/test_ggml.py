"""`r1_quantize.ggml`: rows in, blocks out, in order and from many threads."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from r1_quantize.errors import BadFile
from r1_quantize.ggml import Conversion, Piece, Quantizer, default_threads
from r1_quantize.gguf.tensor_type import TensorType
from tests.fakes.checkpoints import weights

F32, F16, BF16, Q8_0 = TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.Q8_0


def pieces(conversion: Conversion, data: bytes) -> Iterator[Piece[int]]:
    """Splits `data` into pieces of the right number of rows; each is tagged with its first row."""
    row = conversion.source.bytes_of(conversion.columns)
    for first in range(0, len(data) // row, conversion.rows_at_once):
        part = data[first * row : (first + conversion.rows_at_once) * row]
        yield Piece(conversion, len(part) // row, reading(part), first)


def reading(data: bytes) -> Callable[[memoryview], None]:
    """Reads these bytes."""

    def read(target: memoryview) -> None:
        assert len(target) == len(data)
        target[:] = data

    return read


def convert(conversion: Conversion, data: bytes, threads: int = 2) -> bytes:
    """The complete result."""
    with Quantizer(threads) as quantizer:
        parts = quantizer.convert(pieces(conversion, data), conversion.values_at_once)
        return b"".join(bytes(part) for _, part in parts)


class TestConvert:
    """Values are converted to the target type, in order."""

    def test_bf16_becomes_f32_exactly(self) -> None:
        bits = np.array([b for b in range(1 << 16) if b & 0x7F80 != 0x7F80], "<u2")  # all that are finite
        conversion = Conversion("x", 2, BF16, F32)
        assert convert(conversion, bits.tobytes()) == (bits.astype("<u4") << 16).tobytes()

    def test_f16_becomes_f32_exactly(self) -> None:
        bits = np.array([b for b in range(1 << 16) if b & 0x7C00 != 0x7C00], "<u2")
        conversion = Conversion("x", 2, F16, F32)
        assert convert(conversion, bits.tobytes()) == bits.view("<f2").astype("<f4").tobytes()

    def test_f32_becomes_f16_rounded_to_even(self) -> None:
        values = np.array([1 + 2**-11, 1 + 3 * 2**-11, 65519, 1e-8, 2**-25, -0.0, 0.1, -2049], "<f4")
        expected = values.astype("<f2").tobytes()
        assert convert(Conversion("x", 8, F32, F16), values.tobytes()) == expected

    @pytest.mark.parametrize("threads", [1, 2, 7])
    @pytest.mark.parametrize(("rows", "columns"), [(1, 32), (700, 2048), (3, 1 << 19)])
    def test_q8_0_is_the_formula(self, rows: int, columns: int, threads: int) -> None:
        values = weights("x", (rows, columns))
        conversion = Conversion("x", columns, F32, Q8_0)
        assert convert(conversion, values.tobytes(), threads) == q8_0(values)

    def test_the_same_type_is_copied(self) -> None:
        data = weights("x", (4, 8)).tobytes()
        assert convert(Conversion("x", 8, F32, F32), data) == data

    @pytest.mark.parametrize("threads", [1, 3])
    def test_pieces_of_many_tensors_come_back_in_order(self, threads: int) -> None:
        tensors = [weights(str(columns), (3, columns)).reshape(3, -1) for columns in (32, 1 << 19, 64, 96)]
        jobs = [(Conversion("x", values.shape[1], F32, Q8_0), values) for values in tensors]
        work = (piece for conversion, values in jobs for piece in pieces(conversion, values.tobytes()))
        with Quantizer(threads) as quantizer:
            parts = b"".join(bytes(part) for _, part in quantizer.convert(work, 1 << 19))
        assert parts == b"".join(map(q8_0, tensors))

    def test_reads_only_as_far_ahead_as_there_are_buffers(self) -> None:
        conversion, seen = Conversion("x", 1 << 18, F32, Q8_0), []

        def read(target: memoryview) -> None:
            target[:] = bytes(len(target))
            seen.append(len(target))

        with Quantizer(2) as quantizer:
            parts = quantizer.convert((Piece(conversion, 1, read, None) for _ in range(64)), 1 << 18)
            for taken in range(5):
                next(parts)
                assert len(seen) <= taken + 1 + 4

    @pytest.mark.parametrize(("source", "per_value"), [(BF16, 2), (F32, 4)])
    def test_rows_of_heads_are_interleaved_like_torch(self, source: TensorType, per_value: int) -> None:
        heads, rows, columns = 3, 8, 5
        values = np.arange(heads * rows * columns, dtype="<f4").reshape(heads * rows, columns)
        data = values.tobytes() if source is F32 else (values.view("<u4") >> 16).astype("<u2").tobytes()
        expected = values.reshape(heads, 2, rows // 2, columns).swapaxes(1, 2)
        assert len(data) == values.size * per_value
        assert convert(Conversion("x", columns, source, F32, head_rows=rows), data) == expected.tobytes()

    def test_heads_larger_than_a_piece_are_not_split(self) -> None:
        rows, columns = 64, 1 << 13
        values = weights("x", (2 * rows, columns))
        conversion = Conversion("x", columns, F32, Q8_0, head_rows=rows)
        expected = values.reshape(2, 2, rows // 2, columns).swapaxes(1, 2).reshape(values.shape)
        assert convert(conversion, values.tobytes()) == q8_0(expected)

    def test_an_importance_matrix_makes_a_difference(self) -> None:
        data = weights("x", (4, 256))[::-1].tobytes()
        plain = convert(Conversion("x", 256, F32, TensorType.Q4_K), data)
        weighted = Conversion("x", 256, F32, TensorType.Q4_K, imatrix=array("f", [1e-3] * 128 + [1e3] * 128))
        assert convert(weighted, data) != plain

    @pytest.mark.parametrize("source", [Q8_0, TensorType.Q4_0])
    def test_blocks_become_f32_by_their_formula(self, source: TensorType) -> None:
        values = weights("x", (4, 64))
        blocks = convert(Conversion("x", 64, F32, source), values.tobytes())
        widened = np.frombuffer(convert(Conversion("x", 64, source, F32), blocks), "<f4").reshape(-1, 32)
        raw = np.frombuffer(blocks, "u1").reshape(-1, source.block_bytes)
        scale = raw[:, :2].copy().view("<f2").astype("<f4")
        low_then_high = np.hstack([raw[:, 2:] & 15, raw[:, 2:] >> 4]).astype("i1") - 8
        steps = raw[:, 2:].view("i1") if source is Q8_0 else low_then_high
        assert (widened == scale * steps).all()


class TestNotFinite:
    """A value that is not finite, or not finite in the target type, is refused with the tensor's name."""

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("target", [F32, Q8_0])
    @pytest.mark.parametrize("narrow", [lambda v: v, lambda v: (v.view("<u4") >> 16).astype("<u2")])
    def test_in_the_source(self, value: float, target: TensorType, narrow: Callable[..., NDArray]) -> None:
        values = weights("x", (2, 64))
        values[77] = value
        data = narrow(values)
        conversion = Conversion("model.x", 64, F32 if data.itemsize == 4 else BF16, target)
        with pytest.raises(BadFile, match=r"model\.x: a value is NaN, infinite"):
            convert(conversion, data.tobytes())

    @pytest.mark.parametrize("target", [F16, Q8_0])
    def test_in_the_result(self, target: TensorType) -> None:
        values = np.full(32, 1e20, "<f4")
        with pytest.raises(BadFile, match=f"too large for {target.name}"):
            convert(Conversion("model.x", 32, F32, target), values.tobytes())


class TestFailures:
    """An error while reading is raised to the caller."""

    def test_of_reading(self) -> None:
        def read(target: memoryview) -> None:
            raise BadFile("gone")

        with Quantizer(2) as quantizer, pytest.raises(BadFile, match="gone"):
            list(quantizer.convert([Piece(Conversion("x", 32, F32, Q8_0), 4, read, None)], 128))

    def test_leaving_early_waits_only_for_pieces_in_progress(self) -> None:
        conversion = Conversion("x", 1 << 18, F32, Q8_0)
        endless = (Piece(conversion, 1, reading(bytes(1 << 20)), None) for _ in range(1 << 30))
        with Quantizer(2) as quantizer:
            next(quantizer.convert(endless, 1 << 18))


def test_one_thread_per_core_this_process_may_use() -> None:
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
