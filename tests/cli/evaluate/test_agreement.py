"""When normal forms say the same, do not, or leave it to a computer algebra system. More is in test_equivalence."""

from __future__ import annotations

from fractions import Fraction

import pytest

from r1.evaluate.agreement import agree
from r1.evaluate.normal_form import Group, Letter, Named, NormalForm, Number, Opaque, Truth, Words

ONE, TWO, THREE = (Number(Fraction(value)) for value in (1, 2, 3))
ROOT, SQUARE = Opaque("\\sqrt{4}"), Opaque("x^2")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (ONE, TWO, False),
        (ONE, ROOT, None),
        (ROOT, SQUARE, None),
        (ROOT, Words("no solution"), False),
        (ROOT, Truth(True), False),
        (Opaque("odd"), Opaque("Odd"), True),
        (Opaque("x"), Opaque("X"), None),
        (Letter("C"), ROOT, None),
        (Letter("C"), ONE, False),
        (Letter("C", ONE), Letter("C", TWO), True),
        (Letter("C", ROOT), TWO, None),
        (Named("x", ONE), Named("y", ONE), False),
        (Named("f(x)", SQUARE), Named("y", SQUARE), None),
        (Named("x", ROOT), TWO, None),
        (Group("()", (ROOT, ONE)), Group("()", (TWO, ONE)), None),
        (Group("()", (ROOT, ONE)), Group("()", (TWO, TWO)), False),
        (Group("{}", (ROOT, ONE)), Group("{}", (ONE, ROOT)), True),
        (Group("{}", (ROOT, ONE)), Group("{}", (TWO, ONE)), None),
        (Group("{}", (ONE, TWO)), Group("{}", (ONE, THREE)), False),
        (Group("{}", (ROOT, TWO)), Group("{}", (TWO,)), None),
        (Group("()", (ONE, TWO)), Opaque("1<x<2"), None),
        (Group("()", (ONE, TWO)), Group("[]", (ONE, TWO)), False),
    ],
)
def test_of_two_forms(one: NormalForm, other: NormalForm, expected: bool | None) -> None:
    assert agree(one, other) is expected
    assert agree(other, one) is expected
