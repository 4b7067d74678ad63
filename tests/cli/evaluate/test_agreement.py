"""When normal forms say the same, do not, or leave it to a computer algebra system. More is in test_equivalence."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import count

import pytest

from r1.evaluate.agreement import agree
from r1.evaluate.normal_form import Group, Letter, Named, NormalForm, Number, Opaque, Truth, Words

ONE, TWO, THREE = (Number(Fraction(value)) for value in (1, 2, 3))
ROOT, SQUARE = Opaque("\\sqrt{4}"), Opaque("x^2")


CM, M = Number(Fraction(12), "cm"), Number(Fraction(12), "m")
TWELVE = Number(Fraction(12))


def nested(depth: int, leaves: Iterator[int]) -> NormalForm:
    if depth == 0:
        return Number(Fraction(next(leaves)))
    return Group("{}", (nested(depth - 1, leaves), nested(depth - 1, leaves)))


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
        (Letter("C", ONE), Letter("C", TWO), False),
        (Letter("C", ONE), Letter("C"), True),
        (Letter("C", ROOT), Letter("C", TWO), None),
        (Letter("C"), Opaque("c"), False),
        (Opaque("2\\pi", "cm"), Opaque("2\\pi", "m"), False),
        (Opaque("2\\pi", "cm"), Opaque("2\\pi"), True),
        (Opaque("2\\pi", "cm"), Number(Fraction(6), "m"), False),
        (Opaque("tea"), Opaque("eat"), False),
        (Number(Fraction(5), "boy"), Number(Fraction(5), "girl"), False),
        (Named("x", ROOT), Named("y", ROOT), False),
        (Group("", (Named("x", ONE), Named("y", TWO))), Group("()", (ONE, TWO)), True),
        (Group("", (Named("y", TWO), Named("x", ONE))), Group("()", (ONE, TWO)), True),
        (Group("", (Named("y", ONE), Named("x", TWO))), Group("()", (ONE, TWO)), False),
        (Group("", (Named("x", ONE), TWO)), Group("()", (ONE, TWO)), False),
        (Named("(y,x)", Group("()", (TWO, ONE))), Named("(x,y)", Group("()", (ONE, TWO))), True),
        (Named("(y,x)", Group("()", (TWO, ROOT))), Named("(x,y)", Group("()", (ONE, TWO))), None),
        (Named("(y,x)", Group("()", (TWO, ONE))), Group("()", (ONE, TWO)), False),
        (Group("{}", (ONE, Number(Fraction(1), "cm"))), Group("{}", (ONE, Number(Fraction(1), "m"))), True),
        (Letter("C", ROOT), TWO, None),
        (Named("x", ONE), Named("y", ONE), False),
        (Named("f(x)", SQUARE), Named("y", SQUARE), True),
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


def test_in_a_set_each_number_has_a_partner_of_its_own() -> None:
    some, others = Group("{}", (TWELVE, CM)), Group("{}", (CM, M))
    assert agree(some, others) is agree(others, some) is True  # 12 is 12 m, 12 cm is 12 cm
    assert agree(Group("{}", (CM, TWELVE, ONE)), Group("{}", (CM, M, TWO))) is False


def test_sets_in_sets_are_compared_once_at_each_level() -> None:
    """A second time at each of these levels would take longer than anyone waits."""
    one, other = nested(7, count()), nested(7, count(1000))
    assert agree(one, other) is False
    assert agree(one, nested(7, count())) is True
