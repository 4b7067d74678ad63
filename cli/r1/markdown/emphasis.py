"""Emphasis: `*word*`, `**strong**`, `***both***`, `_word_`, `__strong words__` and `~~struck~~`.

Stricter than CommonMark: a mark stands at a word border, and what looks like a product, a name of Python or a file
pattern keeps its marks: `2*3*4`, `__init__.py`, `*.txt,*.py`, `(a)*(b)*(c)`. In doubt the marks are shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

MAX_DISTANCE = 2000
"""Characters between two marks of emphasis."""

_MAX_NESTING = 8
_CJK = "\u1100-\u115f\u2e80-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003fffd"
_MARKS = re.compile(r"\*+|_+|~+")
_WORD = re.compile(rf"[^\W{_CJK}]")  # a word border is between this and something else; Chinese has no spaces
_STARTS = re.compile(rf"[\w\"'“‘«(\[{{`$\\<*~¿¡{_CJK}]")  # what emphasis can begin with
_STARTS_STRONG = re.compile(r"[^\s)\]}/]")
_STARTS_QUOTED = re.compile(r"[\w*~`$\\]")  # after a bracket or a quotation mark
_ENDS = re.compile(r"[^\s(\[{<]")
_BEFORE = re.compile(rf"[\s(\[{{\"'“‘«*~{_CJK}]|[^\w\x00-\x7f]|\Z")
_AFTER = re.compile(rf"[\s.,:;!?)\]}}\"'*~{_CJK}]|[^\w\x00-\x7f]|\Z")
_AFTER_STRONG = re.compile(r"[-/=\\`$\[<(|]")
_BEFORE_STRONG = re.compile(r"[-/=:,;.!?>|]")
_FULL_WIDTH = re.compile(r"[\u3001-\u3011\uff01-\uff5e]")  # Chinese punctuation
_EXPRESSION = re.compile(r"[0-9=+/^<>%|\\&_*]|\w[.:]+\w")  # in `*…*` or `_…_`
_MAX_OPEN = 50  # runs that wait for their end
_TAGS = {"*": ("em", "strong"), "_": ("em", "strong"), "~": ("s", "s")}


@dataclass(slots=True)
class _Run:
    """Equal marks side by side, and the tags that they turn into."""

    index: int  # of its token
    position: int  # in the source
    sign: str
    count: int  # marks that are still text
    may_open: bool
    may_close: bool
    height: int = 0  # nested pairs between it and the next run that may still open
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


def mark(state: StateInline, _silent: bool) -> bool:
    """A run of marks becomes a token `mark` if it may open or close emphasis, else text."""
    match = _MARKS.match(state.src, state.pos, state.posMax)
    if not match:
        return False
    run = _run(state, match)
    if run.may_open or run.may_close:
        state.push("mark", "", 0).meta["run"] = run
    else:
        state.append_pending(match[0])
    state.pos = match.end()
    return True


def _run(state: StateInline, match: re.Match[str]) -> _Run:
    begin, end = match.span()
    before, after = state.src[begin - 1 : begin], state.src[end : min(end + 1, state.posMax)]
    sign, count = match[0][0], end - begin
    is_mark = count == 2 if sign == "~" else count <= 3
    if sign == "_" and {before, after} & {"*", "~"}:
        is_mark = False  # *_test and test_* are file patterns
    is_strong = count > 1 and sign != "_"
    return _Run(
        index=0,
        position=begin,
        sign=sign,
        count=count,
        may_open=is_mark and _may_open(before, after, is_strong=is_strong),
        may_close=is_mark and _may_close(before, after, is_strong=is_strong),
    )


def _may_open(before: str, after: str, *, is_strong: bool) -> bool:
    if is_strong and _BEFORE_STRONG.match(before):
        return bool(_WORD.match(after))
    if not _BEFORE.match(before) or (re.match(r"[(\[{\"']", before) and not _STARTS_QUOTED.match(after)):
        return False
    return bool((_STARTS_STRONG if is_strong else _STARTS).match(after))


def _may_close(before: str, after: str, *, is_strong: bool) -> bool:
    is_border = _AFTER.match(after) or (is_strong and (_AFTER_STRONG.match(after) or _FULL_WIDTH.match(before)))
    return bool(is_border and _ENDS.match(before))


def pair(state: StateInline) -> None:
    """Pairs the marks of a text, in each link separately, and replaces their tokens by tags or text."""
    open_runs: list[_Run] = []
    outer: list[list[_Run]] = []
    refused: list[tuple[int, int]] = []  # pairs that are no emphasis: both marks are text because of each other
    expressions = _expressions_before(state.tokens)
    for index, token in enumerate(state.tokens):
        if token.nesting > 0:
            outer.append(open_runs)
            open_runs = []
        elif token.nesting < 0:
            open_runs = outer.pop()
        elif token.type == "mark":
            run: _Run = token.meta["run"]
            run.index = index
            while open_runs and run.position - open_runs[0].position > MAX_DISTANCE:
                del open_runs[0]  # it is decided, and may not be in the source any more
            if run.may_close:
                _close(run, open_runs, state.tokens, expressions, refused)
            if run.may_open and run.count:
                open_runs.append(run)
                del open_runs[:-_MAX_OPEN]
    may_pair_later = {run.index for run in open_runs if len(state.src) - run.position < MAX_DISTANCE}
    first = min([*may_pair_later, *(at for at, token in enumerate(state.tokens) if token.type == "open")], default=-1)
    for opener, closer in sorted(refused, reverse=True):
        if opener < first < closer:
            may_pair_later.add(opener)
            first = opener
    state.tokens[:] = [
        part for index, token in enumerate(state.tokens) for part in _parts(token, index in may_pair_later)
    ]


def _expressions_before(tokens: list[Token]) -> list[int]:
    """For each token, how many before it hold digits, operators or underscores."""
    counts = [0]
    for token in tokens:
        is_name = token.type == "mark" and token.meta["run"].sign == "_"
        counts.append(counts[-1] + (is_name or (token.type == "text" and bool(_EXPRESSION.search(token.content)))))
    return counts


def _close(
    run: _Run, open_runs: list[_Run], tokens: list[Token], expressions: list[int], refused: list[tuple[int, int]]
) -> None:
    """Pairs a run with the last open ones of its kind; marks that are open between them remain text."""
    while run.count and any(_match(opener, run) for opener in open_runs):
        height = 1
        while not _match(open_runs[-1], run):
            height = max(height, open_runs.pop().height + 1)
        opener = open_runs[-1]
        height = max(height, opener.height + 1)
        if height > _MAX_NESTING or not _is_emphasis(opener, run, tokens, expressions):
            open_runs.pop()
            refused.append((opener.index, run.index))
            return
        _pair(opener, run, min(opener.count, run.count))
        opener.height = height
        if not opener.count:
            open_runs.pop()
            if open_runs:
                open_runs[-1].height = max(open_runs[-1].height, height)


def _match(opener: _Run, run: _Run) -> bool:
    """`**` and `*` do not belong together, but `***` and `**` may."""
    return opener.sign == run.sign and (opener.count == run.count or 3 in (opener.count, run.count))


def _pair(opener: _Run, run: _Run, count: int) -> None:
    em, strong = _TAGS[run.sign]
    tags = {1: [em], 2: [strong], 3: [strong, em]}[count]
    opener.opened += tags
    run.closed += tags
    opener.count -= count
    run.count -= count


def _is_emphasis(opener: _Run, run: _Run, tokens: list[Token], expressions: list[int]) -> bool:
    """Whether a pair of marks is no part of a name or an expression."""
    if run.position - opener.position > MAX_DISTANCE:
        return False
    is_strong = min(opener.count, run.count) > 1
    if run.sign == "~" or (run.sign == "*" and is_strong):
        return True
    if expressions[run.index] > expressions[opener.index + 1]:
        return False
    between = tokens[opener.index + 1 : opener.index + 3]
    return not (run.sign == "_" and is_strong and len(between) == 2 and _is_name(between[0].content))


def _is_name(text: str) -> bool:
    return text.isascii() and text.isidentifier()


def _parts(token: Token, is_undecided: bool) -> list[Token]:
    if token.type != "mark":
        return [token]
    run: _Run = token.meta["run"]
    text = Token("text", "", 0, content=run.sign * run.count)
    return [
        *(Token(f"{tag}_close", tag, -1) for tag in run.closed),
        *([Token("open", "", 0, meta={"at": run.position})] if is_undecided else []),
        *([text] if run.count else []),
        *(Token(f"{tag}_open", tag, 1) for tag in reversed(run.opened)),
    ]
