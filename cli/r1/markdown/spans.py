r"""Inline rules: formulas, code, links, emphasis and escapes in the text of a paragraph.

They differ from CommonMark where a chat about mathematics and code would lose characters: emphasis stands at word
borders, a backslash disappears only before a mark, and `f[i](x)`, `&sum;` and `vector<std::string>` are text.

The meaning of a text is decided from left to right. Where the end of the source leaves a mark undecided, a rule puts a
token `open` before it: text before the first `open` is final as long as white space follows the source. The distance
between an opening mark and its end is limited, so that a mark without an end is decided and costs a bounded time.
"""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from r1.markdown.emphasis import mark, pair

Span = tuple[int, int, int]
"""Offsets: where the content begins and ends, and where the complete span ends."""

MAX_SPAN = 2000
"""Characters of an inline formula, of code, or between two marks of emphasis."""

ENVIRONMENT = re.compile(
    r"\\begin\{(?P<name>(?:align|alignat|aligned|alignedat|array|[bBpvVd]?matrix|smallmatrix|[dr]?cases|displaymath"
    r"|eqnarray|equation|flalign|gather|gathered|multline|split)\*?)\}"
)
"""The start of a formula without delimiters around it."""

_IS_FORMULA = re.compile(r"[&=^\\]")  # \begin{align} and \end{align} in a sentence are not the ends of one
_MAX_LABEL = 500  # characters of a link's text
_BOX = "\\boxed{"
_FORMULA_ENDS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_DOLLARS = re.compile(rf"\$((?:\\.|[^$\\\n]){{1,{MAX_SPAN}}}+)(\$?)")
_AFTER_DOLLARS = re.compile(r"(?![0-9A-Za-z_])|(?:th|st|nd|rd|s)(?![0-9A-Za-z_])")  # the $n$th, but not $HOME/$USER
_PROSE = re.compile(r"[0-9A-Za-z] [a-z]{2,} [0-9A-Za-z]")  # $5 and 10$
_LABEL = re.compile(rf"!?\[((?:[^\[\]\\]|\\.|\[[^\[\]]{{0,{_MAX_LABEL}}}+\]){{0,{_MAX_LABEL}}}+)\]", re.DOTALL)
_TARGET = re.compile(
    r"""\([ \t]*(?P<address><[^<>\n]+>|(?:[^\s()<>]|\([^\s()]*\))+)(?:[ \t]+(?P<title>"[^"\n]*"|'[^'\n]*'))?[ \t]*\)"""
)
_TARGET_BEGUN = re.compile(r"""\([ \t]*(?:<[^<>\n]*>?|[^\s<>]*)(?:[ \t]+(?:"[^"\n]*"?|'[^'\n]*'?)?)?[ \t]*""")
_ADDRESS = re.compile(r"[/.#:@?]")
_WORD = re.compile(r"[^\W\d_]{2}")
_WEB_ADDRESS = re.compile(r"<((?:[a-z][a-z0-9+.-]{1,20}://|mailto:)[^\s<>]*|[\w.+-]{1,64}@[\w-]+\.[\w.-]+)>", re.I)
_ENTITY = re.compile(r"&(?:(amp|lt|gt|quot|apos|nbsp)|#(\d{1,7})|#[xX]([0-9A-Fa-f]{1,6}));")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": "\u00a0"}
_ESCAPE = re.compile(r"\\([*_`$~#%&])")  # % and & are for LaTeX, where models learned to escape them
_PATH = re.compile(r"(?:\\[A-Za-z0-9]\S*|\w:(?:\\\S*)?)\Z")  # C:\_build and \d\* keep the second backslash, too
_MAX_INDENT = 40  # characters before an escape at the start of a line
_LINE_START = re.compile(r"[ \t]*(\d{0,9})")


def use_spans(parser: MarkdownIt) -> None:
    """Replaces the inline rules of `parser`."""
    parser.inline.ruler.enableOnly(["text", "newline"])
    rules = {"formula": _formula, "escape_mark": _escape, "code": _code, "mark": mark, "reference": _link}
    for name, rule in {**rules, "web_address": _web_address, "character": _character}.items():
        parser.inline.ruler.push(name, rule)
    parser.inline.ruler2.enableOnly(["fragments_join"])
    parser.inline.ruler2.before("fragments_join", "pair", pair)


