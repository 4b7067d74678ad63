"""`r1.markdown.notation`: superscripts, fractions, columns and brackets, in characters."""

from __future__ import annotations

import pytest

from r1.markdown.notation import (
    beside,
    bracketed,
    columns,
    enclosed,
    grid,
    is_enclosed,
    lowered,
    over_each,
    padded,
    raised,
    scripted,
)


class TestScripts:
    """Unicode's small signs if it has all of them, else `^(…)` and `_(…)`."""

    @pytest.mark.parametrize(
        ("text", "sign"),
        [("2", "²"), ("n+1", "ⁿ⁺¹"), ("-1", "⁻¹"), ("q", "^q"), ("x/2", "^(x/2)"), (" 2 ", "²"), ("", "^()")],
    )
    def test_raised(self, text: str, sign: str) -> None:
        assert raised(text) == sign

    @pytest.mark.parametrize(
        ("text", "sign"),
        [("1", "₁"), ("ij", "ᵢⱼ"), ("b", "_b"), ("avg", "_avg"), ("i,j", "_(i,j)"), ("x → 0", "_(x→0)")],
    )
    def test_lowered(self, text: str, sign: str) -> None:
        assert lowered(text) == sign


@pytest.mark.parametrize(
    ("text", "enclosed"),
    [("(a+b)", True), ("(a)(b)", False), ("((a)(b))", True), ("a", False), ("(a", False), ("", False), ("()a", False)],
)
def test_text_is_enclosed_if_its_first_bracket_is_closed_by_its_last(text: str, enclosed: bool) -> None:
    assert is_enclosed(text) == enclosed
    assert bracketed(text) == (text if enclosed else f"({text})")


def test_the_marks_of_a_box_have_no_width() -> None:
    assert columns("\x021/2\x03中") == 5


def test_a_bar_is_over_every_letter_but_not_over_spaces() -> None:
    assert over_each("A B", "\u0305") == "A\u0305 B\u0305"


class TestBlocks:
    """Several lines side by side."""

    def test_a_single_line_is_beside_the_middle(self) -> None:
        assert beside("x = ", "a\nb\nc").split("\n") == ["    a", "x = b", "    c"]

    def test_scripts_of_a_block_are_at_its_corners(self) -> None:
        assert scripted("⎛ 1 ⎞\n⎝ 2 ⎠", "n", "²").split("\n") == ["⎛ 1 ⎞²", "⎝ 2 ⎠n"]

    def test_columns_are_as_wide_as_their_widest_cell(self) -> None:
        assert grid([["1", "中文"], ["100", "x"]], alternate=False).split("\n") == ["1    中文", "100  x"]

    def test_equations_are_aligned_at_the_sign(self) -> None:
        assert grid([["x + 1", "= 2"], ["x", "= 1"]], alternate=True).split("\n") == ["x + 1 = 2", "    x = 1"]

    def test_each_column_has_its_side(self) -> None:
        assert grid([["1", "1"], ["10", "10"]], alternate=False, sides="rl").split("\n") == [" 1  1", "10  10"]

    def test_a_cell_may_have_several_lines(self) -> None:
        rows = [["a", "1\n2\n3", "b"], ["cc", "4", "d"]]
        lines = ["    1", "a   2  b", "    3", "cc  4  d"]
        assert grid(rows, alternate=False).split("\n") == lines

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
            ("a\nb\nc", "⟨", "⟩", ["  a", "⟨ b ⟩", "  c"]),
            ("a\n b", "", "}", ["a  ⎫", " b ⎭"]),
        ],
    )
    def test_brackets_are_as_tall_as_their_block(self, block: str, left: str, right: str, lines: list[str]) -> None:
        assert enclosed(block, left, right).split("\n") == lines

    def test_padding_counts_terminal_columns(self) -> None:
        assert (padded("中", 4), padded("中", 4, right=True)) == ("中  ", "  中")
