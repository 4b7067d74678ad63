r"""Which formulas are given to math-verify, and in what form. More is in test_equivalence."""

from __future__ import annotations

import pytest

from r1.evaluate.algebra import for_algebra


@pytest.mark.parametrize(
    ("formula", "given"),
    [
        (r"2\sqrt{3} + x_1", r"2\sqrt{3} + x_1"),
        ("0.25x", r"{\frac{1}{4}}x"),
        ("x^{.5}", r"x^{{\frac{1}{2}}}"),
        ("sqrt(8)", r"\sqrt{8}"),
        ("ln 4 + pi", r"\ln 4 + \pi"),
        (r"\sin 30^\circ", r"\sin (30 \cdot \frac{\pi}{180})"),
        (r"( \begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array} )", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
        (r"[0, 1)", r"[0, 1)"),
        (r"\{1, x\}", r"\{1, x\}"),
        (r"1 \pm \sqrt{4}", r"1 + \sqrt{4}, 1 - \sqrt{4}"),
        ("5!", "5!"),
        ("xyz + ab", "xyz + ab"),
        (r"\log_2 8", r"\log_2 8"),
    ],
)
def test_what_is_read_as_it_is_meant(formula: str, given: str) -> None:
    assert for_algebra(formula, "1") == (given, "1")
    assert for_algebra("1", formula) == ("1", given)


@pytest.mark.parametrize(
    "formula",
    [
        *("101_2", "f'(x)", "A^T", "A^{T}", r"A^\top", r"\frac{dy}{dx}", r"\frac{d}{dx} f", "1:2:3", "1.2.3", "5."),
        *("x if x > 0", "x even", "sinx", "A1", "x 2", "(1", "1)", ")(", "1 +", "50%", "x@y", "é", "\\", "\\foo x"),
        *(
            "x^{100000}",
            "2^{2^{2^{99}}}x",
            "100000!",
            "3!!",
            r"\sum n",
            r"\int x",
            r"\bar{AB}",
            r"7 \pmod{12}",
            "C_{abcd}",
        ),
    ],
)
def test_what_would_be_misread_or_take_all_memory(formula: str) -> None:
    assert for_algebra(formula, "1") is for_algebra("1", formula) is None


def test_names_that_differ_in_case_are_different() -> None:
    assert for_algebra("2e", "2E") == ("2e", "2q_{9e}")
    assert for_algebra(r"\pi R^2", r"\pi r^2") == (r"\pi q_{9r}^2", r"\pi r^2")
    assert for_algebra("R_1 + R", "r") is None
    assert for_algebra(r"\Delta x", r"\delta x") is None
    assert for_algebra("x + Y", "Y + x") == ("x + Y", "Y + x")


@pytest.mark.parametrize(
    "hostile", ["1" * 2_000, "(" * 2_000, "x" * 2_000, "{\\" * 1_000, "1." * 1_000, "\\begin" * 300]
)
def test_hostile_formulas_are_answered_at_once(hostile: str) -> None:
    assert for_algebra(hostile, "(") is None
