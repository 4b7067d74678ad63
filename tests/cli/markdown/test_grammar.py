"""`r1.markdown.grammar`: where blocks and formulas begin and end."""

from __future__ import annotations

import pytest
from markdown_it.tree import SyntaxTreeNode

from r1.markdown.grammar import MAX_TITLE, is_settled, parse, parse_inline


def blocks(source: str) -> list[str]:
    """The types of the top blocks."""
    return [node.type for node in parse(source).children]


def formulas(source: str) -> list[str]:
    """The contents of the inline formulas."""
    return [node.content for node in parse_inline(source).children if node.type == "math_inline"]


def only(source: str) -> SyntaxTreeNode:
    (node,) = parse(source).children
    return node


class TestInlineFormulas:
    r"""`\(…\)`, `\[…\]`, `$…$`, `$$…$$` and `\boxed{…}`, but not prices."""

    @pytest.mark.parametrize(
        ("source", "contents"),
        [
            (r"a \(x\) b", ["x"]),
            (r"a \[x\] b", ["x"]),
            ("$x$ and $y$", ["x", "y"]),
            ("a $$x$$ b", ["x"]),
            (r"so \boxed{\frac{1}{2}}.", [r"\boxed{\frac{1}{2}}"]),
            (r"\boxed{\text{a \} b}}", [r"\boxed{\text{a \} b}}"]),
            ("$5 and $10", []),
            ("5$ or 10$", []),
            ("a $x$5", []),
            (r"\(x", []),
            (r"\boxed{x", []),
            ("`$x$`", []),
        ],
    )
    def test_are_found(self, source: str, contents: list[str]) -> None:
        assert formulas(source) == contents

    def test_an_opening_without_its_end_keeps_its_backslash(self) -> None:
        assert "".join(node.content for node in parse_inline(r"a \(x").children) == r"a \(x"


class TestDisplayFormulas:
    """A block of their own, if they begin a line."""

    def test_may_have_many_lines(self) -> None:
        formula = only("\\[\nx\n= y\n\\]")
        assert (formula.type, formula.content.split(), formula.info) == ("math_block", ["x", "=", "y"], "closed")

    def test_text_after_the_end_is_a_paragraph(self) -> None:
        formula, text = parse("\\[ x \\] which is\nmore").children
        assert (formula.content, text.type, text.children[0].content) == (" x ", "paragraph", "which is\nmore")

    def test_punctuation_after_the_end_belongs_to_the_formula(self) -> None:
        assert only("\\[ x \\].").content == " x."

    def test_a_blank_line_ends_an_open_formula(self) -> None:
        formula, text = parse("\\[ x\n\ny").children
        assert (formula.info, text.type) == ("", "paragraph")

    def test_interrupts_a_paragraph(self) -> None:
        assert blocks("text\n$$\nx\n$$") == ["paragraph", "math_block"]

    def test_indented_by_four_spaces_it_is_code(self) -> None:
        assert blocks("    \\[ x \\]") == ["code_block"]


class TestHeadingsAndTables:
    """A line that is already shown must not become a heading or the head of a table."""

    def test_a_short_line_over_dashes_is_a_heading(self) -> None:
        assert blocks("Title\n---") == ["heading"]

    @pytest.mark.parametrize("source", ["x\n=\n5", "x\n-\n5", "x\n--", "a\n=="])
    def test_fewer_than_three_signs_are_text(self, source: str) -> None:
        assert only(source).children[0].content == source

    def test_a_number_over_dashes_is_no_heading(self) -> None:
        assert blocks("3\n---\n4") == ["paragraph", "hr", "paragraph"]

    def test_a_long_line_over_dashes_is_a_paragraph_and_a_rule(self) -> None:
        assert blocks("x" * (MAX_TITLE + 1) + "\n---") == ["paragraph", "hr"]

    def test_two_lines_over_dashes_are_a_paragraph(self) -> None:
        assert blocks("one\ntwo\n---") == ["paragraph", "hr"]

    def test_a_table_needs_a_short_head_or_a_bar_at_its_start(self) -> None:
        long = "a" * MAX_TITLE + " | b"
        assert blocks("a | b\n---|---") == ["table"]
        assert blocks(f"{long}\n---|---") == ["paragraph"]
        assert blocks(f"| {long} |\n|---|---|") == ["table"]

    def test_a_list_item_is_not_the_head_of_a_table(self) -> None:
        assert blocks("- a | b\n|---|---|") == ["bullet_list"]

    def test_a_table_with_absurdly_many_columns_is_text(self) -> None:
        assert blocks("|" + "a|" * 100 + "\n|" + "-|" * 100) == ["paragraph"]


class TestIsSettled:
    """Whether the line of a paragraph is final, though its end has not arrived."""

    @pytest.mark.parametrize(
        ("line", "settled"),
        [
            ("a long line of text " * 4, True),
            ("a short line", False),
            ("|" + "a long head of a table " * 4, False),
            ("-" * 80, False),
        ],
    )
    def test_by_its_start(self, line: str, settled: bool) -> None:
        assert is_settled(line) is settled


def test_html_is_text() -> None:
    assert [node.type for node in parse_inline("<b>x</b>").children if node.type != "text"] == []
