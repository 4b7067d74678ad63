"""`r1.markdown.notation`: superscripts, fractions, columns and brackets, in characters."""

from __future__ import annotations

import pytest

from r1.markdown.notation import (
    FRACTION,
    FRACTION_END,
    beside,
    columns,
    enclosed,
    fraction,
    grid,
    lowered,
    over_each,
    padded,
    raised,
    root,
    settled,
)


class TestScripts:
    """Unicode's small signs if it has all of them, else `^(…)` and `_(…)`."""

    @pytest.mark.parametrize(
        ("text", "sign"),
        [("2", "²"), ("n+1", "ⁿ⁺¹"), ("-1", "⁻¹"), ("q", "^q"), ("x/2", "^(x/2)"), (" 2 ", "²"), ("", "^()")],
    )
    def test_raised(self, text: str, sign: str) -> None:
        assert raised(text) == sign

    @pytest.mark.parametrize(("text", "sign"), [("1", "₁"), ("ij", "ᵢⱼ"), ("b", "_b"), ("x → 0", "_(x→0)")])
    def test_lowered(self, text: str, sign: str) -> None:
        assert lowered(text) == sign


class TestFractions:
    """a/b, with parentheses only where they are needed."""

    @pytest.mark.parametrize(
        ("above", "below", "text"),
        [
            ("1", "2", "1/2"),
            ("a + b", "c", "(a + b)/c"),
            ("1", "2x", "1/(2x)"),
            ("dy", "dx", "dy/dx"),
            ("1", "(x+1)²", "1/(x+1)²"),
            ("(a+b)", "2", "(a+b)/2"),
        ],
    )
    def test_alone(self, above: str, below: str, text: str) -> None:
        assert settled(fraction(above, below)) == text

    @pytest.mark.parametrize(
        ("before", "after", "text"),
        [("2", "", "2 1/2"), ("x", "", "x(1/2)"), ("", "x", "(1/2)x"), ("a + ", " = b", "a + 1/2 = b")],
    )
    def test_beside_a_neighbour(self, before: str, after: str, text: str) -> None:
        assert settled(before + fraction("1", "2") + after) == text

    def test_marks_have_no_width(self) -> None:
        assert columns(f"{FRACTION}1/2{FRACTION_END}中") == 5


@pytest.mark.parametrize(
    ("text", "degree", "sign"), [("2", "", "√2"), ("x+1", "3", "∛(x+1)"), ("x", "n", "ⁿ√x"), ("12", "4", "∜12")]
)
def test_roots(text: str, degree: str, sign: str) -> None:
    assert root(text, degree) == sign


def test_a_bar_is_over_every_letter_but_not_over_spaces() -> None:
    assert over_each("A B", "\u0305") == "A\u0305 B\u0305"


class TestBlocks:
    """Several lines side by side."""

    def test_a_single_line_is_beside_the_middle(self) -> None:
        assert beside("x = ", "a\nb\nc").split("\n") == ["    a", "x = b", "    c"]

    def test_columns_are_as_wide_as_their_widest_cell(self) -> None:
        assert grid([["1", "中文"], ["100", "x"]], alternate=False).split("\n") == ["1    中文", "100  x"]

    def test_equations_are_aligned_at_the_sign(self) -> None:
        assert grid([["x + 1", "= 2"], ["x", "= 1"]], alternate=True).split("\n") == ["x + 1 = 2", "    x = 1"]

    def test_a_short_row_has_empty_cells(self) -> None:
        assert grid([["a", "b"], ["c"]], alternate=False).split("\n") == ["a  b", "c"]

    @pytest.mark.parametrize(
        ("block", "left", "right", "lines"),
        [
            ("a", "(", ")", ["( a )"]),
            ("a\nb", "(", ")", ["⎛ a ⎞", "⎝ b ⎠"]),
            ("a\nb\nc", "{", "", ["⎧ a", "⎨ b", "⎩ c"]),
            ("a\nbb", "|", "|", ["│ a  │", "│ bb │"]),
            ("a\nb", "", "", ["a", "b"]),
        ],
    )
    def test_brackets_are_as_tall_as_their_block(self, block: str, left: str, right: str, lines: list[str]) -> None:
        assert enclosed(block, left, right).split("\n") == lines

    def test_padding_counts_terminal_columns(self) -> None:
        assert (padded("中", 4), padded("中", 4, right=True)) == ("中  ", "  中")
