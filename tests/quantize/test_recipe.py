"""`r1_quantize.recipe`: which type each tensor gets. Whole files are compared in test_identity."""

from __future__ import annotations

import ctypes

import pytest

from r1_quantize.binding import function
from r1_quantize.checkpoint.architecture import Weight, architecture_of
from r1_quantize.errors import UsageError
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.recipe import ALIASES, RECIPES, Traits, in_file_order, recipe_for, types_of
from tests.quantize.test_catalog import CONFIGS


class TestRecipeFor:
    """A recipe is found by its name, in any case."""

    @pytest.mark.parametrize("quant", ["Q4_K_M", "q4_k_m", "Q4_k_M"])
    def test_in_any_case(self, quant: str) -> None:
        assert recipe_for(quant) is RECIPES["Q4_K_M"]

    @pytest.mark.parametrize(("short", "long"), ALIASES.items())
    def test_by_the_short_names_of_llama_cpps_tool(self, short: str, long: str) -> None:
        assert recipe_for(short.lower()) is RECIPES[long]

    @pytest.mark.parametrize(
        ("quant", "near"),
        [("Q9_K", "Q6_K"), ("", "Q4_K_M"), ("Q4_K_M ", "Q4_K_M"), ("q4km", "Q4_K_M"), ("x" * 1000, "")],
    )
    def test_an_unknown_one_is_refused_with_what_comes_near(self, quant: str, near: str) -> None:
        with pytest.raises(UsageError, match=rf"did you mean .*{near}.*--list-types shows all") as caught:
            recipe_for(quant)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("quant", RECIPES)
    def test_llama_cpp_calls_the_number_by_that_name(self, quant: str) -> None:
        name = function("llama_ftype_name", [ctypes.c_int], ctypes.c_char_p)(RECIPES[quant].number)
        words = name.decode().replace(" - Medium", "_M").replace(" - Small", "_S").replace(" - Large", "_L")
        assert {"IQ3_M": "IQ3_S mix", "Q2_K": "Q2_K_M"}.get(quant, quant) in words


class TestTypes:
    """The rules of llama-quant.cpp, as read there. Whether all hold everywhere, test_identity asks llama.cpp."""

    def types(self, name: str, quant: str) -> dict[str, TensorType]:
        architecture = architecture_of(CONFIGS[name])
        tensors = in_file_order(architecture.weights)
        return types_of(recipe_for(quant), tensors, architecture.traits(tied=False), imatrix=False)

    def one(self, weight: Weight, quant: str = "Q4_K_M", *, tied: bool = False) -> TensorType:
        traits = Traits(layers=2, heads_per_kv_head=2, is_70b=False, tied=tied)
        return types_of(recipe_for(quant), [weight], traits, imatrix=False)[weight.name]

    def test_q4_k_m_spends_more_on_the_first_and_last_eighth_and_every_third_between(self) -> None:
        types = self.types("qwen-7b", "Q4_K_M")
        richer = [layer for layer in range(28) if types[f"blk.{layer}.ffn_down.weight"] is TensorType.Q6_K]
        assert richer == [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]
        assert richer == [layer for layer in range(28) if types[f"blk.{layer}.attn_v.weight"] is TensorType.Q6_K]

    def test_the_70b_has_more_for_the_values_that_eight_heads_share(self) -> None:
        types = self.types("llama-70b", "Q4_K_M")
        values = {types[f"blk.{layer}.attn_v.weight"] for layer in range(80)}
        assert values == {TensorType.Q5_K, TensorType.Q6_K}

    @pytest.mark.parametrize("quant", RECIPES)
    def test_norms_and_biases_are_no_concern_of_a_recipe(self, quant: str) -> None:
        types = self.types("qwen-1.5b", quant)
        assert not [name for name in types if "norm" in name or name.endswith("bias")]
        assert len(types) == 2 + 7 * 28

    @pytest.mark.parametrize(
        ("columns", "expected"), [(512, TensorType.Q4_K), (96, TensorType.Q5_0), (80, TensorType.F16)]
    )
    def test_rows_that_fill_no_whole_blocks_fall_back(self, columns: int, expected: TensorType) -> None:
        assert self.one(Weight("blk.0.ffn_up.weight", "", (8, columns))) is expected

    @pytest.mark.parametrize(("tied", "expected"), [(True, TensorType.Q6_K), (False, TensorType.Q4_K)])
    def test_a_token_embedding_that_is_the_output_too_gets_the_outputs_type(
        self, tied: bool, expected: TensorType
    ) -> None:
        assert self.one(Weight("token_embd.weight", "", (320, 256)), tied=tied) is expected


class TestOrder:
    """The order of llama.cpp's quantizer."""

    WEIGHTS = tuple(
        Weight(name, "", (1,)) for name in ("blk.10.b", "token_embd.weight", "blk.2.b", "blk.2.a", "output.weight")
    )

    def test_is_by_layer_and_name(self) -> None:
        ordered = [weight.name for weight in in_file_order(self.WEIGHTS)]
        assert ordered == ["output.weight", "token_embd.weight", "blk.2.a", "blk.2.b", "blk.10.b"]
