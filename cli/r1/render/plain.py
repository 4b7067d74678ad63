"""A turn as plain text: the answer to stdout, the trace to where it was asked for.

Knows: which event goes to which stream, and the line breaks between them.
Does not know: models, settings, exit codes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from r1.console import Console
from r1.engine.events import Answer, Event, Finished, Thinking

TraceTo = Literal["stdout", "stderr", "nowhere"]


@dataclass(slots=True)
class Reply:
    """What a turn came to, once it is over."""

    finished: Finished
    thinking: str
    answer: str


@dataclass(slots=True)
class PlainView:
    """Shows events as they come. A text that was begun gets one final newline."""

    console: Console
    trace_to: TraceTo
    show_answer: bool
    _open: Literal["stdout", "stderr"] | None = field(default=None, init=False)

    def show(self, event: Event) -> None:
        """Raises BrokenPipeError when the reader of stdout went away."""
        if isinstance(event, Thinking) and self.trace_to != "nowhere":
            self._write(self.trace_to, event.text)
        elif isinstance(event, Answer) and self.show_answer:
            if self._open == "stderr":
                self._close()
            self._write("stdout", event.text)
        elif isinstance(event, Finished):
            self._close()

    def _write(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        self._open = stream
        if stream == "stderr":
            self.console.err(text, dim=True)
        else:
            self.console.out(text)

    def _close(self) -> None:
        """Ends the text on the stream that is open; a terminal that shows both gets a blank line between them."""
        if self._open == "stdout":
            self.console.out("\n")
        elif self._open == "stderr":
            both = self.console.stderr_is_terminal and self.console.stdout_is_terminal
            self.console.err("\n\n" if both and self.show_answer else "\n")
        self._open = None


def follow(events: Iterable[Event], view: PlainView) -> Reply:
    """Shows a turn to its end and returns what it came to."""
    thinking: list[str] = []
    answer: list[str] = []
    for event in events:
        view.show(event)
        if isinstance(event, Thinking):
            thinking.append(event.text)
        elif isinstance(event, Answer):
            answer.append(event.text)
        elif isinstance(event, Finished):
            return Reply(event, "".join(thinking), "".join(answer))
    raise AssertionError("a turn always ends with Finished")


_PATIENCE = 0.5  # seconds without a word
_FRAME = 0.1  # seconds between two looks at the line


class LoadingLine:
    """On a terminal, one line that counts; what follows takes its place."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._next = time.monotonic() + _PATIENCE
        self._shown = False

    def __call__(self, share: float) -> None:
        """`share` is what is loaded, 0 to 1."""
        now = time.monotonic()
        if not self._console.has_style or now < self._next:
            return
        self._next = now + _FRAME
        self._shown = True
        columns = shutil.get_terminal_size().columns
        line = f"loading {self._name} · {share:.0%}"
        self._console.rewrite(line if len(line) < columns else f"loading · {share:.0%}")

    def end(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._console.rewrite("")
            self._shown = False
