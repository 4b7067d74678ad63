"""`r1_quantize.recipe`: a type for some tensors that is not the recipe's."""

from __future__ import annotations

import gguf
import pytest

from r1_quantize.errors import UsageError
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.recipe import Override, override_for


class TestParse:
    """`PATTERN=TYPE`; the last `=` is the one between them."""

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
    def test_gives_a_pattern_and_a_type(self, text: str, pattern: str, kind: str) -> None:
        found = Override.parse(text)
        assert found.pattern.pattern == pattern
        assert found.type == gguf.GGMLQuantizationType[kind]

    @pytest.mark.parametrize("text", ["ffn_down=Q6_K", r"(?=blk)blk\.0=F32", "==Q8_0"])
    def test_is_written_as_it_was_read(self, text: str) -> None:
        assert str(Override.parse(text)) == text
        assert Override.parse(str(Override.parse(text))) == Override.parse(text)

    def test_a_type_is_written_in_capitals(self) -> None:
        assert str(Override.parse("ffn_down=q6_k")) == "ffn_down=Q6_K"

    @pytest.mark.parametrize("text", ["", "ffn_down", "Q6_K", "=", "=Q6_K", "ffn_down:Q6_K"])
    def test_without_a_pattern_or_a_type(self, text: str) -> None:
        with pytest.raises(UsageError, match="expected PATTERN=TYPE, as in ffn_down=Q6_K") as caught:
            Override.parse(text)
        assert repr(text) in str(caught.value)

    @pytest.mark.parametrize(
        "kind", ["", "Q4_K_M", "Q9_K", "Q8_1", "Q8_K", "I8", " Q6_K", "Q6_K\n", "14", "x" * 10_000]
    )
    def test_of_an_unknown_type_names_those_there_are(self, kind: str) -> None:
        with pytest.raises(UsageError, match=r"is none of F32, BF16, F16, Q8_0, Q6_K, .*, IQ1_S$") as caught:
            Override.parse(f"ffn_down={kind}")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("pattern", ["(", ")", "*", "[a", "a{2,1}", "(?P<a", r"\1", "(?z)", "ffn\\"])
    def test_a_pattern_that_is_no_expression(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="not a regular expression") as caught:
            Override.parse(f"{pattern}=Q6_K")
        assert repr(f"{pattern}=Q6_K") in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_an_expression_that_python_may_read_otherwise_one_day_is_no_matter(self) -> None:
        assert Override.parse("[[a]=q6_k").pattern.search("a")

    @pytest.mark.parametrize("pattern", ["a{99999999999999999999}", "(" * 5000 + ")" * 5000])
    def test_a_monstrous_expression(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="not a regular expression"):
            Override.parse(f"{pattern}=q6_k")


class TestOverrideFor:
    """The first one whose expression is found anywhere in a name counts."""

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
    def test_the_first_that_fits(self, name: str, kind: TensorType | None) -> None:
        wishes = (r"blk\.0\.ffn_down=Q8_0", "ffn_down=Q4_0", "attn_v=F16", "ffn_down=Q5_0", "^output=F32", "ffn=F32")
        assert override_for([Override.parse(wish) for wish in wishes], name) is kind

    def test_none_of_none(self) -> None:
        assert override_for([], "output.weight") is None
