"""The blocks of a text → lines, and which of these lines no further text can change.

Knows: lists, quotes, blank lines, and where a text can be taken up again. Does not know: what is in a paragraph or in
code, when lines are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markdown_it.tree import SyntaxTreeNode
from rich.cells import cell_len
from rich.text import Text

from r1.markdown.blocks import NARROWEST, Code, Leaf, Leaves, Start, lines_of
from r1.markdown.inline import DIM
from r1.markdown.wrap import fold

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
