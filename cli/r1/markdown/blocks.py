"""The blocks of an answer → lines, and how many of them later text cannot change.

CommonMark's two kinds (https://spec.commonmark.org/0.31.2/#blocks-and-inlines): leaf blocks hold text (paragraph,
heading, code, formula, table), container blocks hold other blocks (list, quote).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markdown_it.tree import SyntaxTreeNode
from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from r1.markdown.grammar import HELD, is_settled, parse_inline
from r1.markdown.inline import DIM, Line, inline
from r1.markdown.wrap import DIVISIBLE, breaks, fold_text, wrap_text

if TYPE_CHECKING:
    from r1.markdown.code import Highlighter

_MIN_TEXT_COLUMNS = 4  # a margin that leaves less than this for its text is omitted
_MAX_RULE_COLUMNS = 40  # of a horizontal rule
_TAB_COLUMNS = 4  # in code
_HEADING = Style(bold=True)
_BULLETS = "•◦▪"
_QUOTE_MARKS = " \t>"
_CALCULATION = re.compile(
    r"\d(?:[\d\s.,()+*/=^<>%·×÷-]|[a-z](?![a-z])){0,40}"
)  # shorter than what `is_settled` decides
_LANGUAGE = re.compile(r"(?:[A-Za-z][A-Za-z0-9_+#.-]*)?")


@dataclass(frozen=True, slots=True)
class Start:
    """The effect of earlier text, already shown and dropped, on the start of the source."""

    blank: bool = False  # a blank line precedes the first block
    number: str | None = None  # of the first list item, such as "3.", if the list began earlier
    fence: int = -1  # the line that opens a code block, if all its shown lines but the first were dropped
    highlighter: Highlighter | None = None  # the one that coloured the dropped lines
    held: Text | None = None  # the text that HELD replaces: of a paragraph, from its last shown line on


@dataclass(frozen=True, slots=True)
class OpenCode:
    """A code block that is not closed yet."""

    line: int  # of the source: where it opens
    count: int  # of its own source lines
    first: int  # terminal lines that the first of them takes, and what the opening line says
    highlighter: Highlighter | None


@dataclass(frozen=True, slots=True)
class OpenParagraph:
    """A paragraph that may continue, divided where nothing before can change."""

    held: Text  # from the start of its last final line to the division
    first: int  # of the source: the line that it begins on
    content: str  # its source without the margins of lists and quotes
    division: int  # an offset in it

    def undecided(self, lines: Sequence[str]) -> list[str]:
        """The lines of the source from the first on, with HELD for the text before the division."""
        content, before = self.content.split("\n"), self.content[: self.division].split("\n")
        last = self.first + len(before) - 1
        margin = _without(lines[self.first], content[0])[0]
        rest = _without(lines[last], content[len(before) - 1][len(before[-1]) :])[1]
        return [margin + HELD + rest, *lines[last + 1 :]]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The lines of a leaf block. The first `stable` are final as long as only text follows."""

    lines: list[Text]
    stable: int = 0
    code: OpenCode | None = None
    paragraph: OpenParagraph | None = None


@dataclass(slots=True)
class Layout:
    """The lines of a source. The last block, or the last item of a list, may continue."""

    lines: list[Text] = field(default_factory=list)
    stable: int = 0  # lines that are final
    last_line: int = 0  # of the source: where the last block or item begins
    last_index: int = 0  # of `lines`: the same
    last_head: list[str] = field(default_factory=list)  # the head of the table that the last block continues
    last_leaf: int = 0  # of `lines`: where the last leaf block begins
    last_start: Start = field(default_factory=Start)
    last_width: int = 0  # that the last block is laid out for
    code: OpenCode | None = None  # if the source ends inside a code block
    paragraph: OpenParagraph | None = None  # if the source ends inside a paragraph


