"""An answer that is still being written → lines that are finished, and lines that may yet change.

Finished lines go into the terminal's scrollback and are never drawn again. So a line is finished when no text to come
can change it: `grammar` sees to it that this holds for every block but the last, `blocks` says how much of the last is
so. What is not finished is kept as source, from the beginning of the last block or item of a list on, and read again.

Knows: what has been shown already. Does not know: how blocks look, where the lines go.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rich.text import Text

from r1.console import printable
from r1.markdown.blocks import Blocks, Layout, Start
from r1.markdown.grammar import TITLE, is_settled, parse
from r1.markdown.inline import DIM
from r1.markdown.wrap import ansi, fold, wrap

_LONG = 8000  # characters of one block that are too many to lay out twelve times a second
_WORD_END = re.compile(r"\s|[\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uff60]")  # behind which a text may be cut
_CUT = re.compile(rf".*(?:{_WORD_END.pattern})")


class Markdown:
    """One answer. `width` may be changed at any moment; a block that is shown in part keeps its lines."""

    def __init__(self, width: int, *, colour: bool = True) -> None:
        self.width = width
        self._colour = colour
        self._source = ""  # what is not finished, from the last block's beginning on
        self._start = Start()
        self._shown = 0  # of its lines
        self._laid_out_at = width  # while some are shown
        self._looked_at = 0  # characters, at the last look for finished lines
        self._live: tuple[tuple[int, int], list[Text]] | None = None

    def feed(self, text: str) -> str:
        """More of the answer; the lines that are finished now, each with a newline."""
        text = printable(text)
        self._source += text
        if text:
            self._live = None
        if not self._is_worth_a_look("\n" in text):
            return ""
        self._looked_at = len(self._source)
        return self._written(self._finished())

    def live(self, rows: int) -> str:
        """The last of the lines that are not finished, at most `rows`; "…" when there are more."""
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
        return "\n".join(ansi(lines, colour=self._colour))

    def end(self) -> str:
        """What is left."""
        layout = self._layout(self._source, coloured=self._colour)
        lines = layout.lines[self._shown :]
        self._source, self._shown, self._live = "", 0, None
        return self._written(lines)

    def _is_worth_a_look(self, has_newline: bool) -> bool:
        """A look costs time with the length of the block: a long one gets fewer."""
        grown, length = len(self._source) - self._looked_at, len(self._source)
        return grown > max(length - 1000, 0) // 16 if has_newline else grown > max(self.width // 2, length // 16)

    def _finished(self) -> list[Text]:
        source = self._safe()
        layout = self._layout(source, coloured=self._colour)
        lines = layout.lines[self._shown : layout.stable]
        self._forget(source, layout)
        return lines

    def _safe(self) -> str:
        """The source that is what it seems: whole lines, and of a line the beginning if it is a paragraph's."""
        whole, newline, line = self._source.rpartition("\n")
        cut = match.end() if (match := _CUT.match(line)) else 0
        if cut > TITLE:
            source = whole + newline + line[:cut]
            node = parse(source)
            while node.children and node.type not in {"paragraph", "table"}:
                node = node.children[-1]
            if node.type == "paragraph" and node.map and node.map[1] == source.count("\n") + 1:
                content = node.children[0].content
                if is_settled(content.rpartition("\n")[2]):
                    return source
        return whole + newline

    def _layout(self, source: str, *, coloured: bool) -> Layout:
        if not self._shown:
            self._laid_out_at = self.width
        width = max(self.width, 1)
        blocks = Blocks(source, self._start, coloured=coloured)
        return blocks.layout(parse(source), max(self._laid_out_at, 1), width)

    def _forget(self, source: str, layout: Layout) -> None:
        """Drops the source of what is shown, except the block or item that goes on.

        Of code that goes on, all lines but the first are dropped too: a thousand cost no more than one. The first
        stays, because it may stand beside the number of an item.
        """
        lines = _lines(source)
        first, shown, code = layout.last_line, max(layout.stable, self._shown), layout.code
        self._start = layout.last_start
        if code and code.count > 1 and source.endswith("\n"):
            self._start = replace(self._start, fence=code.line - first, highlighter=code.highlighter)
            del lines[code.line + 2 :]
            shown = layout.last_leaf + code.first
        self._source = "".join(lines[first:]) + self._source[len(source) :]
        self._shown = max(shown - layout.last_index, 0)
        self._looked_at = len(self._source)

    def _unfinished(self) -> list[Text]:
        if len(self._source) > _LONG:
            tail = self._source[-_LONG // 4 :]
            return [piece for line in tail.split("\n") for piece in wrap(Text(line), max(self.width, 1))]
        layout = self._layout(self._source, coloured=False)
        return self._fitting(layout.lines[self._shown :])

    def _written(self, lines: list[Text]) -> str:
        return "".join(f"{line}\n" for line in ansi(self._fitting(lines), colour=self._colour))

    def _fitting(self, lines: list[Text]) -> list[Text]:
        """Lines that were laid out for a wider terminal, cut for this one."""
        return [piece for line in lines for piece in fold(line, max(self.width, 1))]


def render(text: str, width: int, *, colour: bool = True) -> str:
    """A whole answer, as lines that each end in a newline."""
    markdown = Markdown(width, colour=colour)
    return markdown.feed(text) + markdown.end()


def _lines(source: str) -> list[str]:
    return source.splitlines(keepends=True) if source.isascii() else re.findall(r"[^\n]*\n|[^\n]+", source)


def _shortened(line: Text, width: int) -> Text:
    return fold(Text.assemble(("… ", DIM), line), max(width, 1))[0]
