"""`r1.markdown.table_rows`: where the cells of a table begin and end."""

from __future__ import annotations

import pytest

from r1.markdown.grammar import parse
from r1.markdown.stream import render
from r1.markdown.table_rows import MAX_COLUMNS, cells


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ("| a | b |", 2, ["a", "b"]),
        ("a | b", 2, ["a", "b"]),
        ("| a |", 2, ["a"]),
        ("| a | b | c |", 2, ["a", "b", "c"]),
        ("| a | b | |", 2, ["a", "b"]),
        ("| a | | c |", 3, ["a", "", "c"]),
        (r"| a \| b | c |", 2, ["a | b", "c"]),
        ("| $P(A|B)$ | 0.5 |", 2, ["$P(A|B)$", "0.5"]),
        ("| `ls | wc -l` | counts |", 2, ["`ls | wc -l`", "counts"]),
        (r"| `ls \| wc -l` | counts |", 2, ["`ls | wc -l`", "counts"]),
        (r"| \(|x|\) | \[|y|\] |", 2, [r"\(|x|\)", r"\[|y|\]"]),
        (r"| \boxed{|x|} | 1 |", 2, [r"\boxed{|x|}", "1"]),
        (r"| $\|x\|$ | 1 |", 2, [r"$\|x\|$", "1"]),
        ("| $5 | $10 |", 2, ["$5", "$10"]),
        ("|$5|10$|", 2, ["$5", "10$"]),
        ("| a ` | b ` |", 2, ["a `", "b `"]),
        ("", 2, []),
    ],
)
def test_code_and_formulas_are_not_cut(row: str, columns: int, expected: list[str]) -> None:
    assert cells(row, columns) == expected


def test_an_absurdly_long_row_keeps_all_its_text() -> None:
    row = cells("|" + "|".join(map(str, range(500))) + "|", 3)
    assert len(row) == MAX_COLUMNS
    assert row[-1].split(" | ") == [str(number) for number in range(MAX_COLUMNS - 1, 500)]


def test_surplus_cells_are_shown() -> None:
    assert render("| a | b |\n|---|---|\n| 1 | 2 | 3 | 4 |", 40, colour=False).split() == [
        *["a", "b", "─" * 13, "1", "2", "3", "4"],
    ]


@pytest.mark.parametrize(
    "source",
    [
        "a | b",
        "a | b\n--",
        "| a | b |\n|---|",
        "| a |\n|---|---|",
        "a\n---|---",
        "| a | b |\n|--x|---|",
        "| a || b |\n|---||---|",
    ],
)
def test_lines_that_are_no_table(source: str) -> None:
    assert all(node.type != "table" for node in parse(source).children)


@pytest.mark.parametrize("end", ["\n\ntext", "\n> text", "\n- text", "\n```\ntext", ""])
def test_a_blank_line_or_another_block_ends_a_table(end: str) -> None:
    (table, *_) = parse(f"| a |\n|---|\n| 1 |{end}").children
    assert (table.type, table.map) == ("table", (0, 3))


@pytest.mark.parametrize(
    ("cell", "content"),
    [
        (r"$P(A \| B)$", "$P(A | B)$"),
        (r"\(a \| b\)", r"\(a | b\)"),
        (r"$\|x\| = 1$", r"$\|x\| = 1$"),
        (r"`a \|\| b`", "`a || b`"),
    ],
)
def test_an_escaped_bar_in_a_formula_is_a_bar_unless_two_of_them_are_a_norm(cell: str, content: str) -> None:
    assert cells(f"| {cell} | 1 |", 2) == [content, "1"]


def test_a_long_table_becomes_several_with_the_same_head() -> None:
    rows = [f"| {number} | x |" for number in range(600)]
    tables = parse("\n".join(["| n | x |", "|---|---|", *rows, "", "text"])).children[:-1]
    assert len(tables) > 1
    assert {table.children[0].children[0].children[0].children[0].content for table in tables} == {"n"}
    shown = [row.children[0].children[0].content for table in tables for row in table.children[1].children]
    assert shown == [str(number) for number in range(600)]
