"""A reply as plain text: the answer on stdout, the thinking where it was asked for, and a status line meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TextIO

from r1.console import Console
from r1.engine.events import Answer, Event, Finished, Rewound, Thinking
from r1.render.activity import Activity, shortened
from r1.render.reply_text import Reply, ReplyText
from r1.render.status_line import StatusLine

Stream = Literal["stdout", "stderr"]
TraceTo = Literal["stdout", "stderr", "nowhere"]


class _Line:
    """The line that is being written, in the pieces in which it arrives."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, text: str) -> Iterator[str]:
        """Yields each line that `text` completes, with its newline."""
        *ends, rest = text.split("\n")
        for end in ends:
            yield f"{self.take()}{end}\n"
        self._pieces.append(rest)

    def take(self) -> str:
        """The line so far; the next one begins."""
        text = "".join(self._pieces)
        self._pieces.clear()
        return text


class PlainView:
    """Prints events as they arrive; each text ends with one newline.

    A terminal gets each piece at once. Everything else gets complete lines in one write each, so that the lines of
    several processes that share a pipe stay whole. While nothing appears, a status line does: see `StatusLine`.
    """

    def __init__(
        self,
        console: Console,
        trace_to: TraceTo,
        *,
        show_answer: bool,
        budget: int | None = None,
        status: StatusLine | None = None,
    ) -> None:
        """`budget` is that of the thinking, in tokens."""
        self.trace_to = trace_to
        self._console = console
        self._show_answer = show_answer
        self._activity = Activity(budget=budget)
        self._tally: Sequence[str] = ()  # of a vote, in fewer and fewer words
        self._status = status or StatusLine(console)
        self._status.begin(self._wordings)
        self._line = _Line()
        self._open: Stream | None = None  # has text without a final newline
        # a program that reads the trace must not get what may yet be taken back
        self._held: list[str] | None = [] if trace_to == "stdout" and not console.stdout_is_terminal else None
        self._stdout_is_unseen = is_unseen(console.stdout)

    def show_tally(self, wordings: Sequence[str]) -> None:
        """Until the next event, the status line says how a vote stands."""
        self._tally = wordings

    def show(self, event: Event) -> None:
        """Raises BrokenPipeError if the reader of stdout went away."""
        self._tally = ()
        self._activity.add(event)
        if isinstance(event, Thinking):
            self._show_thinking(event.text)
        elif isinstance(event, Rewound):
            self._go_back(event)
        elif isinstance(event, Answer):
            if self._open == "stderr":
                self._end_text()
            self._print("stdout" if self._show_answer else "nowhere", event.text)
        elif isinstance(event, Finished):
            self.close()

    def close(self) -> None:
        """Removes the status line and ends the text. To be called if the reply ends without Finished."""
        held, self._held = self._held, None
        if held:
            self._print("stdout", "".join(held))
        self._status.end()
        self._end_text()

    def _wordings(self) -> list[str]:
        return list(self._tally) or shortened(self._activity.parts())

    def _show_thinking(self, text: str) -> None:
        if self._held is None:
            self._print(self.trace_to, text)
        else:
            self._held.append(text)
            self._status.begin(self._wordings)

    def _go_back(self, event: Rewound) -> None:
        if self._held is None:
            self._note_rewound(event)
        else:
            self._held = [event.thinking]

    def _print(self, stream: TraceTo, text: str) -> None:
        if stream == "nowhere" or (stream == "stdout" and self._stdout_is_unseen):
            self._status.begin(self._wordings)
        if stream == "nowhere":
            return
        self._open = stream
        for part in [text] if self._is_terminal(stream) else self._line.add(text):
            self._write(stream, part)

    def _write(self, stream: Stream, text: str, *, dim: bool = True) -> None:
        if stream == "stderr":
            self._status.end()
            self._console.err(text, dim=dim)
        else:
            if not self._stdout_is_unseen:
                self._status.end()  # also for a pipe: its reader may write to the same terminal
            self._console.out(text)

    def _note_rewound(self, event: Rewound) -> None:
        """Where the trace is seen as it comes, what was printed stays; a line says that it no longer counts."""
        if self.trace_to == "nowhere":
            return
        if self._open is not None:
            self._write(self._open, f"{self._line.take()}\n", dim=False)
            self._open = None
        if not self._console.quiet:
            line = f"r1: the thinking went round in circles; its last {event.dropped:,} tokens are taken back\n"
            self._console.err(line, dim=True)

    def _end_text(self) -> None:
        """A terminal that shows both thinking and answer gets a blank line between them."""
        if self._open is None:
            return
        both = self._open == "stderr" and self._console.stderr_is_terminal and self._console.stdout_is_terminal
        blank = "\n" if both and self._show_answer else ""
        self._write(self._open, f"{self._line.take()}\n{blank}", dim=False)
        self._open = None

    def _is_terminal(self, stream: Stream) -> bool:
        return self._console.stdout_is_terminal if stream == "stdout" else self._console.stderr_is_terminal


def follow(events: Iterable[Event], view: PlainView) -> Reply:
    """Shows the events of a reply up to `Finished`, and returns the reply."""
    text = ReplyText()
    try:
        for event in events:
            view.show(event)
            if reply := text.add(event):
                return reply
    finally:
        view.close()
    raise AssertionError("a reply ends with Finished")


class LoadingLine:
    """A status line with the share of the model that is loaded."""

    def __init__(self, console: Console, name: str, status: StatusLine | None = None) -> None:
        self._name = name
        self._share = 0.0
        self._status = status or StatusLine(console)
        self._status.begin(self._wordings)

    def __call__(self, share: float) -> None:
        """`share` is the share that is loaded, from 0 to 1."""
        self._share = share

    def end(self) -> None:
        """Removes the line."""
        self._status.end()

    def _wordings(self) -> list[str]:
        return [f"loading {self._name} · {self._share:.0%}", f"loading · {self._share:.0%}"]


def is_unseen(stream: TextIO) -> bool:
    """Whether nobody sees what is written: the stream leads to a file or device, not to a terminal or a program."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except OSError:  # a stream in memory
        return False
    return not (stream.isatty() or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))
