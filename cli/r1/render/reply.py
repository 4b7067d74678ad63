"""A reply while it is being generated: lines ready for the scrollback, live lines, and one line of activity."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from r1.console import printable
from r1.engine.events import (
    THINKING_ENDS,
    Event,
    Finished,
    Rewound,
    Thinking,
    ThinkingEnd,
    Thought,
)
from r1.markdown.wrap import wrap
from r1.render.activity import Activity, shortened
from r1.render.reply_text import ReplyText
from r1.render.style import Style
from r1.render.trace import RunningTrace, render_trace
from r1_quantize import units

if TYPE_CHECKING:
    from r1.markdown.stream import Markdown

PROMPT = "> "

_MAX_QUESTION_LINES = 24
_SHOWN_QUESTION_LINES = 12  # of a longer question
_WAIT_SHOWN_AFTER_S = 0.5  # a shorter wait gets no activity line
_MEASURED_AFTER_S = 1.0  # a shorter time says little about the speed
_LONG_FENCE = "~" * 100  # only a line of as many ends a block of code that begins with it


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

    def __init__(
        self,
        style: Style,
        *,
        shows_thinking: bool,
        budget: int | None = None,
        is_literal: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`budget` is what the model may think, in tokens; None: no limit. `is_literal`: the answer is not Markdown."""
        self.text = ReplyText()
        self.budget = budget
        self.shows_thinking = shows_thinking
        self._style = style
        self._clock = clock
        self._began = clock()
        self._first_tokens: tuple[int, float] | None = None  # their number, and when they came
        self._activity = Activity(clock)
        self._trace = RunningTrace(style)
        self._is_literal = is_literal
        self._thinking_end: ThinkingEnd | None = None
        self._answer: Markdown | None = None
        self._drawn_answer = 0  # pieces
        self._trace_is_closed = False
        self._is_over = False
        self._tally: Sequence[str] = ()  # of a vote, in fewer and fewer words
        self._thinking_took_s: float | None = None

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
        return self._activity.thinking_s if self._thinking_took_s is None else self._thinking_took_s

    @property
    def decode_tps(self) -> float | None:
        """Tokens a second so far; None before there is enough to measure."""
        if self._first_tokens is None:
            return None
        tokens, began = self._first_tokens
        seconds = self._clock() - began
        return (self.text.generated_tokens - tokens) / seconds if seconds >= _MEASURED_AFTER_S else None

    def show_tally(self, wordings: Sequence[str]) -> None:
        """Several replies vote, so that none of them can be shown yet. The line of activity says how the vote stands:
        in the first of the `wordings` that fits.
        """
        self._tally = [printable(wording) for wording in wordings]

    def show_winner(self, thinking_s: float) -> None:
        """The events that follow are those of a reply that is complete already; its thinking took so long."""
        self._tally, self._thinking_took_s = (), thinking_s

    def show(self, event: Event) -> None:
        """Adds an event; the next frame shows it."""
        self.text.add(event)
        self._activity.add(event)
        if self._first_tokens is None and self.text.generated_tokens:
            self._first_tokens = self.text.generated_tokens, self._clock()
        if isinstance(event, Thinking):
            self._trace.add(event.text)
        elif isinstance(event, Rewound):
            self._trace.go_back(event, is_shown=self.shows_thinking)
        elif isinstance(event, Thought):
            self._thinking_end = event.end
        elif isinstance(event, Finished):
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
        lines = self._trace.draw()
        return lines if self.is_thinking else lines + self._trace.end()

    def _close_trace(self) -> str:
        """The line that sums up the thinking, once it is over. Of none at all it says only who cut it short."""
        is_worth_it = self.text.thinking or (self.text.thinking_tokens and self._thinking_end in THINKING_ENDS)
        if self.is_thinking or self._trace_is_closed or self.thinking_s is None or not is_worth_it:
            return ""
        self._trace_is_closed = True
        return thought_lines(self.thinking_s, self.text.thinking_tokens, self._thinking_end, self._style) + "\n"

    def _draw_answer(self) -> str:
        pieces = self.text.answer[self._drawn_answer :]
        if not pieces:
            return ""
        if self._answer is None:
            self._answer = _markdown(self._style, is_literal=self._is_literal)
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
        if self._tally:
            hinted = shortened([self._tally[0], "Esc answers now", "Ctrl-C ends the vote"])
            return next((line for line in [*hinted, *self._tally] if cell_len(line) < self._style.width), "")
        if self.is_thinking:
            key = "hides" if self.shows_thinking else "shows"
            state, seconds, _ = self._activity.parts()  # the toolbar counts the tokens
            return self._fit([state, seconds, "Esc answers now", f"Ctrl-T {key} it"])
        waits = self._answer is None and self.thinking_s is None and self._clock() - self._began > _WAIT_SHOWN_AFTER_S
        return " · ".join(self._activity.parts()) if waits else ""

    def _fit(self, parts: list[str]) -> str:
        """As many of the parts as fit on one line; the first ones matter most."""
        while len(parts) > 1 and len(" · ".join(parts)) >= self._style.width:
            parts.pop()
        return " · ".join(parts)


def thought_lines(seconds: float | None, tokens: int, end: ThinkingEnd | None, style: Style) -> str:
    """The line that sums up a trace; where it is too narrow for that, two lines.

    `seconds` is None when the program was killed before it could save them.
    """
    if seconds is None:
        return style.note("thought for an unknown time")
    line = f"thought for {_duration(seconds)} · {tokens:,} token{'' if tokens == 1 else 's'}"
    ending = THINKING_ENDS.get(end)
    if ending is None:
        return style.note(line)
    fits = len(f"{line} · {ending}") < style.width
    return style.note(f"{line} · {ending}" if fits else f"{line}\n{ending}")


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


def answer_lines(answer: str, style: Style, *, is_literal: bool = False) -> str:
    """A complete answer; its Markdown is rendered, unless it is literal."""
    if not answer:
        return ""
    lines = _markdown(style, is_literal=is_literal)
    return lines.feed(answer) + lines.end()


def _markdown(style: Style, *, is_literal: bool) -> Markdown:
    """A literal answer is a block of code, where every character stays."""
    from r1.markdown.stream import Markdown

    made = Markdown(style.width, colour=style.colour)
    if is_literal:
        made.feed(f"{_LONG_FENCE}\n")
    return made


@dataclass(frozen=True, slots=True)
class PastThinking:
    """The thinking of a turn that is over. `trace` is what is shown of it."""

    seconds: float | None
    tokens: int
    end: ThinkingEnd | None
    trace: str

    def lines(self, style: Style) -> str:
        return render_trace(self.trace, style) + thought_lines(self.seconds, self.tokens, self.end, style)


def turn_lines(question: str, thinking: str, answer: str) -> str:
    """A finished turn, with blank lines between its parts, which are lines already; the last two may be empty."""
    return "".join([question, *(f"\n{part}" for part in (thinking, answer) if part), "\n"])
