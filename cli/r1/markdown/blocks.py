"""The blocks that hold no others → lines, and how many of these no further text can change.

Knows: how a paragraph, a title, code, a formula look. Does not know: lists, quotes, when lines are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markdown_it.tree import SyntaxTreeNode
from rich.style import Style
from rich.text import Text

from r1.markdown.grammar import is_settled, parse_inline
from r1.markdown.inline import DIM, inline
from r1.markdown.wrap import breaks, fold, wrap

if TYPE_CHECKING:
    from r1.markdown.code import Highlighter

NARROWEST = 4
"""Columns: where a margin would leave less to its text, there is none."""

_TITLE = Style(bold=True)
_RULE = 40  # columns of a horizontal rule
_TAB = 4  # columns in code


@dataclass(frozen=True, slots=True)
class Start:
    """What there is to know of what came before a text."""

    blank: bool = False  # a blank line sets it off
    number: int | None = None  # of the first item, when the list has begun before
    fence: int = -1  # the line that opened the block of code of which only the first line is still there
    highlighter: Highlighter | None = None  # that coloured the others


@dataclass(frozen=True, slots=True)
class Code:
    """A block of code that is not closed."""

    line: int  # of the source, that opens it
    count: int  # of its own lines
    first: int  # lines on the terminal that the first of them takes
    highlighter: Highlighter | None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A block's lines. The first `stable` stay what they are while nothing but text follows."""

    lines: list[Text]
    stable: int = 0
    code: Code | None = None


class Leaves:
    """Lays out blocks of one text, which may end in the middle of a line."""

    def __init__(self, start: Start, *, ends_within_a_line: bool, coloured: bool) -> None:
        self._start = start
        self._ends_within_a_line = ends_within_a_line
        self._coloured = coloured

    def leaf(self, node: SyntaxTreeNode, width: int) -> Leaf:
        """In lines of at most `width` columns."""
        match node.type:
            case "paragraph":
                content = node.children[0]
                lines = wrap(inline(content).text, width)
                return Leaf(lines, min(self._settled(content.content, width), len(lines)))
            case "heading":
                title = inline(node.children[0]).text
                title.stylize_before(_TITLE)
                lines = wrap(title, width)
                return Leaf(lines, len(lines))
            case "hr":
                return Leaf([Text.styled("─" * min(width, _RULE), DIM)], 1)
            case "fence" | "code_block":
                return self._code(node, width)
            case "math_block":
                return _formula(node, width)
            case "table":
                from r1.markdown.tables import table

                return Leaf(table(node, width))
            case _:
                return Leaf(fold(Text(node.content), width))

    def _settled(self, content: str, width: int) -> int:
        """How many lines of a paragraph that ends the text are final.

        Its last line may turn out to be a title or a table's head. Of an unfinished line, what has been wrapped stays;
        but nothing stays from the first character on that text to come may pair up with.
        """
        kept = content if is_settled(content.rpartition("\n")[2]) else content.rpartition("\n")[0]
        if not kept:
            return 0
        line = inline(parse_inline(kept))
        ends = [end for _, end in breaks(line.text.plain, width)]
        if self._ends_within_a_line and kept == content:
            ends.pop()
        if line.open is None:
            return len(ends)
        word = 1 + max(line.text.plain.rfind(space, 0, line.open) for space in " \n")
        return max(sum(end <= word for end in ends) - 1, 0)  # a line ends where the next word has no room

    def _code(self, node: SyntaxTreeNode, width: int) -> Leaf:
        """Code as it is, with nothing beside it that copying would take along; lines too long go on below."""
        first, end = lines_of(node)
        source = node.content.split("\n")
        if node.content.endswith("\n") or not node.content:
            source.pop()
        highlighter = self._highlighter(node, first) if self._coloured else None
        pieces: list[list[Text]] = []
        for index, line in enumerate(source):
            tabless = line.expandtabs(_TAB)
            again = first == self._start.fence and not index  # it is shown, and the highlighter has had it
            coloured = highlighter.line(tabless) if highlighter and not again else Text(tabless)
            pieces.append(fold(coloured, width))
        lines = [line for piece in pieces for line in piece]
        if node.type == "code_block":
            return Leaf(lines)
        is_open = source and len(source) >= end - first - 1
        return Leaf(lines, len(lines), Code(first, len(source), len(pieces[0]), highlighter) if is_open else None)

    def _highlighter(self, node: SyntaxTreeNode, first: int) -> Highlighter:
        from r1.markdown.code import Highlighter

        if first == self._start.fence and self._start.highlighter:
            return self._start.highlighter
        return Highlighter((node.info.split() or [""])[0])


def lines_of(node: SyntaxTreeNode) -> tuple[int, int]:
    """The lines of the source that a block was made of."""
    assert node.map is not None, "a block knows its lines"
    return node.map


def _formula(node: SyntaxTreeNode, width: int) -> Leaf:
    """On lines of its own, a little to the right; as it is written, if it does not end."""
    from r1.markdown.math import math

    if not node.info:
        return Leaf([piece for line in (node.markup + node.content).split("\n") for piece in fold(Text(line), width)])
    margin = min(2, max(width - NARROWEST, 0))
    lines = list(math(node.content, display=True).split("\n"))
    for line in lines:
        line.rstrip()
    pieces = [Text(" " * margin) + piece for line in lines for piece in wrap(line, width - margin)]
    return Leaf(pieces, len(pieces))
