"""`r1_quantize.plan`: types, offsets and metadata of the result.

test_identity.py compares complete files with llama.cpp's.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.checkpoint_source import checkpoint_source
from r1_quantize.errors import BadFile, UsageError
from r1_quantize.gguf import metadata
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.gguf_source import gguf_source
from r1_quantize.imatrix import Imatrix
from r1_quantize.plan import ConversionPlan, extents_of, padded, plan, recipe_needs_imatrix, size_of
from r1_quantize.recipe import COPY, RECIPES, Override
from r1_quantize.source import Source


@pytest.fixture(scope="module")
def source(fake: Path) -> Source:
    """The artificial checkpoint. Tests only read it."""
    return checkpoint_source(CheckpointFolder(fake), "fake")


def keys(source: Source, planned: ConversionPlan) -> list[str]:
    """The keys of the source that are in the planned header, in the header's order."""
    found = {entry.key: planned.header.find(metadata.string(entry.key, "").data[:-12]) for entry in source.entries}
    return sorted((key for key, at in found.items() if at >= 0), key=found.__getitem__)


class TestLayout:
    """Tensors follow the header and each other at multiples of 32 bytes."""

    @pytest.mark.parametrize("quant", ["F32", "BF16", "Q8_0", "Q4_K_M"])
    def test_offsets_are_aligned_and_without_gaps(self, source: Source, quant: str) -> None:
        planned = plan(source, RECIPES[quant])
        end = len(planned.header)
        for tensor in planned.tensors:
            assert tensor.offset == end
            assert tensor.offset % 32 == 0
            end += tensor.nbytes + -tensor.nbytes % 32
        assert planned.size == end

    @pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 32), (31, 32), (32, 32), (33, 64)])
    def test_padded(self, count: int, expected: int) -> None:
        assert padded(count) == expected

    def test_plain_floats_keep_the_order_of_the_checkpoint(self, source: Source) -> None:
        planned = plan(source, RECIPES["F16"])
        assert [tensor.name for tensor in planned.tensors] == [tensor.name for tensor in source.tensors]

    def test_quantized_tensors_are_in_the_order_of_llama_cpps_quantizer(self, source: Source) -> None:
        names = [tensor.name for tensor in plan(source, RECIPES["Q8_0"]).tensors]
        assert names[:4] == ["output.weight", "output_norm.weight", "token_embd.weight", "blk.0.attn_k.bias"]

    def test_storage_keys_stay_in_place_for_plain_floats_and_come_last_otherwise(self, source: Source) -> None:
        storage = ["general.quantization_version", "general.file_type"]
        assert keys(source, plan(source, RECIPES["BF16"])) == [entry.key for entry in source.entries]
        assert keys(source, plan(source, RECIPES["Q8_0"]))[-2:] == storage


class TestTypes:
    """Matrices get the recipe's type, all others their default type."""

    def test_of_a_checkpoint(self, source: Source) -> None:
        types = {tensor.name: tensor.type for tensor in plan(source, RECIPES["Q8_0"]).tensors}
        assert types["blk.0.ffn_up.weight"] is TensorType.Q8_0
        assert types["blk.0.attn_norm.weight"] is types["blk.0.attn_q.bias"] is TensorType.F32

    def test_of_an_override(self, source: Source) -> None:
        planned = plan(source, RECIPES["Q8_0"], overrides=[Override.parse("ffn_up=Q4_0")])
        types = {tensor.name: tensor.type for tensor in planned.tensors}
        assert types["blk.1.ffn_up.weight"] is TensorType.Q4_0
        assert types["blk.1.ffn_down.weight"] is TensorType.Q8_0

    def test_a_copy_keeps_every_type(self, gguf: Path) -> None:
        source = gguf_source(gguf)
        planned = plan(source, COPY)
        assert {tensor.name: tensor.type for tensor in planned.tensors} == {t.name: t.type for t in source.tensors}


class TestSizes:
    """The sizes a recipe would give are those of its plan."""

    @pytest.mark.parametrize("quant", ["F32", "Q8_0", "Q4_K_M", "Q3_K_S"])
    def test_equal_the_plan(self, source: Source, quant: str) -> None:
        planned = plan(source, RECIPES[quant])
        size, bits = size_of(source, RECIPES[quant])
        stored = sum(tensor.nbytes for tensor in planned.tensors)
        assert abs(size - planned.size) < 100  # the header has a few more keys
        assert bits == pytest.approx(8 * stored / sum(tensor.values for tensor in source.tensors))
        assert {extent.name: extent.nbytes for extent in extents_of(source, RECIPES[quant])} == {
            tensor.name: tensor.nbytes for tensor in planned.tensors
        }

    def test_of_a_type_that_needs_an_imatrix_are_known_without_one(self, source: Source) -> None:
        assert recipe_needs_imatrix(source, RECIPES["IQ2_XS"])
        assert size_of(source, RECIPES["IQ2_XS"])[0] < size_of(source, RECIPES["Q3_K_S"])[0]


class TestRefused:
    """A plan that cannot be carried out is refused in one line."""

    def test_a_missing_imatrix(self, source: Source) -> None:
        with pytest.raises(UsageError, match=r"needs an importance matrix; pass --imatrix FILE, or choose Q2_K$"):
            plan(source, RECIPES["IQ2_XS"])

    def test_an_imatrix_of_another_model(self, source: Source) -> None:
        weights = {"blk.0.ffn_up.weight": array("f", [1.0] * 7)}
        imatrix = Imatrix(Path("x.imatrix"), "0" * 64, weights, None, 0)
        with pytest.raises(BadFile, match=r"x\.imatrix: 7 weights for blk\.0\.ffn_up\.weight, which has 256 columns"):
            plan(source, RECIPES["Q4_K_M"], imatrix=imatrix)

    def test_quantizing_again(self, gguf: Path) -> None:
        source = gguf_source(gguf)
        with pytest.raises(UsageError, match="is already Q8_0, and its lost precision does not come back"):
            plan(source, RECIPES["Q4_0"])
        assert plan(source, RECIPES["Q4_0"], allow_requantize=True).size < plan(source, COPY).size

    def test_an_override_without_effect(self, source: Source) -> None:
        with pytest.raises(UsageError, match=r"--tensor-type blk\.9=Q4_0: matches no matrix of this model"):
            plan(source, RECIPES["Q8_0"], overrides=[Override.parse("blk.9=Q4_0")])
        with pytest.raises(UsageError, match="--tensor-type has no effect on F16; it works with Q8_0"):
            plan(source, RECIPES["F16"], overrides=[Override.parse("ffn_up=Q4_0")])

    def test_copying_a_checkpoint(self, source: Source) -> None:
        with pytest.raises(UsageError, match="is a checkpoint, and COPY works only on a GGUF"):
            plan(source, COPY)

    def test_absurdly_long_rows(self, source: Source) -> None:
        first, *rest = source.tensors
        long = replace(first, name="blk.0.ffn_up.weight", shape=(1, (1 << 23) + 256), label="x: long")
        with pytest.raises(BadFile, match="x: long: rows of 8,388,864 values are longer than any known model's"):
            plan(replace(source, tensors=(long, *rest)), RECIPES["Q8_0"])
