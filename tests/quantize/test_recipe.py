"""`r1_quantize.recipe`: the type each tensor gets. test_identity.py compares complete files with llama.cpp's."""

from __future__ import annotations

import ctypes

import gguf
import pytest

from r1_quantize.binding import function
from r1_quantize.checkpoint.architecture import Weight, architecture_of
from r1_quantize.errors import UsageError
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.recipe import ALIASES, RECIPES, Override, Traits, in_file_order, override_for, recipe_for, types_of
from tests.quantize.test_catalog import CONFIGS


class TestRecipeFor:
    """Finds a recipe by its name, in upper or lower case."""

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
    def test_an_unknown_name_is_refused_with_similar_ones(self, quant: str, near: str) -> None:
        with pytest.raises(UsageError, match=rf"did you mean .*{near}.*--list-types shows all") as caught:
            recipe_for(quant)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("quant", RECIPES)
    def test_llama_cpp_has_that_name_for_the_number(self, quant: str) -> None:
        name = function("llama_ftype_name", [ctypes.c_int], ctypes.c_char_p)(RECIPES[quant].number)
        words = name.decode().replace(" - Medium", "_M").replace(" - Small", "_S").replace(" - Large", "_L")
        assert {"IQ3_M": "IQ3_S mix", "Q2_K": "Q2_K_M"}.get(quant, quant) in words

    @pytest.mark.parametrize("quant", RECIPES)
    def test_gguf_has_that_name_for_the_number(self, quant: str) -> None:
        name = gguf.LlamaFileType(RECIPES[quant].number).name
        assert name == f"MOSTLY_{quant}" or (name, quant) == ("ALL_F32", "F32")


class TestTypes:
    """Some rules of llama-quant.cpp, read there; test_identity.py compares all of them with llama.cpp itself."""

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

    def test_the_70b_spends_more_on_values_that_eight_heads_share(self) -> None:
        types = self.types("llama-70b", "Q4_K_M")
        values = {types[f"blk.{layer}.attn_v.weight"] for layer in range(80)}
        assert values == {TensorType.Q5_K, TensorType.Q6_K}

    @pytest.mark.parametrize("quant", RECIPES)
    def test_leaves_out_norms_and_biases(self, quant: str) -> None:
        types = self.types("qwen-1.5b", quant)
        assert not [name for name in types if "norm" in name or name.endswith("bias")]
        assert len(types) == 2 + 7 * 28

    @pytest.mark.parametrize(
        ("columns", "expected"), [(512, TensorType.Q4_K), (96, TensorType.Q5_0), (80, TensorType.F16)]
    )
    def test_rows_that_do_not_fill_blocks_get_a_fallback(self, columns: int, expected: TensorType) -> None:
        assert self.one(Weight("blk.0.ffn_up.weight", "", (8, columns))) is expected

    @pytest.mark.parametrize(("tied", "expected"), [(True, TensorType.Q6_K), (False, TensorType.Q4_K)])
    def test_a_tied_token_embedding_gets_the_outputs_type(self, tied: bool, expected: TensorType) -> None:
        assert self.one(Weight("token_embd.weight", "", (320, 256)), tied=tied) is expected


class TestOrder:
    """The order of llama.cpp's quantizer."""

    WEIGHTS = tuple(
        Weight(name, "", (1,)) for name in ("blk.10.b", "token_embd.weight", "blk.2.b", "blk.2.a", "output.weight")
    )

    def test_is_by_layer_and_name(self) -> None:
        ordered = [weight.name for weight in in_file_order(self.WEIGHTS)]
        assert ordered == ["output.weight", "token_embd.weight", "blk.2.a", "blk.2.b", "blk.10.b"]


