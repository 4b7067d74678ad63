"""An answer that is still being written → lines that are finished, and live lines that can still change.

Finished lines go into the terminal's scrollback and are never drawn again, so a line counts as finished only when no
later text can change it. `grammar` guarantees this for every block but the last; `blocks` says how much of the last one
is final. The rest is kept as source, from the start of the last block or list item, and parsed again. Of a long
paragraph, of long code and of a long table, only the end is kept.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.text import Text

from r1.console import printable
from r1.markdown.blocks import Blocks, Layout, OpenCode, OpenParagraph, Start
from r1.markdown.grammar import HELD, MAX_TITLE, is_settled, parse
from r1.markdown.inline import DIM
from r1.markdown.wrap import DIVISIBLE, fold_text, wrap_text

_MAX_LIVE_CHARACTERS = 8000  # a longer block is too slow to lay out twelve times a second
_LIVE_TAIL_CHARACTERS = 2000  # shown of a longer block
_CUT = re.compile(rf".*{DIVISIBLE.pattern}")
_SCREEN = Console(file=io.StringIO(), legacy_windows=False)  # Text.render requires one; our styles need no theme


class Markdown:
    """One answer. `width` may change at any time; a block that is partly shown keeps its lines."""

    def __init__(self, width: int, *, colour: bool = True) -> None:
        self.width = width
        self._colour = colour
        self._source = ""  # from the start of the last block on: the part that is not finished
        self._start = Start()
        self._shown = 0  # lines of it
        self._laid_out_at = width  # the width at which the shown lines were laid out
        self._scanned = 0  # length of the source after the last scan for finished lines
        self._idle = False  # whether that scan finished and dropped nothing
        self._live: tuple[tuple[int, int], list[Text]] | None = None

    def feed(self, text: str) -> str:
        """Adds text to the answer; returns the lines that are finished now, each with a newline."""
        text = printable(text)
        self._source += text
        if text:
            self._live = None
        if not self._scan_is_due("\n" in text):
            return ""
        self._scanned = len(self._source)
        return self._written(self._finished())

    def live(self, rows: int) -> str:
        """The unfinished lines: the last `rows` of them, after a "…" if there are more."""
        key = (self.width, len(self._source))
        if self._live is None or self._live[0] != key:
            self._live = key, self._unfinished()
        lines = self._live[1]
        if rows < 1 or not lines:
            return ""
        if len(lines) > rows:
            lines = (
                [Text.styled("…", DIM), *lines[len(lines) - rows + 1 :]]
                if rows > 1
                else [_shortened(lines[-1], self.width)]
            )
        return "\n".join(_ansi(lines, colour=self._colour))

    def end(self) -> str:
        """The remaining lines; the answer is complete."""
        layout = self._layout(self._source, coloured=self._colour)
        lines = layout.lines[self._shown :]
        self._source, self._shown, self._live = "", 0, None
        return self._written(lines)

    def _scan_is_due(self, has_newline: bool) -> bool:
        """A scan takes time in proportion to the length of the block, so a long block is scanned less often."""
        grown, length = len(self._source) - self._scanned, len(self._source)
        if has_newline:
            return grown > (length if self._idle else max(length - 500, 0)) // 8
        return grown > max(self.width // 2, length // 8)

    def _finished(self) -> list[Text]:
        source = self._stable_source()
        layout = self._layout(source, coloured=self._colour)
        lines, length = layout.lines[self._shown : layout.stable], len(self._source)
        self._forget(source, layout)
        self._idle = not lines and len(self._source) == length
        return lines

    def _stable_source(self) -> str:
        """The source whose meaning is fixed: complete lines, and the start of the last one if it is a paragraph's."""
        complete, newline, line = self._source.rpartition("\n")
        cut = match.end() if (match := _CUT.match(line)) else 0
        if cut > MAX_TITLE:
            source = complete + newline + line[:cut]
            node = parse(source)
            while node.children and node.type not in {"paragraph", "table"}:
                node = node.children[-1]
            if node.type == "paragraph" and node.map and node.map[1] == source.count("\n") + 1:
                content = node.children[0].content
                if is_settled(content.rpartition("\n")[2]):
                    return source
        return complete + newline

    def _layout(self, source: str, *, coloured: bool) -> Layout:
        if not self._shown:
            self._laid_out_at = self.width
        width = max(self.width, 1)
        blocks = Blocks(source, self._start, coloured=coloured)
        return blocks.layout(parse(source), max(self._laid_out_at, 1), width)

    def _forget(self, source: str, layout: Layout) -> None:
        """Drops the source of the finished lines, except that of the block or list item that continues."""
        lines, shown = _lines(source), max(layout.stable, self._shown)
        self._start = layout.last_start
        if layout.code and layout.code.count > 1 and source.endswith("\n"):
            shown = self._forget_code(lines, layout, layout.code)
        elif layout.paragraph and shown == layout.stable:
            shown = self._forget_paragraph(lines, layout, layout.paragraph)
        head = "".join(f"{line}\n" for line in layout.last_head)
        self._source = head + "".join(lines[layout.last_line :]) + self._source[len(source) :]
        self._shown = max(shown - layout.last_index, 0)
        self._laid_out_at = layout.last_width
        self._scanned = len(self._source)

    def _forget_code(self, lines: list[str], layout: Layout, code: OpenCode) -> int:
        """Drops all lines of an open code block but the first; returns how many of the remaining lines are shown.

        So long code stays fast. The first line is kept because it may be beside the number of a list item.
        """
        self._start = replace(self._start, fence=code.line - layout.last_line, highlighter=code.highlighter)
        del lines[code.line + 2 :]
        return layout.last_leaf + code.first

    def _forget_paragraph(self, lines: list[str], layout: Layout, paragraph: OpenParagraph) -> int:
        """Drops the decided part of an open paragraph; returns how many of the remaining lines are shown."""
        undecided = paragraph.undecided(lines)
        if not DIVISIBLE.match(undecided[0], undecided[0].rindex(HELD) + len(HELD)):
            return layout.stable
        self._start = replace(self._start, held=paragraph.held)
        lines[paragraph.first :] = undecided
        return layout.last_leaf + 1

    def _unfinished(self) -> list[Text]:
        if len(self._source) > _MAX_LIVE_CHARACTERS:
            tail = self._source[-_LIVE_TAIL_CHARACTERS:]
            return [piece for line in tail.split("\n") for piece in wrap_text(Text(line), max(self.width, 1))]
        layout = self._layout(self._source, coloured=False)
        return self._fitted(layout.lines[self._shown :])

    def _written(self, lines: list[Text]) -> str:
        return "".join(f"{line}\n" for line in _ansi(self._fitted(lines), colour=self._colour))

    def _fitted(self, lines: list[Text]) -> list[Text]:
        """Lines that were laid out for a wider terminal, wrapped to this one: no word is cut that fits."""
        return [piece for line in lines for piece in _wrapped(line, max(self.width, 1))]


