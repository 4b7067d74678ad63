"""A Markdown table → lines: drawn in columns where they fit, else row by row as `name: value`."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from markdown_it.tree import SyntaxTreeNode
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from r1.markdown.inline import inline
from r1.markdown.wrap import wrap_text

_HEAD = Style(bold=True)
_BREAK = re.compile(r"<br */?>", re.IGNORECASE)  # the one HTML tag that models write, and only here
_GAP = 3  # terminal columns between two table columns
_READABLE = 12  # terminal columns; a cell of this width is readable even if its longest word is wider


@dataclass(frozen=True, slots=True)
class _Cell:
    text: Text
    align: Literal["left", "right", "center"]


def table(node: SyntaxTreeNode, width: int) -> list[Text]:
    """Lines of at most `width` columns."""
    head, *rows = [[_cell(cell) for cell in row.children] for part in node.children for row in part.children]
    surplus = max((len(row) for row in rows), default=0) - len(head)  # cells beyond the head have no name
    head += [_Cell(Text(), "left")] * surplus
    columns = [[row[index] for row in (head, *rows) if index < len(row)] for index in range(len(head))]
    needed = sum(min(_longest_word(column), _READABLE) + _GAP for column in columns) - _GAP
    if needed > width:
        return _records(head, rows, width)
    return _drawn(head, rows, width)


def _cell(node: SyntaxTreeNode) -> _Cell:
    text = inline(node.children[0]).text if node.children else Text()
    if _BREAK.search(text.plain):
        offsets = [offset for match in _BREAK.finditer(text.plain) for offset in match.span()]
        text = Text("\n").join(text.divide(offsets)[::2])
    align = str(node.attrs.get("style", "")).removeprefix("text-align:") or "left"
    return _Cell(text, cast(Literal["left", "right", "center"], align))


def _longest_word(column: Sequence[_Cell]) -> int:
    return max((cell_len(word) for cell in column for word in cell.text.plain.split()), default=1)


def _drawn(head: Sequence[_Cell], rows: Sequence[Sequence[_Cell]], width: int) -> list[Text]:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style=_HEAD, border_style=Style(dim=True))
    for cell in head:
        drawn.add_column(cell.text, justify=cell.align, overflow="fold")
    for row in rows:
        drawn.add_row(*(cell.text for cell in row))
    screen = Console(file=io.StringIO(), width=width, highlight=False, legacy_windows=False)
    lines = [
        Text.assemble(*((segment.text, segment.style or "") for segment in line))
        for line in screen.render_lines(drawn, pad=False)
    ]
    for line in lines:
        line.rstrip()
    return lines


def _records(head: Sequence[_Cell], rows: Sequence[Sequence[_Cell]], width: int) -> list[Text]:
    """For narrow terminals: the cells of a row one below the other, with a blank line between rows."""
    records = [_record(head, row, width) for row in rows] or [
        [line for cell in head for line in wrap_text(Text.styled(cell.text.plain, _HEAD), width)]
    ]
    lines = records[0]
    for record in records[1:]:
        lines += [Text(), *record]
    return lines


def _record(head: Sequence[_Cell], row: Sequence[_Cell], width: int) -> list[Text]:
    lines: list[Text] = []
    for name, cell in zip(head, row, strict=False):
        if cell.text:
            label = Text.assemble((name.text.plain, _HEAD), ": ") if name.text else Text()
            lines += wrap_text(label + cell.text, width)
    return lines