class TestOverride:
    """`PATTERN=TYPE`, split at the last `=`."""

    @pytest.mark.parametrize(
        ("text", "pattern", "kind"),
        [
            ("ffn_down=Q6_K", "ffn_down", "Q6_K"),
            ("ffn_down=q6_k", "ffn_down", "Q6_K"),
            ("token_embd=Bf16", "token_embd", "BF16"),
            (r"blk\.(0|1)\.attn_v\.weight=iq4_xs", r"blk\.(0|1)\.attn_v\.weight", "IQ4_XS"),
            (r"(?=blk)blk\.0=F32", r"(?=blk)blk\.0", "F32"),
            ("==Q8_0", "=", "Q8_0"),
            (" =Q8_0", " ", "Q8_0"),
        ],
    )
    def test_has_a_pattern_and_a_type(self, text: str, pattern: str, kind: str) -> None:
        found = Override.parse(text)
        assert found.pattern.pattern == pattern
        assert found.type == gguf.GGMLQuantizationType[kind]

    @pytest.mark.parametrize("text", ["ffn_down=Q6_K", r"(?=blk)blk\.0=F32", "==Q8_0"])
    def test_prints_as_it_was_given(self, text: str) -> None:
        assert str(Override.parse(text)) == text
        assert Override.parse(str(Override.parse(text))) == Override.parse(text)

    def test_prints_its_type_in_capitals(self) -> None:
        assert str(Override.parse("ffn_down=q6_k")) == "ffn_down=Q6_K"

    @pytest.mark.parametrize("text", ["", "ffn_down", "Q6_K", "=", "=Q6_K", "ffn_down:Q6_K"])
    def test_refuses_a_missing_pattern_or_type(self, text: str) -> None:
        with pytest.raises(UsageError, match="expected PATTERN=TYPE, as in ffn_down=Q6_K") as caught:
            Override.parse(text)
        assert repr(text) in str(caught.value)

    @pytest.mark.parametrize(
        "kind", ["", "Q4_K_M", "Q9_K", "Q8_1", "Q8_K", "I8", " Q6_K", "Q6_K\n", "14", "x" * 10_000]
    )
    def test_an_unknown_type_is_refused_with_the_known_ones(self, kind: str) -> None:
        with pytest.raises(
            UsageError, match=r"unknown type .*; choose one of F32, BF16, F16, Q8_0, Q6_K, .*, IQ1_S$"
        ) as caught:
            Override.parse(f"ffn_down={kind}")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("pattern", ["(", ")", "*", "[a", "a{2,1}", "(?P<a", r"\1", "(?z)", "ffn\\"])
    def test_refuses_a_bad_regular_expression(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="not a regular expression") as caught:
            Override.parse(f"{pattern}=Q6_K")
        assert repr(f"{pattern}=Q6_K") in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_accepts_syntax_that_python_warns_about(self) -> None:
        assert Override.parse("[[a]=q6_k").pattern.search("a")

    @pytest.mark.parametrize("pattern", ["a{99999999999999999999}", "(" * 5000 + ")" * 5000])
    def test_refuses_an_absurdly_large_expression(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="not a regular expression"):
            Override.parse(f"{pattern}=q6_k")


class TestOverrideFor:
    """The first override that matches anywhere in a name counts."""

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("blk.0.ffn_down.weight", TensorType.Q8_0),
            ("blk.1.ffn_down.weight", TensorType.Q4_0),
            ("blk.10.ffn_down.weight", TensorType.Q4_0),
            ("blk.0.FFN_DOWN.weight", None),
            ("blk.0.attn_v.weight", TensorType.F16),
            ("output.weight", TensorType.F32),
            ("blk.0.attn_output.weight", None),
            ("token_embd.weight", None),
        ],
    )
    def test_the_first_match_counts(self, name: str, kind: TensorType | None) -> None:
        overrides = (r"blk\.0\.ffn_down=Q8_0", "ffn_down=Q4_0", "attn_v=F16", "ffn_down=Q5_0", "^output=F32", "ffn=F32")
        assert override_for(list(map(Override.parse, overrides)), name) is kind

    def test_no_overrides(self) -> None:
        assert override_for([], "output.weight") is None
