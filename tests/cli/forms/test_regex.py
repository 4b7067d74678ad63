"""Regular expressions: the texts of a grammar match by Python's `re`, and what it cannot express is refused."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from r1.forms.gbnf_check import check_grammar
from r1.forms.regex import compile_pattern, compile_regex, matches, regex_grammar
from r1_quantize.errors import UsageError
from tests.fakes.gbnf import TextGrammar

ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "é",
        "-",
        r"\.",
        r"\\",
        '"',
        "]",
        "^".join(["[", "a]"]),
        r"\d",
        r"\w",
        r"\S",
        r"[\w-]",
        r"[^\s,]",
        ".",
        " ",
        r"[a-c^\]\\-]",
    ]
)
COUNTS = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "+?", "{0}", "{0,1}"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, COUNTS).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(EXPRESSIONS, st.randoms(use_true_random=False))
def test_random_texts_of_random_expressions_match(expression: str, rng: random.Random) -> None:
    try:
        node = compile_regex(expression)
    except UsageError as exc:
        assume("no text that an answer can be" not in str(exc))
        raise
    gbnf = regex_grammar(node)
    check_grammar(gbnf)
    grammar = TextGrammar(gbnf)
    for _ in range(5):
        text = grammar.sample(rng)
        assert re.fullmatch(expression, text), (expression, text, gbnf)
        assert text == text.strip()
        assert text
        assert matches(node, text)


@settings(max_examples=150)
@given(EXPRESSIONS, st.text('aab-. ,"\\]^c1é', max_size=5))
def test_matching_agrees_with_python(expression: str, text: str) -> None:
    """Texts with white space at an end are none, and the empty text is none."""
    try:
        node = compile_regex(expression)
    except UsageError:
        return
    wanted = bool(re.fullmatch(expression, text, re.ASCII)) and text == text.strip() != ""
    assume(not ("é" in text and "\\" in expression))  # classes of ASCII only: é is no \w here, and no \W
    assert matches(node, text) == wanted
    assert TextGrammar(regex_grammar(node)).matches(text) == wanted


@settings(max_examples=100)
@given(EXPRESSIONS, st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_a_pattern_is_searched_for(expression: str, rng: random.Random, begins: bool, ends: bool) -> None:
    pattern = f"{'^' if begins else ''}(?:{expression}){'$' if ends else ''}"
    node = compile_pattern(pattern)
    text = TextGrammar(regex_grammar(node)).sample(rng)
    assert re.search(pattern, text)
    assert matches(node, text)


@pytest.mark.parametrize(
    ("expression", "texts", "others"),
    [
        (r"^\d{3}-\d{4}$", ["555-1234"], ["5551234", "555-12345", "٣٣٣-٣٣٣٣"]),
        (r"(?i)yes|No", ["YES", "yes", "nO"], ["maybe"]),
        (r"(?i:a)b", ["ab", "Ab"], ["AB"]),
        (r"(?s).a", ["xa", "aa"], ["a"]),
        (r"(?x) a \ b # comment", ["a b"], ["ab"]),
        ("^(a|b)$|^c$", ["a", "c"], ["ac"]),
        ("(^a|b)(c|d$)", ["ac", "ad", "bc", "bd"], ["a"]),
        (r"[^\D5]", ["4"], ["5", "x", "٤"]),
        ("(a*)*b", ["b", "aaab"], ["a"]),
        (r"\s*yes\s*", ["yes"], [" yes", "yes\n"]),
        ("(a|b|)c{2,3}?", ["cc", "accc"], ["c", "cccc"]),
        ("\\x41\\u00e9\\U0001F600", ["Aé😀"], ["A"]),
        (r"\t?x", ["x"], ["\tx"]),
    ],
)
def test_what_is_written(expression: str, texts: list[str], others: list[str]) -> None:
    node = compile_regex(expression)
    grammar = TextGrammar(regex_grammar(node))
    assert all(grammar.matches(text) and matches(node, text) for text in texts)
    assert not any(grammar.matches(text) or matches(node, text) for text in others)


def test_an_end_of_a_line_is_not_written_for_a_dot_nor_control_characters_for_a_large_class() -> None:
    for expression in ("a.a", "a[^,]a", r"a\Da"):
        grammar = TextGrammar(regex_grammar(compile_regex(expression)))
        assert not any(grammar.matches(f"a{char}a") for char in "\0\x01\x1b\x7f\ud800")
        assert grammar.matches("a😀a")
    dot = TextGrammar(regex_grammar(compile_regex("a.a")))
    assert not any(dot.matches(f"a{char}a") for char in "\n\r\u2028")


@pytest.mark.parametrize("text", ["a" * 5000, "a" * 5000 + "!", "ab" * 2000])
def test_no_expression_takes_exponential_time(text: str) -> None:
    for expression in ("(a+)+b", "(a|aa)+b", "(a*)*b", "(a|b|ab)*c"):
        assert not matches(compile_regex(expression), text)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(a", "does not compile: missing )"),
        ("*a", "does not compile: nothing to repeat"),
        (r"\p{L}", "does not compile: bad escape"),
        (r"(?<year>\d)", "does not compile: unknown extension"),
        ("(" * 5000, "does not compile: it is nested too deeply"),
        ("a{99999999999999999999}", "does not compile: it is nested too deeply or a count is too large"),
        ("", "matches no text that an answer can be"),
        ("^$", "matches no text that an answer can be"),
        (r"\s+", "matches no text that an answer can be"),
        (" ", "matches no text that an answer can be"),
        (r"[\n]|\x00", "matches no text that an answer can be"),
        (r"[^\s\S]", "matches no text that an answer can be"),
        (r"a\x00", "matches no text that an answer can be"),
        ("(?=a)b", "a lookahead or lookbehind, which is not supported"),
        ("(?<!a)b", "a negative lookahead or lookbehind, which is not supported"),
        (r"(a)\1", "a backreference, which is not supported"),
        ("(a)?(?(1)b|c)", "a condition, which is not supported"),
        (r"\bword\b", "a word boundary, which is not supported"),
        ("(?>a)b", "an atomic group, which is not supported"),
        ("a++", "a possessive quantifier, which is not supported"),
        ("a^b", "an anchor that is not at an end of it, which is not supported"),
        ("c(^a|b)", "an anchor that is not at an end of it, which is not supported"),
        ("(^a)+", "an anchor that is not at an end of it, which is not supported"),
        ("(?m)^a$", "(?m), anchors at line ends, which is not supported"),
        ("(?i)[^é]", "(?i) and a negated class with letters beyond ASCII, which is not supported"),
        ("a{1000000000}", "more than 2,000 times"),
        ("a{0,2001}", "more than 2,000 times"),
        ("((a{1,1000}){1,1000}){1,1000}", "nested counts of more than 10,000"),
        ("(" * 60 + "a" + ")" * 60, "more than 50 levels of groups"),
        ("a" * 10_001, "more than 10,000 characters"),
        ("(a?b?c?d?e?f?g?h?)*" * 400, "too large"),
    ],
)
def test_what_a_grammar_cannot_express_is_refused_by_name(expression: str, reason: str) -> None:
    with pytest.raises(UsageError) as error:
        check_grammar(regex_grammar(compile_regex(expression)))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
