r"""Exact arithmetic, compared with Python's own."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1.evaluate.arithmetic import NotExact, value_of


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("42", 42),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("007", 7),
        ("--3", 3),
        ("-2^2", -4),
        ("(-2)^2", 4),
        ("2^3^2", 512),
        ("2^{-1}", Fraction(1, 2)),
        ("2^-1", Fraction(1, 2)),
        (r"\frac12", Fraction(1, 2)),
        (r"\frac1{72}", Fraction(1, 72)),
        (r"\frac{\frac12}{3}", Fraction(1, 6)),
        ("1 1/2", Fraction(3, 2)),
        ("11/2", Fraction(11, 2)),
        (r"1\frac{1}{2}", Fraction(3, 2)),
        (r"-1\frac12", Fraction(-3, 2)),
        ("2(3)(4)", 24),
        (r"3 \times 10^{4}", 30_000),
        (r"6 \div 4", Fraction(3, 2)),
        ("2.5e-3", Fraction(1, 400)),
        ("1 - 2 - 3", -4),
        ("8/4/2", 1),
    ],
)
def test_has_the_exact_value(formula: str, value: Fraction) -> None:
    assert value_of(formula) == value


@pytest.mark.parametrize(
    "formula",
    [
        *(
            "",
            "+",
            "x",
            "5x",
            "1 2",
            "1/0",
            r"\frac{1}{0}",
            "0^{-1}",
            "2^{0.5}",
            "{1",
            "1)",
            r"\frac1x",
            r"\frac",
            "²",
            "1,2",
        ),
        *("1e999999999", "1e99999", "9^9^9^9", "2^{2^{2^{99}}}", "10^{10^{10}}", "9" * 100_000, "0." + "1" * 5_000),
        *("(" * 5_000 + "1", r"\frac{" * 5_000 + "1" + "}{2}" * 5_000, "{" * 300 + "1" + "}" * 300, "2^" * 1_000 + "2"),
        "^".join(["(9" * 20 + ")" * 20] * 3),
    ],
    ids=lambda formula: formula[:20],
)
def test_refuses_what_is_no_rational_number_or_has_too_many_digits(formula: str) -> None:
    with pytest.raises(NotExact):
        value_of(formula)


_SUMS = st.recursive(
    st.integers(0, 99).map(str),
    lambda parts: st.tuples(parts, st.sampled_from("+-*/"), parts).map(lambda part: f"({part[0]}{part[1]}{part[2]})"),
    max_leaves=6,
)


@given(_SUMS)
@settings(max_examples=60)
def test_calculates_as_python_does(formula: str) -> None:
    try:
        expected = eval(formula, {}, {}) if "/" not in formula else _with_fractions(formula)  # made of digits and signs
    except ZeroDivisionError:
        with pytest.raises(NotExact):
            value_of(formula)
    else:
        assert value_of(formula) == expected


def _with_fractions(formula: str) -> Fraction:
    import re

    return eval(re.sub(r"\d+", r"Fraction(\g<0>)", formula), {"Fraction": Fraction}, {})
