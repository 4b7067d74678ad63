r"""The Markdown that R1 writes → markdown-it's tokens. Mathematics is `\(…\)`, `\[…\]`, `$…$`, `$$…$$`, `\boxed{…}`,
and `\begin{align}…\end{align}` with what else is a formula in LaTeX.

This module has the rules for blocks, `table_rows` the one for tables, `spans` and `emphasis` those inside a paragraph.
The rules for mathematics are our own: those of mdit-py-plugins lose the text after a `\]`, mistake a price at the start
of a paragraph for a formula when the paragraph ends in a digit, and cannot tell that a formula is still open.

Every rule decides by the lines seen so far, so text appended at the end changes no block before the last.
"""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, lheading, list_block, paragraph
from markdown_it.tree import SyntaxTreeNode

from r1.markdown.spans import ENVIRONMENT, use_spans
from r1.markdown.table_rows import MAX_COLUMNS, table

MAX_TITLE = 60
"""Characters. `---` below a longer line does not make it a heading, or a table's head unless the line begins with |."""

HELD = "\ue000" * (MAX_TITLE + 1)
"""Replaces the dropped source of a paragraph. A line of this length can become nothing else."""

_MAX_NESTING = 20  # of blocks; deeper ones are shown as text
_MAX_QUOTES = 8  # the same; each takes two columns and costs time for every line
_OTHER_BLOCK = re.compile(
    r"(?:[-+*]|#{1,6}|\d{1,9}[.)])(?:\s|$)|>|```|~~~|\\\[|\$\$|\\begin\{"
)  # at the start of a line
_DISPLAYS = {"\\[": "\\]", "$$": "$$"}
_DISPLAY = re.compile(rf"\\\[|\$\$|{ENVIRONMENT.pattern}")
_STOP = re.compile(r"[.,;:!?]+(?=\s|$)")
_BLOCK_NAME = re.compile("matrix|cases|array")
_UNDERLINE = re.compile(r"(?:={3,}|-{3,})[ \t]*")
_NO_QUOTE = re.compile(r">>>(?:\s|$)|>[=\d]")  # the prompt of Python, and comparisons


def parse(source: str) -> SyntaxTreeNode:
    """The tree of blocks, each with its lines of `source`."""
    return SyntaxTreeNode(_parser().parse(source))


def parse_inline(source: str) -> SyntaxTreeNode:
    """The tree of a paragraph's text."""
    return SyntaxTreeNode(_parser().parseInline(source)).children[0]


def is_settled(line: str) -> bool:
    """Whether a paragraph's line that begins like this remains part of the paragraph, regardless of later text."""
    line = line.strip()
    return len(line) > MAX_TITLE and not line.startswith("|") and re.search(r"[^-|:=\s]", line) is not None


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING}).enable("table")
    parser.disable(["reference", "html_block"])
    parser.block.ruler.before("fence", "math_block", _display, {"alt": ["paragraph", "blockquote", "list"]})
    parser.block.ruler.at("table", _table, {"alt": ["paragraph"]})
    parser.block.ruler.at("lheading", _underlined)
    parser.block.ruler.at("blockquote", _quote, {"alt": ["paragraph", "blockquote", "list"]})
    parser.block.ruler.at("list", _list, {"alt": ["paragraph", "blockquote"]})
    use_spans(parser)
    return parser


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _table(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    head = _line(state, first)
    is_head = (head.startswith("|") or len(head) <= MAX_TITLE) and not _OTHER_BLOCK.match(head)
    return is_head and head.count("|") <= MAX_COLUMNS and table(state, first, end, silent)


def _underlined(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """A heading is one short line with words: `---` below a longer one or below a number is a horizontal rule."""
    title = _line(state, first)
    if len(title) > MAX_TITLE or not re.search(r"[^\W\d_]", title) or first + 1 >= end:
        return False
    return bool(_UNDERLINE.fullmatch(_line(state, first + 1))) and lheading(state, first, first + 2, silent)


def _quote(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    is_quote = state.level < _MAX_QUOTES and not _NO_QUOTE.match(_line(state, first))
    return is_quote and blockquote(state, first, end, silent)


def _list(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    return _has_room(state) and list_block(state, first, end, silent)


def _has_room(state: StateBlock) -> bool:
    """markdown-it drops the content of blocks that are nested too deep; as part of a paragraph it is shown."""
    return state.level + 2 < _MAX_NESTING


def _display(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    r"""A display formula at the start of a line. If a blank line comes before its end, it is shown as its source."""
    opening = _DISPLAY.match(_line(state, first))
    if not opening or state.is_code_block(first):
        return False
    line, after = first, ""
    while opening and not silent:
        line, after = _push_formula(state, line, end, opening)
        if not after.strip():
            break
        state.bMarks[line] = state.eMarks[line] - len(after)
        state.tShift[line] = len(after) - len(after.lstrip())
        opening = _DISPLAY.match(_line(state, line))  # another formula on the same line
    if after.strip():
        paragraph(state, line, end, False)
    return True


def _push_formula(state: StateBlock, first: int, end: int, opening: re.Match[str]) -> tuple[int, str]:
    """Pushes a formula; returns the number of the line that it ends on, and the text after it on that line."""
    sign = "" if opening["name"] else opening[0]
    closing = _DISPLAYS.get(sign) or f"\\end{{{opening['name']}}}"
    content, line, after = _until(closing, _line(state, first)[len(sign) :], state, first, end)
    closed = after is not None
    end_sign = closing if closed and not sign else ""
    if after and (stop := _STOP.match(after)):
        content, after = content.rstrip(), after[stop.end() :]
        is_block = end_sign and _BLOCK_NAME.search(closing)  # a full stop stands beside it, not in its last row
        content += end_sign + stop[0] if is_block else stop[0] + end_sign
    else:
        content += end_sign
    token = state.push("math_block", "math", 0)
    token.content, token.markup, token.info = content, sign, "closed" if closed else ""
    state.line = line + closed
    token.map = [first, state.line]
    return line, after or ""


def _until(closing: str, text: str, state: StateBlock, line: int, end: int) -> tuple[str, int, str | None]:
    """The text before `closing` or the next blank line, that line's number, and the text after `closing` on it."""
    parts = []
    while closing not in text:
        parts.append(text)
        line += 1
        if line >= end or not (text := _line(state, line)).strip():
            return "\n".join(parts), line, None
    before, _, after = text.partition(closing)
    return "\n".join([*parts, before]), line, after
