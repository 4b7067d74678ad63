"""A reply as it is made: what may go to the scrollback now, what is still live, and one line of what is going on.

Knows: the events of a turn, when each part is shown. Does not know: terminals, keys, who redraws and when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1.console import printable
from r1.engine.events import Answer, Event, Finished, Prefill, Thinking, Thought
from r1.render.style import Style, wrap

if TYPE_CHECKING:
    from r1.markdown.stream import Markdown

_BRIEF = 0.5
"""Seconds that something may take before it is worth a line."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What there is to draw. `finished`: whole lines, new since the last frame, never to be drawn again.

    `live`: the last lines, which may yet change, without a newline. `activity`: one line, or nothing.
    """

    finished: str
    live: str
    activity: str


class ReplyView:
    """Follows one turn. `shows_thinking` may be turned over at any moment."""

    def __init__(self, style: Style, *, shows_thinking: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._style = style
        self.shows_thinking = shows_thinking
        self._clock = clock
        self._began = clock()
        self._prefill: Prefill | None = None
        self._thinking_since: float | None = None
        self._thinking_ended: float | None = None
        self._tokens = 0  # of the trace
        self._thinking: list[str] = []
        self._shown = 0  # pieces of the trace that went to the scrollback or its live line
        self._trace = Trace(style)
        self._answer: Markdown | None = None
        self._written: list[str] = []  # of the answer, since the last frame
        self._closed_trace = False
        self._over = False

    @property
    def is_thinking(self) -> bool:
        return self._thinking_since is not None and self._thinking_ended is None and not self._over

    @property
    def thinking_s(self) -> float | None:
        """Seconds it thought, so far; None before it began to."""
        if self._thinking_since is None:
            return None
        return (self._thinking_ended or self._clock()) - self._thinking_since

    def show(self, event: Event) -> None:
        """Takes in what happened; the next frame has it."""
        if isinstance(event, Prefill):
            self._prefill = event
            if event.done == event.total:
                self._thinking_since = self._clock()
        elif isinstance(event, Thinking):
            self._thinking.append(event.text)
            self._tokens = event.tokens
        elif isinstance(event, Thought):
            self._tokens = event.tokens
            self._end_thinking()
        elif isinstance(event, Answer):
            self._written.append(event.text)
        elif isinstance(event, Finished):
            self._tokens = event.usage.thinking_tokens
            self.end()

    def _end_thinking(self) -> None:
        if self._thinking_since is not None and self._thinking_ended is None:
            self._thinking_ended = self._clock()

    def end(self) -> None:
        """Nothing more will come; the next frame has all that is left."""
        self._end_thinking()
        self._over = True

    def frame(self, rows: int) -> Frame:
        """What is new, and what is live in at most `rows` lines."""
        finished = [self._new_of_the_trace(), self._close_trace(), self._new_of_the_answer()]
        if self._over and self._answer is not None:
            finished.append(self._answer.end())
        return Frame("".join(finished), self._live(rows), "" if self._over else self._activity())

    def _new_of_the_trace(self) -> str:
        if not self.shows_thinking or self._answer is not None:
            return ""  # once the answer has begun, a trace would stand in the middle of it
        new, self._shown = self._thinking[self._shown :], len(self._thinking)
        lines = self._trace.feed("".join(new)) if new else ""
        return lines if self.is_thinking else lines + self._trace.end()

    def _close_trace(self) -> str:
        """The line that stands for the thinking, once it is over."""
        if self.is_thinking or self._closed_trace or self._thinking_ended is None or not self._thinking:
            return ""
        self._closed_trace = True
        return self._style.note(thought_line(self.thinking_s, self._tokens)) + "\n"

    def _new_of_the_answer(self) -> str:
        if not self._written:
            return ""
        if self._answer is None:
            from r1.markdown.stream import Markdown

            self._answer = Markdown(self._style.width, colour=self._style.colour)
        self._answer.width = self._style.width
        text = "".join(self._written)
        self._written.clear()
        return self._answer.feed(text)

    def _live(self, rows: int) -> str:
        if self._over or rows < 1:
            return ""
        if self._answer is not None:
            return self._answer.live(rows)
        return self._trace.live() if self.shows_thinking else ""

    def _activity(self) -> str:
        if self.is_thinking:
            seconds = int(self.thinking_s or 0)
            key = "hides" if self.shows_thinking else "shows"
            parts = ["thinking", duration(seconds), f"{self._tokens:,} tokens", f"ctrl-t {key} it", "esc answers now"]
            return self._fitting(parts)
        if self._answer is None and self._clock() - self._began > _BRIEF:
            if self._prefill is not None and self._prefill.done < self._prefill.total:
                return f"reading · {self._prefill.done:,} of {self._prefill.total:,} tokens"
            return "waiting for the model" if self._prefill is None else ""
        return ""

    def _fitting(self, parts: list[str]) -> str:
        """As many of the parts as there is room for; the first ones matter most."""
        while len(parts) > 1 and len(" · ".join(parts)) >= self._style.width:
            parts.pop()
        return " · ".join(parts)


def thought_line(seconds: float | None, tokens: int) -> str:
    """What stands in the place of a trace; no seconds: the program was killed before it could note them."""
    return "thought, and was cut off" if seconds is None else f"thought for {duration(seconds)} · {tokens:,} tokens"


def duration(seconds: float) -> str:
    """`23 s`, `4 min 5 s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


_BAR = "│ "
_NARROW = 12  # columns under which the bar would take too much


class Trace:
    """A trace that is still being written."""

    def __init__(self, style: Style) -> None:
        self._style = style
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
        bar = _BAR if self._style.width > _NARROW else ""
        return "".join(f"{self._style.dim((bar + line).rstrip())}\n" for line in lines)

    def _wrap(self, text: str) -> list[str]:
        return wrap(text, max(self._style.width - 1 - (len(_BAR) if self._style.width > _NARROW else 0), 1))


def render_trace(text: str, style: Style) -> str:
    """A whole trace."""
    trace = Trace(style)
    return trace.feed(text) + trace.end()


PROMPT = "> "


def question_lines(question: str, style: Style, files: Sequence[str] = ()) -> str:
    """What the person asked, set off from everything else, with the names of the files that went along."""
    lines = []
    for line in printable(question).expandtabs(4).split("\n"):
        lines += wrap(line, max(style.width - 1 - len(PROMPT), 8))
    marks = [PROMPT, *[" " * len(PROMPT)] * len(lines)]
    asked = "".join(f"{style.styled((mark + line).rstrip(), '1')}\n" for mark, line in zip(marks, lines, strict=False))
    return asked + "".join(style.note(f"  with {name}") for name in files)


def answer_lines(answer: str, style: Style) -> str:
    """A whole answer."""
    from r1.markdown.stream import render

    return render(answer, style.width, colour=style.colour) if answer else ""


def turn_lines(
    question: str, files: Sequence[str], thought: tuple[float | None, int, str] | None, answer: str, style: Style
) -> str:
    """A turn that is over, with as much of its trace as `thought` has after seconds and tokens; blank lines between."""
    folded = f"\n{render_trace(thought[2], style)}{style.note(thought_line(*thought[:2]))}" if thought else ""
    said = f"\n{answer_lines(answer, style)}" if answer else ""
    return f"{question_lines(question, style, files)}{folded}{said}\n"
