"""`r1_quantize.pretokenizer`: recognised by its definition, not by a hash of what it does."""

from __future__ import annotations

from typing import Any

import pytest

from r1_quantize.errors import BadCheckpoint
from r1_quantize.pretokenizer import pretokenizer_of
from tests.fakes.checkpoints import SPLIT, tokenizer


def definition(pattern: str = SPLIT, normalizer: Any = None, **byte_level: Any) -> dict[str, Any]:
    """A tokenizer.json's two sections, as both families write them."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False} | byte_level
    return {"normalizer": normalizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}


class TestPretokenizer:
    """Two definitions are known; anything else is refused with what was found."""

    def test_the_qwen_distills(self) -> None:
        assert pretokenizer_of(tokenizer()) == "deepseek-r1-qwen"

    def test_the_llama_distills(self) -> None:
        assert pretokenizer_of(definition(SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|"))) == "llama-bpe"

    def test_what_has_no_effect_on_tokens_is_not_compared(self) -> None:
        assert pretokenizer_of(definition(normalizer={"type": "NFC"}, trim_offsets=False)) == "deepseek-r1-qwen"

    @pytest.mark.parametrize(
        "other",
        [
            definition(),  # Qwen's expression without Qwen's normalizer
            definition(normalizer={"type": "NFKC"}),
            definition(SPLIT + "|x", normalizer={"type": "NFC"}),
            definition(normalizer={"type": "NFC"}, add_prefix_space=True),
            definition(normalizer={"type": "NFC"}, use_regex=True),
            {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "ByteLevel"}},
            {"normalizer": [], "pre_tokenizer": []},
            {},
        ],
    )
    def test_anything_else_is_refused_with_what_was_found(self, other: dict[str, Any]) -> None:
        with pytest.raises(BadCheckpoint, match=r"known are deepseek-r1-qwen and llama-bpe; found \{.*pre_tokenizer"):
            pretokenizer_of(other)
