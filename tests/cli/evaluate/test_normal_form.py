r"""What short answers are read as."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1.evaluate.agreement import agree
from r1.evaluate.formula import LONGEST
from r1.evaluate.normal_form import (
    Group,
    Infinity,
    Letter,
    Named,
    NormalForm,
    Number,
    Opaque,
    Truth,
    Words,
    normal_form,
)

ONE, TWO = Number(Fraction(1)), Number(Fraction(2))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1", ONE),
        ("50\\%", Number(Fraction(50), is_percentage=True)),
        ("12 cm", Number(Fraction(12), "cm")),
        ("12 apples", Number(Fraction(12), "apple")),
        ("12 \\text{ m}", Number(Fraction(12), "m")),
        ("\\$12 per hour", Number(Fraction(12), "dollar/h")),
        ("2\\pi \\text{ m}", Opaque("2\\pi", "m")),
        ("2\\pi m", Opaque("2\\pim")),
        ("\\$1{,}200", Number(Fraction(1200), "dollar")),
        ("3 million dollars", Number(Fraction(3_000_000), "dollar")),
        ("x = 1", Named("x", ONE)),
        ("3 - 1 = 2", TWO),
        ("(C)", Letter("C")),
        ("C. 1", Letter("C", ONE)),
        ("A) or C)", Group("", (Letter("A"), Letter("C")))),
        ("A. C", Group("", (Letter("A"), Letter("C")))),
        ("A) or more", Opaque("A)ormore")),
        ("\\text{Yes}", Truth(True)),
        ("no", Truth(False)),
        ("\\text{the real numbers}", Words("real numbers")),
        ("1, 2", Group("", (ONE, TWO))),
        ("{1, 2}", Group("{}", (ONE, TWO))),
        ("\\{1, 1\\}", Group("{}", (ONE,))),
        ("\\emptyset", Group("{}", ())),
        ("(1, 2]", Group("(]", (ONE, TWO))),
        ("[1, \\infty)", Group("[)", (ONE, Infinity(1)))),
        ("(1,2) \\cup (2,1)", Group("∪", (Group("()", (ONE, TWO)), Group("()", (TWO, ONE))))),
        ("1, 234", Group("", (ONE, Number(Fraction(234))))),
        ("1,234", Number(Fraction(1234))),
        ("(1,234)", Group("()", (ONE, Number(Fraction(234))))),
        ("2x + 1", Opaque("2x+1")),
        ("7 = 11a + c", Opaque("7=11a+c")),
        ("2024-01-02", Words("2024-01-02")),
        ("10:30", Words("10:30")),
        ("10:30 p.m.", Words("10:30pm")),
        ("555-1234", Words("555-1234")),
        ("192.168.0.1", Words("192.168.0.1")),
        ("0x1F", Words("0x1f")),
        ("3. Banana", Opaque("3.Banana")),
        ("\\alpha = 1", Named("\\alpha", ONE)),
        ("\\frac{dy}{dx} = 1", Named("\\frac{dy}{dx}", ONE)),
        ("\\angle ABC = 1", Named("\\angleABC", ONE)),
        ("\\sqrt{4} - 1 = 1", ONE),
        ("\\pm 1, \\pm 2", Group("", (ONE, Number(Fraction(-1)), TWO, Number(Fraction(-2))))),
        ("\\boxed{}", Opaque("\\boxed{}")),
        ("  ", None),
        ("x" * (LONGEST + 1), None),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_reads_an_answer(text: str, form: NormalForm | None) -> None:
    assert normal_form(text) == form


_PIECES = st.sampled_from(
    [
        *(
            "1",
            "2",
            "0.5",
            "x",
            "C",
            "cm",
            "and",
            "or",
            ",",
            ";",
            "=",
            "+",
            "-",
            "*",
            "/",
            "^",
            "_",
            "%",
            "$",
            "(",
            ")",
            "[",
        ),
        *(
            "]",
            "{",
            "}",
            "\\{",
            "\\}",
            "\\frac",
            "\\sqrt",
            "\\pm",
            "\\cup",
            "\\text{",
            "\\boxed{",
            "\\,",
            "\\",
            "\\infty",
        ),
        *(" ", "yes", "degrees", "million", "é", "\n", "\\\\", ".", "!", "<", "e", "\x01"),
    ]
)


@given(st.lists(_PIECES, max_size=14).map("".join), st.lists(_PIECES, max_size=6).map("".join))
@settings(max_examples=120)
def test_reads_anything_and_agreement_is_symmetric(one: str, other: str) -> None:
    first, second = normal_form(one), normal_form(other)
    if first is not None:
        assert agree(first, first) is True
    if first is not None and second is not None:
        assert agree(first, second) is agree(second, first)


@given(st.integers(-(10**30), 10**30))
@settings(max_examples=30)
def test_writes_of_one_integer_are_one_number(number: int) -> None:
    ways = (
        f"{number}",
        f"{number:,}",
        f"{number:,}".replace(",", "{,}"),
        f"{number}.00",
        f"\\frac{{{2 * number}}}{{2}}",
    )
    assert {normal_form(way) for way in ways} == {Number(Fraction(number))}


def test_a_modulus_is_no_plus_and_minus() -> None:
    assert normal_form(r"7 \pmod{12}") != normal_form("7+od{12}, 7-od{12}")
