"""A reply while it is being generated: lines ready for the scrollback, live lines, and one line of activity."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from r1.console import printable
from r1.engine.events import Answer, Event, Finished, Prefill, Thinking, Thought
from r1.markdown.wrap import wrap
from r1.render.activity import Activity
from r1.render.style import Style
from r1_quantize import units

if TYPE_CHECKING:
    from r1.markdown.stream import Markdown

PROMPT = "> "

_MAX_QUESTION_LINES = 24
_SHOWN_QUESTION_LINES = 12  # of a longer question
_WAIT_SHOWN_AFTER_S = 0.5  # a shorter wait gets no activity line


@dataclass(slots=True)
class ReplyText:
    """The text of one reply so far, in the pieces in which it arrived, and its token counts."""

    thinking: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0

    def add(self, event: Event) -> None:
        """Adds one event of the turn."""
        if isinstance(event, Prefill):
            self.prompt_tokens = event.total
        elif isinstance(event, Thinking):
            self.thinking.append(event.text)
            self.thinking_tokens = event.tokens
        elif isinstance(event, Thought):
            self.thinking_tokens = event.tokens
        elif isinstance(event, Answer):
            self.answer.append(event.text)
            self.answer_tokens = event.tokens
        elif isinstance(event, Finished):
            self.thinking_tokens = event.usage.thinking_tokens

    @property
    def tokens(self) -> int:
        """Tokens of context that prompt and reply take."""
        return self.prompt_tokens + self.thinking_tokens + self.answer_tokens


@dataclass(frozen=True, slots=True)
class Frame:
    """One drawing of a reply.

    `finished`: complete lines, new since the last frame, which are never drawn again. `live`: the last lines, which may
    still change, without a newline at the end. `activity`: one line, or nothing.
    """

    finished: str
    live: str
    activity: str


class ReplyView:
    """Follows one turn and draws it. `shows_thinking` may change at any time."""

    def __init__(self, style: Style, *, shows_thinking: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.text = ReplyText()
        self.shows_thinking = shows_thinking
        self._style = style
        self._clock = clock
        self._began = clock()
        self._activity = Activity(clock)
        self._trace = Trace(style)
        self._drawn_thinking = 0  # pieces that went to the scrollback or to the live line
        self._answer: Markdown | None = None
        self._drawn_answer = 0  # pieces
        self._trace_is_closed = False
        self._is_over = False

    @property
    def has_begun(self) -> bool:
        """True once the model reads the prompt; before that it may still be loading."""
        return self._activity.has_begun

    @property
    def is_thinking(self) -> bool:
        return self._activity.is_thinking

    @property
    def thinking_s(self) -> float | None:
        """Seconds of thinking so far; None before it began."""
        return self._activity.thinking_s

    def show(self, event: Event) -> None:
        """Adds an event; the next frame shows it."""
        self.text.add(event)
        self._activity.add(event)
        if isinstance(event, Finished):
            self.end()

    def end(self) -> None:
        """No more events follow; the next frame has everything that is left."""
        self._activity.end_thinking()
        self._is_over = True

    def frame(self, rows: int) -> Frame:
        """The lines that are new, and the live ones in at most `rows` lines."""
        finished = [self._draw_trace(), self._close_trace(), self._draw_answer()]
        if self._is_over and self._answer is not None:
            finished.append(self._answer.end())
        return Frame("".join(finished), self._live(rows), "" if self._is_over else self._activity_line())

    def _draw_trace(self) -> str:
        if not self.shows_thinking or self._answer is not None:
            return ""  # once the answer has begun, the trace would appear in the middle of it
        pieces = self.text.thinking[self._drawn_thinking :]
        self._drawn_thinking += len(pieces)
        lines = self._trace.feed("".join(pieces)) if pieces else ""
        return lines if self.is_thinking else lines + self._trace.end()

    def _close_trace(self) -> str:
        """The line that sums up the thinking, once it is over."""
        if self.is_thinking or self._trace_is_closed or self.thinking_s is None or not self.text.thinking:
            return ""
        self._trace_is_closed = True
        return self._style.note(thought_line(self.thinking_s, self.text.thinking_tokens)) + "\n"

    def _draw_answer(self) -> str:
        pieces = self.text.answer[self._drawn_answer :]
        if not pieces:
            return ""
        if self._answer is None:
            from r1.markdown.stream import Markdown

            self._answer = Markdown(self._style.width, colour=self._style.colour)
        self._drawn_answer += len(pieces)
        self._answer.width = self._style.width
        return self._answer.feed("".join(pieces))

    def _live(self, rows: int) -> str:
        if self._is_over or rows < 1:
            return ""
        if self._answer is not None:
            return self._answer.live(rows)
        return self._trace.live() if self.shows_thinking else ""

    def _activity_line(self) -> str:
        if self.is_thinking:
            key = "hides" if self.shows_thinking else "shows"
            return self._fit([*self._activity.parts(), f"Ctrl-T {key} it", "Esc answers now"])
        waits = self._answer is None and self.thinking_s is None and self._clock() - self._began > _WAIT_SHOWN_AFTER_S
        return " · ".join(self._activity.parts()) if waits else ""

    def _fit(self, parts: list[str]) -> str:
        """As many of the parts as fit on one line; the first ones matter most."""
        while len(parts) > 1 and len(" · ".join(parts)) >= self._style.width:
            parts.pop()
        return " · ".join(parts)


_BAR = "│ "
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


def thought_line(seconds: float | None, tokens: int) -> str:
    """The line that sums up a trace. `seconds` is None when the program was killed before it could save them."""
    return "thought for an unknown time" if seconds is None else f"thought for {_duration(seconds)} · {tokens:,} tokens"


def _duration(seconds: float) -> str:
    """Tenths of a second below ten seconds, full seconds above."""
    if seconds < 0.05:
        return "under 0.1 s"
    return f"{min(seconds, 9.9):.1f} s" if seconds < 10 else units.duration(int(seconds))


def question_lines(question: str, style: Style, files: Sequence[str] = ()) -> str:
    """The question in bold after the prompt sign, and the names of the attached files.

    Of a question that would fill the screen only the first lines are shown.
    """
    lines: list[str] = []
    for line in printable(question).expandtabs(4).split("\n"):
        lines += wrap(line, max(style.width - 1 - len(PROMPT), 8))
    more = len(lines) - _SHOWN_QUESTION_LINES if len(lines) > _MAX_QUESTION_LINES else 0
    lines = lines[: len(lines) - more]
    marks = [PROMPT, *[" " * len(PROMPT)] * len(lines)]
    bold = "".join(f"{style.styled((mark + line).rstrip(), '1')}\n" for mark, line in zip(marks, lines, strict=False))
    folded = style.note(f"  … {more:,} more lines, sent in full") if more else ""
    return bold + folded + "".join(style.note(f"  attached: {name}") for name in files)


def answer_lines(answer: str, style: Style) -> str:
    """A complete answer, its Markdown rendered."""
    from r1.markdown.stream import render

    return render(answer, style.width, colour=style.colour) if answer else ""


def turn_lines(
    question: str, files: Sequence[str], thought: tuple[float | None, int, str] | None, answer: str, style: Style
) -> str:
    """A finished turn, with blank lines between its parts. `thought` is seconds, tokens and the trace to show."""
    thinking_lines = ""
    if thought is not None:
        seconds, tokens, trace = thought
        thinking_lines = f"\n{render_trace(trace, style)}{style.note(thought_line(seconds, tokens))}"
    rendered_answer = f"\n{answer_lines(answer, style)}" if answer else ""
    return f"{question_lines(question, style, files)}{thinking_lines}{rendered_answer}\n"
