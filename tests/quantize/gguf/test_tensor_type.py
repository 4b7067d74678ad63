"""`r1_quantize.gguf.tensor_type`: the table agrees with the library."""

from __future__ import annotations

import ctypes

import pytest

from r1_quantize.binding import function
from r1_quantize.gguf.tensor_type import TensorType


@pytest.mark.parametrize("kind", TensorType, ids=lambda kind: kind.name)
class TestTensorType:
    """Name, block and block size of each type are ggml's."""

    def test_name(self, kind: TensorType) -> None:
        name = function("ggml_type_name", [ctypes.c_int], ctypes.c_char_p)(kind)
        assert name.decode().upper() == kind.name

    def test_block(self, kind: TensorType) -> None:
        assert function("ggml_blck_size", [ctypes.c_int], ctypes.c_int64)(kind) == kind.block

    def test_size(self, kind: TensorType) -> None:
        row_size = function("ggml_row_size", [ctypes.c_int, ctypes.c_int64], ctypes.c_size_t)
        assert row_size(kind, 3 * kind.block) == kind.bytes_of(3 * kind.block)