class Blocks:
    """Lays out the block tree of `source`. In an unfinished line, only the start of a paragraph is `stable`."""

    def __init__(self, source: str, start: Start, *, coloured: bool) -> None:
        self._source = source.split("\n")
        self._start = start
        self._leaves = LeafBlocks(start, ends_within_a_line=not source.endswith("\n"), coloured=coloured)
        self._last = Leaf([])  # the last leaf block so far
        self._depth = 0  # of bullet lists

    def layout(self, root: SyntaxTreeNode, first_width: int, width: int) -> Layout:
        """`first_width` is for the first block: part of it may have been shown before the width changed."""
        result = Layout(last_start=self._start, last_width=first_width)
        end = 0
        for index, node in enumerate(root.children):
            blank = index > 0 or self._start.blank
            first = _source_lines(node)[0]
            if index and first >= end:
                result.last_line, result.last_index = first, len(result.lines)
                result.last_start, result.last_width = Start(blank=True), width
                head = node.meta.get("head", first)
                result.last_head = self._source[head : head + 2] if head < first else []
            end = _source_lines(node)[1]
            if node.type in {"bullet_list", "ordered_list"}:
                self._top_list(node, blank, result, first=not index)
            else:
                result.lines += [Text()] * blank + self._block(node, result.last_width)
        result.last_leaf = len(result.lines) - len(self._last.lines)
        result.stable = result.last_leaf + self._last.stable
        result.code, result.paragraph = self._last.code, self._last.paragraph
        return result

    def _top_list(self, node: SyntaxTreeNode, blank: bool, result: Layout, *, first: bool) -> None:
        number = self._start.number if first else None
        numbers = _numbers(node, number)
        for index, (item, lines) in enumerate(self._items(node, result.last_width, number)):
            if index:
                blank = self._is_blank_before(item)
                result.last_line, result.last_index = _source_lines(item)[0], len(result.lines)
                result.last_start = Start(blank=blank, number=numbers[index])
            result.lines += [Text()] * blank + lines

    def _blocks(self, nodes: Sequence[SyntaxTreeNode], width: int, *, loose: bool) -> list[Text]:
        """Blocks one below the other: `loose` puts a blank line between any two, else only where the source has one."""
        lines: list[Text] = []
        end = 0
        for index, node in enumerate(nodes):
            begins_a_line = _source_lines(node)[0] >= end  # a paragraph after a formula on the same line does not
            if index and (loose or (begins_a_line and self._is_blank_before(node))):
                lines.append(Text())
            lines += self._block(node, width)
            end = _source_lines(node)[1]
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
        for index, (item, item_lines) in enumerate(self._items(node, width, None)):
            if index and self._is_blank_before(item):
                lines.append(Text())
            lines += item_lines
        return lines

    def _items(self, node: SyntaxTreeNode, width: int, number: str | None) -> list[tuple[SyntaxTreeNode, list[Text]]]:
        """Each item with its lines. Numbers are not padded, because the length of the list is not known yet."""
        items = []
        bullet = _BULLETS[self._depth % len(_BULLETS)]
        self._depth += node.type == "bullet_list"
        for item, own_number in zip(node.children, _numbers(node, number), strict=True):
            marker = f"{own_number or _sign(item) or bullet} "
            margin = Text(" " * len(marker))
            items.append((item, self._hanging(Text(marker), margin, item.children, width, loose=False)))
        self._depth -= node.type == "bullet_list"
        return items

    def _hanging(
        self, marker: Text, margin: Text, nodes: Sequence[SyntaxTreeNode], width: int, *, loose: bool
    ) -> list[Text]:
        """Blocks beside a margin that begins with a marker; on a narrow terminal, below the marker."""
        columns = width - cell_len(margin.plain)
        lines = self._blocks(nodes, columns if columns >= _MIN_TEXT_COLUMNS else width, loose=loose)
        if not lines:  # later text will go beside the marker
            self._last = Leaf([Text()])
            lines = [Text()]
        if columns < _MIN_TEXT_COLUMNS:
            marker.rstrip()
            return [*fold_text(marker, width), *lines] if margin.plain.isspace() else lines
        beside = [(margin if index else marker) + line for index, line in enumerate(lines)]
        for line in beside:
            line.rstrip()
        return beside

    def _is_blank_before(self, node: SyntaxTreeNode) -> bool:
        first = _source_lines(node)[0]
        return first > 0 and not self._source[first - 1].strip(_QUOTE_MARKS)


