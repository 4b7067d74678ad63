"""`r1.markdown.emphasis`: marks that are emphasis, and marks that belong to names and expressions."""

from __future__ import annotations

import pytest
from markdown_it.tree import SyntaxTreeNode

from r1.markdown.grammar import parse_inline
from r1.markdown.inline import inline


def tags(source: str) -> list[tuple[str, str]]:
    """The spans of a text: tag and content, the outer before the inner."""

    def walk(node: SyntaxTreeNode) -> list[tuple[str, str]]:
        own = [(node.type, inline(node).text.plain)] if node.type in {"em", "strong", "s"} else []
        return own + [pair for child in node.children for pair in walk(child)]

    return walk(parse_inline(source))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a *word* here", [("em", "word")]),
        ("_word_, then", [("em", "word")]),
        ("(*word*)", [("em", "word")]),
        ("*several plain words.*", [("em", "several plain words.")]),
        ("*well-known*", [("em", "well-known")]),
        ("**bold**: text", [("strong", "bold")]),
        ("**Answer: 42**", [("strong", "Answer: 42")]),
        ("**2 + 2 = 4**", [("strong", "2 + 2 = 4")]),
        ("**Yes**/**No**", [("strong", "Yes"), ("strong", "No")]),
        ("__bold words__", [("strong", "bold words")]),
        ("***both***", [("em", "both"), ("strong", "both")]),
        ("***both** soft*", [("em", "both soft"), ("strong", "both")]),
        ("**bold *both***", [("strong", "bold both"), ("em", "both")]),
        ("**a *b* c**", [("strong", "a b c"), ("em", "b")]),
        ("~~gone~~", [("s", "gone")]),
        ("这是**重点**内容", [("strong", "重点")]),
        ("**答案：**42", [("strong", "答案：")]),
        ("*where \\(x = 2\\) holds*", [("em", "where x = 2 holds")]),
        ("use **kwargs here. **Note:** text", [("strong", "Note:")]),
    ],
)
def test_emphasis_stands_at_word_borders(source: str, expected: list[tuple[str, str]]) -> None:
    assert tags(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        *["2*3*4 = 24", "a*b*c", "2**3**4", "5 * 3 * 2", "x = 2 *3* 4", "(a)*(b)*(c)", "x[0]*y[1]*z", "π*r*2*π"],
        *["__init__.py", '__name__ == "__main__"', "__all__", "obj.__class__.__name__", "_foo_bar_", "_a.a_"],
        *["*args, **kwargs", "f(*a, *b)", "int *p, *q;", "/*comment*/ x", "-*- coding -*-", "(* note *)"],
        *["*.txt,*.py", "src/**/a/**/b", "*_test and test_*", "file*.txt *.py", "a~~b~~c", "****", "~~~~"],
        *['the "*" and the "*" key', "(*) and (*)", "**open", "open**", "** a **", "**bold**text"],
    ],
)
def test_marks_of_names_and_expressions_stay(source: str) -> None:
    assert inline(parse_inline(source)).text.plain == source


@pytest.mark.parametrize("count", [1, 9, 5000])
def test_deep_nesting_is_shown(count: int) -> None:
    text = inline(parse_inline("*a " * count + "b*" * count)).text.plain
    assert text.replace("*", "").split() == ["a"] * count + ["b" * count]


def test_a_mark_without_an_end_is_decided_after_a_while() -> None:
    assert inline(parse_inline("*open " + "word " * 100)).open == 0
    assert inline(parse_inline("*open " + "word " * 500)).open is None
