"""Line breaking: one set of break positions for plain strings and for Rich text, in columns of a terminal.

Imports only `rich.cells`, so that the chat's first prompt and `r1 run` do not wait for Rich's console.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells

if TYPE_CHECKING:
    from rich.text import Text

_CJK = (
    "\u1100-\u115f\u2e80-\u2fff\u3003-\u3007\u3012-\u3013\u301c-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003fffd"
)
DIVISIBLE = re.compile(r"[\s\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uff60]")
"""White space, and the characters between which text may be cut."""

_OPEN, _CLOSE = "（【《「『〔〈", "，。、；：？！）】》」』〕〉…"
_UNIT = re.compile(  # text without a break inside: a word, or a CJK character with its brackets and punctuation
    rf"(?P<newline>\n)|(?P<space>[^\S\n]+)|[{_OPEN}]*[{_CJK}][{_CLOSE}]*"
    rf"|[{_OPEN}]*[^\s{_CJK}{_OPEN}{_CLOSE}]+[{_CLOSE}]*|[{_OPEN}]+|."
)


def wrap(text: str, width: int) -> list[str]:
    """Wraps one line of plain text into lines of at most `width` columns, not counting spaces at the end.

    The indent and the spaces at the end are kept, because text that arrives in pieces continues from the last line.
    Spaces at a break are dropped.
    """
    if cell_len(text) <= width:
        return [text]
    *spans, (last, _) = breaks(text, width, keep_indent=True)
    return [*(text[begin:end].rstrip() for begin, end in spans), text[last:]]


def wrap_text(text: Text, width: int) -> list[Text]:
    """Wraps Rich text into lines of at most `width` columns, one line at least. Spaces at a break are dropped."""
    if "\n" not in text.plain and cell_len(text.plain) <= width:
        return [text]
    spans = list(breaks(text.plain, width))
    parts = text.divide([offset for span in spans for offset in span])
    return [parts[1 + 2 * index] for index in range(len(spans))]


def fold_text(text: Text, width: int) -> list[Text]:
    """Cuts Rich text at the last column of each line and keeps every character, spaces included."""
    if cell_len(text.plain) <= width:
        return [text]
    offsets, end = [], 0
    for piece in _chopped(text.plain, width)[:-1]:
        end += len(piece)
        offsets.append(end)
    return list(text.divide(offsets))


def breaks(plain: str, width: int, *, keep_indent: bool = False) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends. A line depends only on the text up to the first word of the next line.

    Lines break at spaces, between CJK characters (not before closing or after opening punctuation), and inside a word
    only if it is wider than a line. With `keep_indent`, white space before the first word is part of that word.
    """
    indent = len(plain) - len(plain.lstrip()) if keep_indent else 0
    begin = end = used = 0  # the current line: its offsets and its columns
    for match in _UNIT.finditer(plain):
        if match["newline"]:
            yield begin, end
            begin = end = match.end()
            used = 0
            continue
        if match["space"]:
            continue  # it counts if a word follows on the same line
        start = 0 if match.start() == indent else match.start()
        word = plain[start : match.end()]
        if end > begin and used + _gap(plain, end, start) + cell_len(word) > width:
            yield begin, end
            begin, used, end = start, 0, start
        elif end == begin:
            begin = end = start
        for piece in _chopped(word, width):
            if end > begin and used + _gap(plain, end, start) + cell_len(piece) > width:
                yield begin, end
                begin, used, end = start, 0, start
            used += _gap(plain, end, start) + cell_len(piece)
            start = end = start + len(piece)
    yield begin, max(end, begin)


def _gap(plain: str, end: int, start: int) -> int:
    """The columns of the spaces between two words: an ideographic space has two."""
    return max(start - end, cell_len(plain[end:start])) if start > end else 0


def _chopped(word: str, width: int) -> list[str]:
    """A word in pieces of at most `width` columns; a wider character is a separate piece."""
    if cell_len(word) <= width:
        return [word]
    pieces = [piece for piece in chop_cells(word, width) if piece] if width > 1 else list(word)
    return pieces if "".join(pieces) == word else list(word)