class LeafBlocks:
    """Lays out the leaf blocks of one source, which may end in the middle of a line."""

    def __init__(self, start: Start, *, ends_within_a_line: bool, coloured: bool) -> None:
        self._start = start
        self._ends_within_a_line = ends_within_a_line
        self._coloured = coloured

    def leaf(self, node: SyntaxTreeNode, width: int) -> Leaf:
        """The lines of one leaf block, each at most `width` columns."""
        match node.type:
            case "paragraph":
                return self._paragraph(node, width)
            case "heading":
                title = inline(node.children[0]).text
                title.stylize_before(_HEADING)
                lines = wrap_text(title, width)
                return Leaf(lines, len(lines))
            case "hr":
                return Leaf([Text.styled("─" * min(width, _MAX_RULE_COLUMNS), DIM)], 1)
            case "fence" | "code_block":
                return self._code(node, width)
            case "math_block":
                return _formula(node, width)
            case "table":
                from r1.markdown.tables import table

                return Leaf(table(node, width))
            case _:
                return Leaf(fold_text(Text(node.content), width))

    def _paragraph(self, node: SyntaxTreeNode, width: int) -> Leaf:
        """A paragraph, and how many of its lines are final if it is the last block.

        Its last source line may still become a heading or the head of a table. Wrapped lines of an unfinished source
        line are final, up to the first character that later text may pair up with.
        """
        content = node.children[0]
        lines = wrap_text(self._continued(inline(content)).text, width)
        kept = content.content
        if not is_settled(kept.rpartition("\n")[2]):
            kept = kept.rpartition("\n")[0]
        if not kept:
            return Leaf(lines)
        line = self._continued(inline(parse_inline(kept)))
        spans = list(breaks(line.text.plain[: line.open], width))
        may_continue = line.open is not None or (self._ends_within_a_line and kept == content.content)
        stable = len(spans) - may_continue  # a line is decided by the word that follows it
        return Leaf(lines, stable, paragraph=self._divided(node, kept, line, spans[stable - 1][0]) if stable else None)

    def _divided(self, node: SyntaxTreeNode, kept: str, line: Line, begin: int) -> OpenParagraph | None:
        """The paragraph `node`, if it can be divided; `begin` is where its last final line begins."""
        source, text = _decided(kept, line)
        (first, end), content = _source_lines(node), node.children[0].content
        is_complete = content.count("\n") == end - first - 1  # lines that only look blank are missing in `content`
        is_held = kept.startswith(HELD)
        is_other = self._start.held is not None and not is_held  # one of two paragraphs of a list item
        if source < len(HELD) * is_held or is_other or not is_complete:
            return None
        return OpenParagraph(line.text[begin:text], first, content, source)

    def _continued(self, line: Line) -> Line:
        """The line with the text that HELD stands for."""
        held = self._start.held
        if held is None or not line.text.plain.startswith(HELD):
            return line
        grown = len(held) - len(HELD)
        return Line(held + line.text[len(HELD) :], None if line.open is None else line.open + grown, line.open_source)

    def _code(self, node: SyntaxTreeNode, width: int) -> Leaf:
        """Code without a margin, which would be copied with it; lines that are too long are folded."""
        first, end = _source_lines(node)
        source = node.content.split("\n")
        if node.content.endswith("\n") or not node.content:
            source.pop()
        highlighter = self._highlighter(node, first) if self._coloured else None
        pieces: list[list[Text]] = []
        for index, line in enumerate(source):
            expanded = line.expandtabs(_TAB_COLUMNS)
            is_repeated = first == self._start.fence and not index  # shown already, and lexed by the highlighter
            coloured = highlighter.line(expanded) if highlighter and not is_repeated else Text(expanded)
            pieces.append(fold_text(coloured, width))
        title = node.info.strip() if node.type == "fence" else ""
        heading = [] if _LANGUAGE.fullmatch(title) else wrap_text(Text.styled(title, DIM), width)
        lines = [*heading, *(line for piece in pieces for line in piece)]
        if node.type == "code_block":
            return Leaf(lines)
        is_open = source and len(source) >= end - first - 1
        if not is_open:
            return Leaf(lines, len(lines))
        count = len(heading) + len(pieces[0])
        return Leaf(lines, len(lines), OpenCode(line=first, count=len(source), first=count, highlighter=highlighter))

    def _highlighter(self, node: SyntaxTreeNode, first: int) -> Highlighter:
        from r1.markdown.code import Highlighter

        if first == self._start.fence and self._start.highlighter:
            return self._start.highlighter
        return Highlighter((node.info.split() or [""])[0])


