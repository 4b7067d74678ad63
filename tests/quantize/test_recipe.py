"""`r1_quantize.recipe`: which type each tensor gets. Whole files are compared in test_identity."""

from __future__ import annotations

import ctypes

import pytest

from r1_quantize.architecture import Weight, architecture_of
from r1_quantize.binding import function
from r1_quantize.errors import UsageError
from r1_quantize.recipe import RECIPES, in_file_order, recipe_for, type_of
from r1_quantize.tensor_type import TensorType
from tests.fakes.checkpoints import Shape
from tests.quantize.test_catalog import CONFIGS


class TestRecipeFor:
    """A recipe is found by its name, in any case."""

    @pytest.mark.parametrize("quant", ["Q4_K_M", "q4_k_m", "Q4_k_M"])
    def test_in_any_case(self, quant: str) -> None:
        assert recipe_for(quant) is RECIPES["Q4_K_M"]

    @pytest.mark.parametrize("quant", ["Q9_K", "", "Q4_K_M ", "x" * 1000])
    def test_an_unknown_one_is_refused_with_the_known_ones(self, quant: str) -> None:
        with pytest.raises(UsageError, match="known are F32, F16, BF16, Q8_0, Q4_K_M") as caught:
            recipe_for(quant)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("quant", RECIPES)
    def test_llama_cpp_calls_the_number_by_that_name(self, quant: str) -> None:
        name = function("llama_ftype_name", [ctypes.c_int], ctypes.c_char_p)(RECIPES[quant].number)
        assert quant in name.decode().replace(" - Medium", "_M")


class TestTypes:
    """The rules of llama-quant.cpp, as read there."""

    def types(self, name: str, quant: str) -> dict[str, TensorType]:
        architecture = architecture_of(CONFIGS[name])
        recipe = recipe_for(quant)
        return {weight.name: type_of(recipe, weight, architecture, tied=False) for weight in architecture.weights}

    def test_q4_k_m_spends_more_on_the_first_and_last_eighth_and_every_third_between(self) -> None:
        types = self.types("qwen-7b", "Q4_K_M")
        richer = [layer for layer in range(28) if types[f"blk.{layer}.ffn_down.weight"] is TensorType.Q6_K]
        assert richer == [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]
        assert richer == [layer for layer in range(28) if types[f"blk.{layer}.attn_v.weight"] is TensorType.Q6_K]

    @pytest.mark.parametrize("quant", RECIPES)
    def test_norms_and_biases_stay_f32(self, quant: str) -> None:
        types = self.types("qwen-1.5b", quant)
        kept = [kind for name, kind in types.items() if "norm" in name or name.endswith("bias")]
        assert len(kept) == 1 + 5 * 28
        assert set(kept) == {TensorType.F32}

    @pytest.mark.parametrize(
        ("columns", "expected"), [(512, TensorType.Q4_K), (96, TensorType.Q5_0), (80, TensorType.F16)]
    )
    def test_rows_that_fill_no_whole_blocks_fall_back(self, columns: int, expected: TensorType) -> None:
        weight = Weight("blk.0.ffn_up.weight", "", (8, columns))
        assert type_of(recipe_for("Q4_K_M"), weight, architecture_of(Shape().config), tied=False) is expected

    @pytest.mark.parametrize(("tied", "expected"), [(True, TensorType.Q6_K), (False, TensorType.Q4_K)])
    def test_a_token_embedding_that_is_the_output_too_gets_the_outputs_type(
        self, tied: bool, expected: TensorType
    ) -> None:
        weight = Weight("token_embd.weight", "", (320, 256))
        assert type_of(recipe_for("Q4_K_M"), weight, architecture_of(Shape().config), tied=tied) is expected


class TestOrder:
    """Quantized files are ordered by layer and name, others as the checkpoint is."""

    WEIGHTS = tuple(
        Weight(name, "", (1,)) for name in ("blk.10.b", "token_embd.weight", "blk.2.b", "blk.2.a", "output.weight")
    )

    def test_of_a_quantized_file(self) -> None:
        ordered = [weight.name for weight in in_file_order(recipe_for("Q8_0"), self.WEIGHTS)]
        assert ordered == ["output.weight", "token_embd.weight", "blk.2.a", "blk.2.b", "blk.10.b"]

    def test_of_plain_floats(self) -> None:
        assert in_file_order(recipe_for("BF16"), self.WEIGHTS) == list(self.WEIGHTS)
