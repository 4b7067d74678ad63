"""`r1.markdown.display`: formulas with blocks of several lines, at the width of the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from r1.markdown.math import math

INVERSE = (
    r"A = \begin{pmatrix} 2 & 1 \\ 1 & 3 \end{pmatrix}, \quad \det(A) = 5, "
    r"\quad A^{-1} = \begin{pmatrix} 3 & -1 \\ -1 & 2 \end{pmatrix}"
)
STEPS = r"\begin{aligned} f(x) &= (x+1)(x-1) \\ &= x^2 - 1 \end{aligned}"


def shown(latex: str, width: int) -> list[str]:
    return [line.rstrip() for line in math(latex, display=True, width=width).plain.split("\n")]


def test_blocks_are_side_by_side_where_they_fit() -> None:
    assert shown(INVERSE, 50) == [
        "A = ⎛ 2  1 ⎞,  det(A) = 5,  A⁻¹ = ⎛ 3   -1 ⎞",
        "    ⎝ 1  3 ⎠                      ⎝ -1  2  ⎠",
    ]


def test_else_they_continue_below_from_a_gap_on() -> None:
    assert shown(INVERSE, 30) == [
        "A = ⎛ 2  1 ⎞,  det(A) = 5,",
        "    ⎝ 1  3 ⎠",
        "A⁻¹ = ⎛ 3   -1 ⎞",
        "      ⎝ -1  2  ⎠",
    ]


def test_or_from_a_relation_on() -> None:
    latex = r"x + y + z = \begin{pmatrix} 1 \\ 2 \end{pmatrix} = \begin{pmatrix} 3 \\ 4 \end{pmatrix}"
    assert shown(latex, 19) == ["x + y + z = ⎛ 1 ⎞", "            ⎝ 2 ⎠", "= ⎛ 3 ⎞", "  ⎝ 4 ⎠"]


def test_brackets_are_never_parted() -> None:
    latex = r"(a = \begin{pmatrix} 1 \\ 2 \end{pmatrix} = b) = c"
    assert shown(latex, 16)[0] == "(a = ⎛ 1 ⎞ = b)"


def test_a_block_that_fits_nowhere_is_on_one_line_which_can_be_wrapped() -> None:
    assert shown(INVERSE, 10) == ["A = (2 1; 1 3),  det(A) = 5,  A⁻¹ = (3 -1; -1 2)"]


def test_equations_that_are_too_wide_to_be_aligned_keep_their_lines() -> None:
    assert shown(STEPS, 30) == ["f(x) = (x+1)(x-1)", "     = x² - 1"]
    assert shown(STEPS, 12) == ["f(x) = (x+1)(x-1)", "= x² - 1"]
    assert shown(r"a &= b + c + d \\ &= e", 8) == ["a = b + c + d", "= e"]


def test_a_single_line_is_left_to_the_wrapping_of_text() -> None:
    assert shown("x = a + b + c", 5) == ["x = a + b + c"]


@pytest.mark.parametrize(
    ("left", "right"), [("(", ")"), ("[", "]"), (r"\{", "."), ("|", "|"), (r"\lfloor", r"\rfloor")]
)
def test_brackets_around_an_array_are_as_tall_as_it(left: str, right: str) -> None:
    first, second = shown(rf"\left{left} \begin{{array}}{{l}} x \\ y \end{{array}} \right{right}", 80)
    assert first[1:4] == " x "[: len(first) - 1]
    assert second[1:4] == " y "[: len(second) - 1]
    assert first[0] not in "([{|⌊x"
    assert second[0] not in "([{|⌊y"


def matrix(rows: list[list[str]]) -> str:
    return r"\begin{pmatrix}" + r" \\ ".join(" & ".join(row) for row in rows) + r"\end{pmatrix}"


CELLS = st.sampled_from(["1", "x + 1", r"\frac{a}{b}", r"\text{if } x > 0", "-2", "中文", ""])
MATRICES = st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=2, max_size=3).map(matrix)
PARTS = st.one_of(
    MATRICES, st.sampled_from(["= ", "A", r"\quad ", "+ ", r"\cdot ", "f(x)", ", ", r"\frac{1}{2}", "(", ")"])
)


@given(st.lists(PARTS, min_size=1, max_size=8).map("".join), st.integers(1, 60))
def test_a_block_of_several_lines_is_never_wider_than_the_terminal(latex: str, width: int) -> None:
    lines = shown(latex, width)
    assert len(lines) == 1 or max(map(cell_len, lines)) <= width
