"""Tables, as GitHub's Markdown has them (https://github.github.com/gfm/#tables-extension-).

Other than there, code and formulas are recognised before a row is cut into cells, because models write `|x|` in both,
and a row may have more cells than the head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it.rules_block import StateBlock

from r1.markdown.spans import code_span, formula_span

MAX_COLUMNS = 60

_MAX_CELLS = 300  # of one table
_DELIMITERS = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_SPECIAL = re.compile(r"\\\||[|`$]|\\[(\[]|\\boxed\{")


def table(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """Pushes the tokens of markdown-it's own rule, with as many cells in a row as the row has.

    A long table becomes several, each with the same head: columns as wide as the widest of all cells would be known
    only at the end, and the time to draw them again for each new row would grow with their number.
    """
    if first + 2 > end or state.is_code_block(first) or _is_outside(state, first + 1):
        return False
    aligns = _aligns(_line(state, first + 1))
    head = cells(_line(state, first), len(aligns)) if aligns and "|" in _line(state, first) else []
    if not head or len(head) != len(aligns):
        return False
    if silent:
        return True
    begin, state.parentType = state.parentType, "table"
    last = _last_row(state, first + 2, end)
    step = max(_MAX_CELLS // len(aligns), 1)
    for row in range(first + 2, max(last, first + 3), step):
        opening = state.push("table_open", "table", 1)
        state.line = min(row + step, last)
        opening.map, opening.meta = [first if row == first + 2 else row, state.line], {"head": first}
        state.push("thead_open", "thead", 1).map = [first, first + 1]
        _push_row(state, first, head, aligns, "th")
        state.push("thead_close", "thead", -1)
        _push_body(state, row, state.line, aligns)
        state.push("table_close", "table", -1)
    state.parentType = begin
    return True


def cells(row: str, columns: int) -> list[str]:
    """The cells of a row. A `|` in code or a formula does not end one, unless there would be fewer than `columns`."""
    found = list(_cells(row, protected=True))
    if len(found) != columns and len(plain := list(_cells(row, protected=False))) == columns:
        return plain
    while len(found) > columns and not found[-1]:
        found.pop()
    return [*found[: MAX_COLUMNS - 1], " | ".join(found[MAX_COLUMNS - 1 :])] if len(found) > MAX_COLUMNS else found


def _cells(row: str, *, protected: bool) -> Iterator[str]:
    row = row.strip().removeprefix("|")
    cell, position = "", 0
    while match := _SPECIAL.search(row, position):
        cell += row[position : match.start()]
        position = match.end()
        if match[0] == "|":
            yield cell.strip()
            cell = ""
        elif match[0] == r"\|":
            cell += "|"
        else:
            text = (protected and _protected(row, match.start())) or match[0]
            position = match.start() + len(text)
            is_norm = not text.startswith("`") and text.count(r"\|") % 2 == 0  # \|x\|, but not P(A \| B)
            cell += text if is_norm else text.replace(r"\|", "|")
    cell += row[position:]
    if cell.strip():
        yield cell.strip()


def _protected(row: str, begin: int) -> str:
    """The code or formula at `begin`; empty if there is none."""
    span = code_span(row, begin, len(row)) or formula_span(row, begin, len(row))
    return row[begin : span[2]] if span else ""


def _aligns(line: str) -> list[str]:
    """The alignment of each column, as the line below the head says; empty if it is no such line."""
    if not _DELIMITERS.fullmatch(line):
        return []
    parts = [part.strip() for part in line.strip().strip("|").split("|")]
    return [_ALIGNS[part.startswith(":"), part.endswith(":")] for part in parts]


_ALIGNS = {(False, False): "", (True, False): "left", (False, True): "right", (True, True): "center"}


def _last_row(state: StateBlock, line: int, end: int) -> int:
    """The line after the rows that begin at `line`: a blank one, or the first of another block."""
    rules = state.md.block.ruler.getRules("blockquote")
    while line < end and not _is_outside(state, line) and _line(state, line).strip():
        if any(rule(state, line, end, True) for rule in rules):
            break
        line += 1
    return line


def _push_body(state: StateBlock, first: int, end: int, aligns: Sequence[str]) -> None:
    if first >= end:
        return
    state.push("tbody_open", "tbody", 1).map = [first, end]
    for line in range(first, end):
        _push_row(state, line, cells(_line(state, line), len(aligns)), aligns, "td")
    state.push("tbody_close", "tbody", -1)


def _push_row(state: StateBlock, line: int, row: Sequence[str], aligns: Sequence[str], tag: str) -> None:
    state.push("tr_open", "tr", 1).map = [line, line + 1]
    for index, text in enumerate(row):
        align = aligns[index] if index < len(aligns) else ""
        state.push(f"{tag}_open", tag, 1).attrs = {"style": f"text-align:{align}"} if align else {}
        content = state.push("inline", "", 0)
        content.map, content.content, content.children = [line, line + 1], text, []
        state.push(f"{tag}_close", tag, -1)
    state.push("tr_close", "tr", -1)


def _is_outside(state: StateBlock, line: int) -> bool:
    """Whether a line is less indented than the container, or code."""
    return state.sCount[line] < state.blkIndent or state.is_code_block(line)


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]
