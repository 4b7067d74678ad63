"""A reply as plain text: the answer on stdout, the thinking where it was asked for; and the loading line before it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from r1.console import Console
from r1.engine.events import Answer, Event, Finished, Thinking

TraceTo = Literal["stdout", "stderr", "nowhere"]

_LOADING_AFTER_S = 0.5  # of loading, before the line appears
_REFRESH_S = 0.1


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished reply."""

    finished: Finished
    thinking: str
    answer: str


@dataclass(slots=True)
class PlainView:
    """Prints events as they arrive. Each text ends with one newline."""

    console: Console
    trace_to: TraceTo
    show_answer: bool
    _open: Literal["stdout", "stderr"] | None = field(default=None, init=False)  # has text without a final newline

    def show(self, event: Event) -> None:
        """Raises BrokenPipeError if the reader of stdout went away."""
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
        """Ends the open text. A terminal that shows both thinking and answer gets a blank line between them."""
        if self._open == "stdout":
            self.console.out("\n")
        elif self._open == "stderr":
            both = self.console.stderr_is_terminal and self.console.stdout_is_terminal
            self.console.err("\n\n" if both and self.show_answer else "\n")
        self._open = None


def follow(events: Iterable[Event], view: PlainView) -> Reply:
    """Shows the events of a reply up to `Finished`, and returns the reply."""
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
    raise AssertionError("a reply ends with Finished")


class LoadingLine:
    """On a terminal, a line with the share of the model that is loaded, if loading takes long enough to notice."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._next = time.monotonic() + _LOADING_AFTER_S
        self._shown = False

    def __call__(self, share: float) -> None:
        """`share` is the share that is loaded, from 0 to 1."""
        now = time.monotonic()
        if not self._console.has_style or now < self._next:
            return
        self._next = now + _REFRESH_S
        self._shown = True
        line = f"loading {self._name} · {share:.0%}"
        fits = len(line) < shutil.get_terminal_size().columns
        self._console.rewrite(line if fits else f"loading · {share:.0%}")

    def end(self) -> None:
        """Removes the line."""
        if self._shown:
            self._console.rewrite("")
            self._shown = False
