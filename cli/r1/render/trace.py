"""The trace of thinking on a screen: wrapped, behind a bar, and followed where it goes back to an earlier place."""

from __future__ import annotations

from dataclasses import dataclass

from r1.console import printable
from r1.engine.events import Rewound
from r1.engine.sequence import common_length
from r1.markdown.wrap import wrap
from r1.render.style import Style

_BAR = "│ "
_LEAD_WORDS = 4
_MIN_COLUMNS_FOR_BAR = 13  # on a narrower screen the bar takes too much of the line


class Trace:
    """Wraps a trace of thinking as it arrives and puts a bar before each line."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._pending = ""

    def feed(self, text: str) -> str:
        """Takes more of the trace; returns the lines that are now full, each ending in a newline."""
        *paragraphs, rest = (self._pending + printable(text).expandtabs(4)).split("\n")
        lines = [line for paragraph in paragraphs for line in self._wrap(paragraph)]
        *full, self._pending = self._wrap(rest)
        return self._lines(lines + full)

    def live(self) -> str:
        """The line being written, without a newline; empty when there is none."""
        return self._lines([self._pending]).rstrip("\n") if self._pending.strip() else ""

    def end(self) -> str:
        """The last line, ending in a newline; empty when there is none."""
        text, self._pending = self._pending, ""
        return self._lines(self._wrap(text)) if text.strip() else ""

    @property
    def _bar(self) -> str:
        return _BAR if self._style.width >= _MIN_COLUMNS_FOR_BAR else ""

    def _lines(self, lines: list[str]) -> str:
        return "".join(f"{self._style.dim((self._bar + line).rstrip())}\n" for line in lines)

    def _wrap(self, text: str) -> list[str]:
        return wrap(text, max(self._style.width - 1 - len(self._bar), 1))


def render_trace(text: str, style: Style) -> str:
    """A complete trace."""
    trace = Trace(style)
    return trace.feed(text) + trace.end()


@dataclass(frozen=True, slots=True)
class _TakenBack:
    """The place in a trace where its last `tokens` were taken back."""

    tokens: int


class RunningTrace:
    """The trace of a reply that is being generated: what of it was drawn, and what is still to be.

    Lines in the scrollback stay there. Where some of them are no longer part of the trace, a line says so, and the rest
    of the trace follows it.
    """

    def __init__(self, style: Style) -> None:
        self._style = style
        self._trace = Trace(style)
        self._drawn: list[str] = []  # texts that went to the scrollback or to the live line, and are part of the trace
        self._undrawn: list[str | _TakenBack] = []
        self._begins_line = False  # the next text is the first one below a line about tokens taken back
        self._lead = ""  # what stayed right before it, if that is the middle of a sentence

    def add(self, text: str) -> None:
        """More of the trace; `draw` shows it."""
        self._undrawn.append(text)

    def go_back(self, event: Rewound, *, is_shown: bool) -> None:
        """The trace is `event.thinking` now. While it is hidden, a line says so only if what was drawn is not in it."""
        drawn = "".join(self._drawn)
        kept = _common(drawn, event.thinking)
        self._drawn = [kept]
        self._undrawn, rest = _cut(self._undrawn, event.thinking[len(kept) :])
        if is_shown or kept != drawn:
            self._undrawn.append(_TakenBack(event.dropped))
        self._undrawn.append(rest)

    def draw(self) -> str:
        """The lines that are now full, each ending in a newline."""
        lines: list[str] = []
        texts: list[str] = []
        for part in self._undrawn:
            if isinstance(part, str):
                texts.append(part)
            else:
                lines += [self._feed("".join(texts)), self._note(part)]
                texts = []
        self._undrawn = []
        return "".join([*lines, self._feed("".join(texts))])

    def live(self) -> str:
        """The line being written, without a newline; empty when there is none."""
        return self._trace.live()

    def end(self) -> str:
        """The last line, ending in a newline; empty when there is none."""
        return self._trace.end()

    def _feed(self, text: str) -> str:
        if not text:
            return ""
        self._drawn.append(text)
        if not self._begins_line:
            return self._trace.feed(text)
        shown = text.lstrip()
        self._begins_line = not shown
        goes_on = shown and not text.startswith("\n")
        return self._trace.feed(f"{self._lead}{text}" if goes_on and self._lead else shown)

    def _note(self, part: _TakenBack) -> str:
        self._begins_line = True
        self._lead = _lead("".join(self._drawn))
        return self._trace.end() + self._style.note(f"went round in circles; back {part.tokens:,} tokens")


def _cut(undrawn: list[str | _TakenBack], text: str) -> tuple[list[str | _TakenBack], str]:
    """The start of what is undrawn, as far as `text` has it, with all lines about tokens taken back; and the rest of
    `text`.
    """
    parts: list[str | _TakenBack] = []
    for part in undrawn:
        if isinstance(part, str):
            same = _common(part, text)
            parts.append(same)
            text = text[len(same) :]
        else:
            parts.append(part)
    return parts, text


def _lead(kept: str) -> str:
    """The last words, if the text breaks off in a sentence: what follows would be hard to read without them."""
    words = kept.rpartition("\n")[2].split()[-_LEAD_WORDS:]
    return f"… {' '.join(words)}" if words and kept[-1] not in ".!?:;" and not kept[-1].isspace() else ""


def _common(one: str, other: str) -> str:
    """What both texts begin with."""
    return one[: common_length(one, other)]
