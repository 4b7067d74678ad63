"""`r1_quantize.gguf.tensor_type`: the table equals those of ggml and the gguf package."""

from __future__ import annotations

import ctypes

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from r1_quantize.binding import function
from r1_quantize.gguf.tensor_type import TensorType


@pytest.mark.parametrize("kind", TensorType, ids=lambda kind: kind.name)
class TestLibrary:
    """Name, block and block size of each type equal the library's."""

    def test_name(self, kind: TensorType) -> None:
        name = function("ggml_type_name", [ctypes.c_int], ctypes.c_char_p)(kind)
        assert name.decode().upper() == kind.name

    def test_block(self, kind: TensorType) -> None:
        assert function("ggml_blck_size", [ctypes.c_int], ctypes.c_int64)(kind) == kind.block

    def test_size(self, kind: TensorType) -> None:
        row_size = function("ggml_row_size", [ctypes.c_int, ctypes.c_int64], ctypes.c_size_t)
        assert row_size(kind, 3 * kind.block) == kind.bytes_of(3 * kind.block)


def test_gguf_has_the_same_numbers_and_block_sizes() -> None:
    theirs = {kind.name: (int(kind), *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    assert theirs.pop("Q8_1") == (9, 32, 40)  # gguf 0.19 is wrong here: ggml has 36, as `TestLibrary` shows
    ours = {kind.name: (int(kind), kind.block, kind.block_bytes) for kind in TensorType}
    assert theirs == {name: ours[name] for name in theirs}
