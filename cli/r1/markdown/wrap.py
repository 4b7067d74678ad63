"""A line of any length → lines that fit, cut between words, or where no word may be cut, between characters.

Knows: widths in columns, where a script allows a break. Does not know: Markdown, what is finished.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.cells import cell_len, chop_cells
from rich.color import ColorSystem
from rich.console import Console
from rich.text import Text

_CJK = (
    "\u1100-\u115f\u2e80-\u2fff\u3003-\u3007\u3012-\u3013\u301c-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003fffd"
)
_OPEN, _CLOSE = "（【《「『〔〈", "，。、；：？！）】》」』〕〉…"
_PIECE = re.compile(
    rf"(?P<newline>\n)|(?P<space>[^\S\n]+)|[{_OPEN}]*[{_CJK}][{_CLOSE}]*|[{_OPEN}]*[^\s{_CJK}{_OPEN}{_CLOSE}]+[{_CLOSE}]*|."
)
_SCREEN = Console(file=io.StringIO(), legacy_windows=False)  # Rich asks it for styles by name, of which we have none


def wrap(text: Text, width: int) -> list[Text]:
    """`text` in lines of at most `width` columns; spaces at a break go. No text is one empty line."""
    if "\n" not in text.plain and cell_len(text.plain) <= width:
        return [text]
    found = list(breaks(text.plain, width))
    parts = text.divide([offset for line in found for offset in line])
    return [parts[1 + 2 * index] for index in range(len(found))]


def fold(text: Text, width: int) -> list[Text]:
    """`text` in lines of at most `width` columns, cut at the last column: nothing goes, not even a space."""
    if cell_len(text.plain) <= width:
        return [text]
    pieces, offsets, end = _folded(text.plain, width), [], 0
    for piece in pieces[:-1]:
        end += len(piece)
        offsets.append(end)
    return list(text.divide(offsets))


def breaks(plain: str, width: int) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends. A line is decided by what stands before its end and by the next word."""
    begin = end = used = 0  # of the line so far: where it begins and ends, and its columns
    for match in _PIECE.finditer(plain):
        if match["newline"]:
            yield begin, end
            begin = end = match.end()
            used = 0
            continue
        if match["space"]:
            continue  # it counts if a word follows it on the same line
        start, word = match.start(), match[0]
        if used and used + (start - end) + cell_len(word) > width:
            yield begin, end
            begin, used, end = start, 0, start
        elif not used:
            begin = end = start
        for piece in _folded(word, width):
            if used and used + (start - end) + cell_len(piece) > width:
                yield begin, end
                begin, used, end = start, 0, start
            used += (start - end) + cell_len(piece)
            start = end = start + len(piece)
    yield begin, max(end, begin)


def _folded(word: str, width: int) -> list[str]:
    """A word in pieces of at most `width` columns; a character that is wider than that stays whole."""
    if cell_len(word) <= width:
        return [word]
    pieces = [piece for piece in chop_cells(word, width) if piece] if width > 1 else list(word)
    return pieces if "".join(pieces) == word else list(word)


def ansi(lines: Iterable[Text], *, colour: bool) -> list[str]:
    """Lines as a terminal takes them; without colour there is not one escape code."""
    if not colour:
        return [line.plain for line in lines]
    return ["".join(_coloured(line)) for line in lines]


def _coloured(line: Text) -> Iterator[str]:
    for style, segments in groupby(line.render(_SCREEN), key=lambda segment: segment.style):
        text = "".join(segment.text for segment in segments)
        yield style.render(text, color_system=ColorSystem.STANDARD) if style else text