def render(text: str, width: int, *, colour: bool = True) -> str:
    """A complete answer as lines that each end in a newline."""
    markdown = Markdown(width, colour=colour)
    return markdown.feed(text) + markdown.end()


def _ansi(lines: Iterable[Text], *, colour: bool) -> list[str]:
    """Lines for a terminal; without colour they hold no escape codes."""
    if not colour:
        return [line.plain for line in lines]
    return ["".join(_coloured(line)) for line in lines]


def _coloured(line: Text) -> Iterator[str]:
    for style, segments in groupby(line.render(_SCREEN), key=lambda segment: segment.style):
        text = "".join(segment.text for segment in segments)
        yield style.render(text, color_system=ColorSystem.STANDARD) if style else text


def _wrapped(line: Text, width: int) -> list[Text]:
    """The line in pieces that keep its indent, where there is room for one."""
    indent = len(line.plain) - len(line.plain.lstrip(" "))
    if cell_len(line.plain) <= width or indent > width // 2:
        return wrap_text(line, width)
    return [line[:indent] + piece for piece in wrap_text(line[indent:], width - indent)]


def _lines(source: str) -> list[str]:
    return source.splitlines(keepends=True) if source.isascii() else re.findall(r"[^\n]*\n|[^\n]+", source)


def _shortened(line: Text, width: int) -> Text:
    return fold_text(Text.assemble(("… ", DIM), line), max(width, 1))[0]
