r"""The Markdown that R1 writes → markdown-it's tokens. Mathematics is `\(…\)`, `\[…\]`, `$…$`, `$$…$$`, `\boxed{…}`.

The rules for mathematics are our own: those of mdit-py-plugins lose the text after a `\]`, mistake a price at the start
of a paragraph for a formula when the paragraph ends in a digit, and cannot tell that a formula is still open.

Every rule decides by the lines seen so far, so text appended at the end changes no block before the last.
"""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, lheading, paragraph, table
from markdown_it.rules_inline import StateInline
from markdown_it.tree import SyntaxTreeNode

MAX_TITLE = 60
"""Characters. `---` below a longer line does not make it a heading, or a table's head unless the line begins with |."""

_MAX_NESTING = 40  # of blocks; deeper ones are shown as text
_MAX_TABLE_COLUMNS = 60
_MAX_FORMULA = 2000  # characters of an inline formula
_OTHER_BLOCK = re.compile(r"(?:[-+*]|#{1,6}|\d{1,9}[.)])(?:\s|$)|>|```|~~~|\\\[|\$\$")  # at the start of a line
_DISPLAYS = {"\\[": "\\]", "$$": "$$"}
_BOX = "\\boxed{"


def parse(source: str) -> SyntaxTreeNode:
    """The tree of blocks, each with its lines of `source`."""
    return SyntaxTreeNode(_parser().parse(source))


def parse_inline(source: str) -> SyntaxTreeNode:
    """The tree of a paragraph's text."""
    return SyntaxTreeNode(_parser().parseInline(source)).children[0]


def is_settled(line: str) -> bool:
    """Whether a paragraph's line that begins like this remains part of the paragraph, regardless of later text."""
    return len(line) > MAX_TITLE and not line.startswith("|") and re.search(r"[^-|:=\s]", line) is not None


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    parser.disable(["reference", "html_block", "html_inline"])
    parser.disable("text_join")  # it would merge escaped characters into the text around them
    parser.block.ruler.before("fence", "math_block", _display, {"alt": ["paragraph", "blockquote", "list"]})
    parser.block.ruler.at("table", _table, {"alt": ["paragraph"]})
    parser.block.ruler.at("lheading", _underlined)
    parser.inline.ruler.before("escape", "math_inline", _formula)
    return parser


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _table(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    head = _line(state, first)
    is_head = (head.startswith("|") or len(head) <= MAX_TITLE) and not _OTHER_BLOCK.match(head)
    return is_head and head.count("|") <= _MAX_TABLE_COLUMNS and table(state, first, end, silent)


def _underlined(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """A heading is one short line: `---` below a paragraph is a horizontal rule."""
    return len(_line(state, first)) <= MAX_TITLE and lheading(state, first, min(end, first + 2), silent)


def _display(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    r"""A display formula at the start of a line. If a blank line comes before its end, it is shown as its source."""
    text = _line(state, first)
    closing = _DISPLAYS.get(text[:2])
    if not closing or state.is_code_block(first):
        return False
    if silent:
        return True
    content, line, after = _until(closing, state, first, end)
    closed = after is not None
    if after and (stop := re.match(r"[.,;:!?]+(?=\s|$)", after)):
        content, after = content.rstrip() + stop[0], after[stop.end() :]
    token = state.push("math_block", "math", 0)
    token.content, token.markup, token.info = content, text[:2], "closed" if closed else ""
    state.line = line + closed
    token.map = [first, state.line]
    if after and after.strip():
        _begin_paragraph(state, line, end, after)
    return True


def _until(closing: str, state: StateBlock, first: int, end: int) -> tuple[str, int, str | None]:
    """The text before `closing` or the next blank line, that line's number, and the text after `closing` on it."""
    parts, line, text = [], first, _line(state, first)[2:]
    while closing not in text:
        parts.append(text)
        line += 1
        if line >= end or not (text := _line(state, line)).strip():
            return "\n".join(parts), line, None
    before, _, after = text.partition(closing)
    return "\n".join([*parts, before]), line, after


def _begin_paragraph(state: StateBlock, line: int, end: int, after: str) -> None:
    """Text after a formula on its last line begins a paragraph."""
    state.bMarks[line] = state.eMarks[line] - len(after)
    state.tShift[line] = len(after) - len(after.lstrip())
    paragraph(state, line, end, False)


def _formula(state: StateInline, silent: bool) -> bool:
    r"""An inline formula. A `\(` without its `\)` stays as it is, backslash included."""
    source, begin = state.src, state.pos
    if source[begin] == "$":
        span = _dollars(source, begin)
    elif source.startswith(_BOX, begin):
        span = _box(source, begin)
    elif source.startswith(("\\(", "\\["), begin):
        end = source.find("\\)" if source[begin + 1] == "(" else "\\]", begin + 2)
        span = (begin + 2, end, end + 2) if end >= 0 else None
        if not span:
            state.pending += "" if silent else source[begin : begin + 2]
            state.pos += 2
            return True
    else:
        return False
    if not span:
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content = source[span[0] : span[1]]
    state.pos = span[2]
    return True


def _dollars(source: str, begin: int) -> tuple[int, int, int] | None:
    """`$x$`, but not "$5 and $10" or "5$ or 10$" → where its content begins and ends, and where the formula ends."""
    if source.startswith("$$", begin):
        end = source.find("$$", begin + 2)
        return (begin + 2, end, end + 2) if end > begin + 2 else None
    match = re.compile(r"\$(?=[^\s$])((?:\\.|[^$\\\n]){1,2000}?)(?<!\s)\$(?!\d)").match(source, begin)
    if not match or (begin and source[begin - 1].isalnum()):
        return None
    return match.start(1), match.end(1), match.end()


def _box(source: str, begin: int) -> tuple[int, int, int] | None:
    r"""`\boxed{…}` with its braces balanced → offsets as in `_dollars`; the command is part of the content."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(source, begin + len(_BOX) - 1, begin + _MAX_FORMULA):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth:
            return begin, match.end(), match.end()
    return None
