"""The thinking trace as lines: plain text, dim, behind a bar, plainly apart from an answer.

Lines that are full can no longer change and are let go at once; only the last one is live.

Knows: words and columns. Does not know: where a trace comes from, when it is shown.
"""

from __future__ import annotations

from r1.console import printable
from r1.render.style import Paper, wrap

_BAR = "│ "
_NARROW = 12  # columns under which the bar would take too much


class Trace:
    """A trace that is still being written."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper
        self._pending = ""

    def feed(self, text: str) -> str:
        """More of it; returns the lines that are full now, each ending in a newline."""
        *whole, rest = (self._pending + printable(text).expandtabs(4)).split("\n")
        lines = [line for paragraph in whole for line in self._wrap(paragraph)]
        *full, self._pending = self._wrap(rest)
        return self._lines(lines + full)

    def live(self) -> str:
        """The line that is being written, without a newline; empty when there is none."""
        return self._lines([self._pending]).rstrip("\n") if self._pending.strip() else ""

    def end(self) -> str:
        """What is left, ending in a newline."""
        text, self._pending = self._pending, ""
        return self._lines(self._wrap(text)) if text.strip() else ""

    def _lines(self, lines: list[str]) -> str:
        bar = _BAR if self._paper.width > _NARROW else ""
        return "".join(f"{self._paper.dim((bar + line).rstrip())}\n" for line in lines)

    def _wrap(self, text: str) -> list[str]:
        return wrap(text, max(self._paper.width - 1 - (len(_BAR) if self._paper.width > _NARROW else 0), 1))


def render(text: str, paper: Paper) -> str:
    """A whole trace."""
    trace = Trace(paper)
    return trace.feed(text) + trace.end()