def code_span(source: str, begin: int, end: int) -> Span | None:
    """The code between equal runs of backticks, if one begins at `begin`."""
    count = _opening_backticks(source, begin, end)
    match = _backticks(count).search(source, begin + count, min(end, begin + MAX_SPAN)) if count else None
    return (begin + count, match.start(), match.end()) if match else None


def formula_span(source: str, begin: int, end: int) -> Span | None:
    r"""The formula that begins at `begin`, if one does; the command `\boxed` is part of its content."""
    limit = min(end, begin + MAX_SPAN)
    if closing := _FORMULA_ENDS.get(source[begin : begin + 2]):
        closed = source.find(closing, begin + 2, limit)
        return (begin + 2, closed, closed + 2) if closed >= begin + 2 + (closing == "$$") else None
    if source.startswith("$", begin):
        return _dollars(source, begin, end)
    if environment := ENVIRONMENT.match(source, begin, limit):
        content = environment.end()
        last = source.find(f"\\end{{{environment['name']}}}", content, limit)
        closed = last + len(environment[0]) - 2  # \end is shorter than \begin
        return (begin, closed, closed) if last >= 0 and _IS_FORMULA.search(source, content, last) else None
    return _box(source, begin, limit) if source.startswith(_BOX, begin, end) else None


def _dollars(source: str, begin: int, end: int) -> Span | None:
    """`$x$`, but not "$5 and $10", "5$ or 10$" or "$HOME/$USER"."""
    match = _DOLLARS.match(source, begin, end)
    if not match or not match[2] or _is_ascii_word(source[begin - 1 : begin]):
        return None
    if match[1] != match[1].strip() or _PROSE.search(match[1]) or not _AFTER_DOLLARS.match(source, match.end(), end):
        return None
    return match.start(1), match.end(1), match.end()


def _box(source: str, begin: int, limit: int) -> Span | None:
    r"""`\boxed{…}` with its braces balanced."""
    if source.find("}", begin, limit) < 0:
        return None
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(source, begin + len(_BOX) - 1, limit):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth:
            return begin, match.end(), match.end()
    return None


def _formula(state: StateInline, _silent: bool) -> bool:
    r"""An inline formula. A `\(` without its `\)` stays as it is, backslash included."""
    source, begin, end = state.src, state.pos, state.posMax
    if source[begin] not in "\\$":
        return False
    if span := formula_span(source, begin, end):
        state.push("math_inline", "math", 0).content = source[span[0] : span[1]]
        state.pos = span[2]
        return True
    opening = source[begin : begin + 2]
    if opening in _FORMULA_ENDS:
        if opening != "$$" or source.find("$$", begin + 2, begin + MAX_SPAN) < 0:
            _undecided(state, MAX_SPAN)
        _as_text(state, 2)
        return True
    if source.startswith(_BOX, begin, end) or ENVIRONMENT.match(source, begin, end):
        _undecided(state, MAX_SPAN)
    elif source[begin] == "$" and not _is_ascii_word(source[begin - 1 : begin]):
        match = _DOLLARS.match(source, begin, end)
        if match and not match[2] and source[match.end() : end] in {"", "\\"} and not match[1][0].isspace():
            _undecided(state, MAX_SPAN + 2)
    return False


def _escape(state: StateInline, _silent: bool) -> bool:
    r"""A backslash disappears before a mark of ours: `\*`; and `\-` or `1\.` at the start of a line."""
    source, begin = state.src, state.pos
    if source[begin] != "\\":
        return False
    is_escape = _ESCAPE.match(source, begin, state.posMax) and not _PATH.search(source[max(begin - 80, 0) : begin])
    if is_escape or _protects_line_start(source, begin):
        state.push("text_special", "", 0).content = source[begin + 1]
        state.pos += 2
    else:
        _as_text(state, 2 if source.startswith("\\\\", begin) else 1)
    return True


def _protects_line_start(source: str, begin: int) -> bool:
    """Whether the text would be a list or a quote without the backslash at `begin`."""
    line = source.rfind("\n", max(begin - _MAX_INDENT, 0), begin) + 1
    if not line and begin > _MAX_INDENT:
        return False
    start = _LINE_START.fullmatch(source, line, begin)
    if not start or source[begin + 2 : begin + 3].strip():
        return False
    return source[begin + 1 : begin + 2] in ({".", ")"} if start[1] else {"-", "+", ">"})


