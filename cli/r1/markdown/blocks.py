"""The blocks that hold no others → lines, and how many of these no further text can change.

Knows: how a paragraph, a title, code, a formula look. Does not know: lists, quotes, when lines are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markdown_it.tree import SyntaxTreeNode
from rich.cells import cell_len
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


_BULLETS = "•◦▪"
_QUOTED = " \t>"


@dataclass(slots=True)
class Layout:
    """The lines of a text. The last block, or the last item if it is a list, may go on."""

    lines: list[Text] = field(default_factory=list)
    stable: int = 0  # lines that are what they are
    last_line: int = 0  # of the source, where the last block or item begins
    last_index: int = 0  # of `lines`, likewise
    last_leaf: int = 0  # of `lines`, where the last block begins that holds no others
    last_start: Start = field(default_factory=Start)
    code: Code | None = None  # when the text ends within a block of code


class Blocks:
    """Lays out the tree of `source`. Within an unfinished line, only a paragraph's beginning is `stable`."""

    def __init__(self, source: str, start: Start, *, coloured: bool) -> None:
        self._source = source.split("\n")
        self._start = start
        self._leaves = Leaves(start, ends_within_a_line=not source.endswith("\n"), coloured=coloured)
        self._last = Leaf([])  # the last block so far that holds no others
        self._depth = 0

    def layout(self, root: SyntaxTreeNode, first_width: int, width: int) -> Layout:
        """`first_width` is for the first block: a part of it may have been shown before the width changed."""
        result = Layout(last_start=self._start)
        end = 0
        for index, node in enumerate(root.children):
            blank = index > 0 or self._start.blank
            if index and lines_of(node)[0] >= end:
                result.last_line, result.last_index = lines_of(node)[0], len(result.lines)
                result.last_start = Start(blank=True)
            end = lines_of(node)[1]
            columns = width if index else first_width
            if node.type in {"bullet_list", "ordered_list"}:
                self._top_list(node, columns, blank, result, first=not index)
            else:
                result.lines += [Text()] * blank + self._block(node, columns)
        result.last_leaf = len(result.lines) - len(self._last.lines)
        result.stable = result.last_leaf + self._last.stable
        result.code = self._last.code
        return result

    def _top_list(self, node: SyntaxTreeNode, width: int, blank: bool, result: Layout, *, first: bool) -> None:
        number = self._start.number if first else None
        for index, (item, lines) in enumerate(self._items(node, width, number)):
            if index:
                blank = self._is_blank_before(item)
                result.last_line, result.last_index = lines_of(item)[0], len(result.lines)
                result.last_start = Start(blank=blank, number=_number(node, number) + index)
            result.lines += [Text()] * blank + lines

    def _blocks(self, nodes: Sequence[SyntaxTreeNode], width: int, *, loose: bool) -> list[Text]:
        """Blocks below each other, with a blank line between two if `loose`, else where the source has one."""
        lines: list[Text] = []
        end = 0
        for index, node in enumerate(nodes):
            begins_a_line = lines_of(node)[0] >= end  # unless it is what stands behind a formula
            if index and (loose or (begins_a_line and self._is_blank_before(node))):
                lines.append(Text())
            lines += self._block(node, width)
            end = lines_of(node)[1]
        return lines

    def _block(self, node: SyntaxTreeNode, width: int) -> list[Text]:
        match node.type:
            case "bullet_list" | "ordered_list":
                return self._list(node, width)
            case "blockquote":
                bar = Text.styled("│ ", DIM)
                return self._hanging(bar, bar, node.children, width, loose=True)
        self._last = self._leaves.leaf(node, width)
        return self._last.lines

    def _list(self, node: SyntaxTreeNode, width: int) -> list[Text]:
        lines: list[Text] = []
        for index, (item, more) in enumerate(self._items(node, width, None)):
            if index and self._is_blank_before(item):
                lines.append(Text())
            lines += more
        return lines

    def _items(self, node: SyntaxTreeNode, width: int, number: int | None) -> list[tuple[SyntaxTreeNode, list[Text]]]:
        """Each item with its lines. A number takes the room it needs: nobody knows how long the list will be."""
        items = []
        bullet = _BULLETS[self._depth % len(_BULLETS)]
        self._depth += node.type == "bullet_list"
        for index, item in enumerate(node.children):
            marker = f"{_number(node, number) + index}. " if node.type == "ordered_list" else f"{bullet} "
            margin = Text(" " * len(marker))
            items.append((item, self._hanging(Text(marker), margin, item.children, width, loose=False)))
        self._depth -= node.type == "bullet_list"
        return items

    def _hanging(
        self, marker: Text, margin: Text, nodes: Sequence[SyntaxTreeNode], width: int, *, loose: bool
    ) -> list[Text]:
        """Blocks beside a margin that begins with a marker."""
        room = width - cell_len(margin.plain)
        lines = self._blocks(nodes, room if room >= NARROWEST else width, loose=loose)
        if not lines:  # what comes will stand beside the marker
            self._last = Leaf([Text()])
            lines = [Text()]
        if room < NARROWEST:
            marker.rstrip()
            return [*fold(marker, width), *lines] if margin.plain.isspace() else lines
        beside = [(margin if index else marker) + line for index, line in enumerate(lines)]
        for line in beside:
            line.rstrip()
        return beside

    def _is_blank_before(self, node: SyntaxTreeNode) -> bool:
        first = lines_of(node)[0]
        return first > 0 and not self._source[first - 1].strip(_QUOTED)


def _number(node: SyntaxTreeNode, number: int | None) -> int:
    """Of a list's first item."""
    return int(node.attrs.get("start", 1)) if number is None else number