def _decided(source: str, line: Line) -> tuple[int, int]:
    """Where a paragraph can be divided: offsets in its source and in its text; -1 if nowhere.

    That is before the last character in front of the first mark that later text can pair up with, if that character
    is white space or Chinese; else at the end. The character remains, because marks depend on the one before them.
    """
    at, text = (len(source), len(line.text)) if line.open is None else (line.open_source, line.open)
    if at > 0 and text > 0 and source[at - 1] == line.text.plain[text - 1] and DIVISIBLE.match(source[at - 1]):
        return at - 1, text - 1
    return (at, text) if line.open is None else (-1, -1)


def _without(line: str, end: str) -> tuple[str, str]:
    """A line of the source, cut before its end, which may have lost white space behind it."""
    cut = len(line.rstrip()) - len(end.rstrip())
    return line[:cut], line[cut:]


def _formula(node: SyntaxTreeNode, width: int) -> Leaf:
    """A formula on separate lines, slightly indented; an unclosed one is shown as its source."""
    from r1.markdown.math import math

    if not node.info:
        source = (node.markup + node.content).split("\n")
        return Leaf([piece for line in source for piece in fold_text(Text(line), width)])
    margin = min(2, max(width - _MIN_TEXT_COLUMNS, 0))
    lines = list(math(node.content, display=True, width=width - margin).split("\n"))
    for line in lines:
        line.rstrip()
    pieces = [Text(" " * margin) + piece for line in lines for piece in wrap_text(line, width - margin)]
    return Leaf(pieces, len(pieces))


def _source_lines(node: SyntaxTreeNode) -> tuple[int, int]:
    """The first source line of a block, and the line after its last."""
    assert node.map is not None, "block nodes have a map"
    return node.map


def _numbers(node: SyntaxTreeNode, first: str | None) -> list[str | None]:
    """The numbers of a list as they are written; `first` if the list began in text that was dropped.

    Where the same number is written again, as in 1. 1. 1., it is one more than the number before. None: bullets.
    """
    if node.type == "bullet_list":
        return [None] * len(node.children)
    numbers: list[str | None] = []
    for index, item in enumerate(node.children):
        number = f"{item.info}{item.markup}"
        if not index:
            number = first or number
        elif item.info == node.children[index - 1].info:
            number = f"{int(str(numbers[-1])[:-1]) + 1}{item.markup}"
        numbers.append(number)
    return numbers


def _sign(item: SyntaxTreeNode) -> str:
    """The marker of an item that may be a line of a calculation, where it is a sign: `- 5`, `+ 3x = 7`."""
    text = item.children[0].children[0].content if item.children and item.children[0].type == "paragraph" else ""
    return str(item.markup) if _CALCULATION.fullmatch(text.partition("\n")[0].rstrip()) else ""
