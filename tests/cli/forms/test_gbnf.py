"""`r1.forms.gbnf`: literals and classes have just the texts that they should."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1.forms.gbnf import char_class, literal
from r1.forms.gbnf_check import check_grammar
from tests.fakes.gbnf import TextGrammar

TEXTS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=1), min_size=1)


@settings(max_examples=60)
@given(TEXTS)
def test_a_literal_has_one_text(text: str) -> None:
    gbnf = f"root ::= {literal(text)}"
    check_grammar(gbnf)
    grammar = TextGrammar(gbnf)
    assert grammar.matches(text)
    assert not grammar.matches(text + "x")
    assert not grammar.matches(text[1:])


@pytest.mark.parametrize("step", [1, 97])
def test_a_class_has_just_its_characters(step: int) -> None:
    """Each of the first 300 code points, and of some beyond, alone and as an end of a range."""
    codes = [code for code in range(1, 0x110000, 1 if step == 1 else 8_191) if not 0xD800 <= code <= 0xDFFF][:300]
    for code in codes:
        high = min(code + step - 1, sys.maxunicode)
        grammar = TextGrammar(f"root ::= {char_class(((code, high),))}")
        assert grammar.matches(chr(code))
        assert grammar.matches(chr(high))
        assert not grammar.matches(chr(code - 1))
        assert high == sys.maxunicode or not grammar.matches(chr(high + 1))


def test_llama_cpp_reads_a_class_of_any_character() -> None:
    check_grammar(f"root ::= {char_class(tuple((code, code) for code in range(1, 400, 2)))}")