def _code(state: StateInline, _silent: bool) -> bool:
    source, begin, end = state.src, state.pos, state.posMax
    if source[begin] != "`":
        return False
    if span := code_span(source, begin, end):
        content = source[span[0] : span[1]].replace("\n", " ")
        is_padded = content.strip() and content[0] == content[-1] == " "
        state.push("code_inline", "code", 0).content = content[1:-1] if is_padded else content
        state.pos = span[2]
    else:
        _undecided(state, MAX_SPAN)
        _as_text(state, _opening_backticks(source, begin, end))
    return True


def _link(state: StateInline, _silent: bool) -> bool:
    """`[text](address "title")`, but not `f[i](x)` or `[](int x)`. An image is a link, too."""
    source, begin, end = state.src, state.pos, state.posMax
    if not source.startswith(("[", "!["), begin) or re.match(r"[\w)\]]", source[begin - 1 : begin]):
        return False
    label = _LABEL.match(source, begin, min(end, begin + 2 * _MAX_LABEL))
    if not label:
        _undecided(state, 2 * _MAX_LABEL)
        return False
    limit = min(end, label.end() + MAX_SPAN)
    target = _TARGET.match(source, label.end(), limit)
    if not target:
        if (begun := _TARGET_BEGUN.match(source, label.end(), limit)) and begun.end() == end:
            _undecided(state, MAX_SPAN + label.end() - begin)
        return False
    address = target["address"].removeprefix("<").removesuffix(">")
    if not _ADDRESS.search(address) and not _WORD.search(label[1]):
        return False
    _push_link(state, label.span(1), address, target["title"] or "")
    state.pos, state.posMax = target.end(), end
    return True


def _push_link(state: StateInline, label: tuple[int, int], address: str, title: str) -> None:
    kind = "image" if state.src[state.pos] == "!" else "link"
    state.push(f"{kind}_open", "a", 1).attrs = {"href": address, "title": title}
    state.pos, state.posMax = label
    state.md.inline.tokenize(state)
    state.push(f"{kind}_close", "a", -1)


def _web_address(state: StateInline, _silent: bool) -> bool:
    """`<https://x.org>` and `<me@x.org>`."""
    match = _WEB_ADDRESS.match(state.src, state.pos, state.posMax)
    if not match or _is_ascii_word(state.src[state.pos - 1 : state.pos]):
        return False
    state.push("link_open", "a", 1).attrs = {"href": match[1]}
    state.push("text_special", "", 0).content = match[1].removeprefix("mailto:")
    state.push("link_close", "a", -1)
    state.pos = match.end()
    return True


def _character(state: StateInline, _silent: bool) -> bool:
    """`&lt;` and its like. Other names are left alone, because `&sum;` is the address of a variable."""
    match = _ENTITY.match(state.src, state.pos, state.posMax)
    if not match:
        return False
    code = int(match[2]) if match[2] else int(match[3], 16) if match[3] else None
    character = _ENTITIES[match[1]] if code is None else chr(code) if _is_printable(code) else match[0]
    state.push("text_special", "", 0).content = character
    state.pos = match.end()
    return True


def _undecided(state: StateInline, limit: int) -> None:
    """Marks that later text can change the meaning of the current position, if the source ends within `limit`."""
    if state.posMax == len(state.src) < state.pos + limit:
        state.push("open", "", 0).meta["at"] = state.pos


def _as_text(state: StateInline, count: int) -> None:
    state.append_pending(state.src[state.pos : state.pos + count])
    state.pos += count


def _opening_backticks(source: str, begin: int, end: int) -> int:
    match = re.compile("`+").match(source, begin, end)
    return len(match[0]) if match else 0


@cache
def _backticks(count: int) -> re.Pattern[str]:
    return re.compile(rf"(?<!`)`{{{count}}}(?!`)")


def _is_ascii_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


def _is_printable(code: int) -> bool:
    return (code <= 0x10FFFF and chr(code).isprintable()) or code == 0xA0
