"""A line on the terminal that says what is going on, while nothing else appears."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from r1.console import Console, printable

Describe = Callable[[], Sequence[str]]
"""Returns the same text in fewer and fewer words; the first that fits the terminal is shown."""

Ticker = Callable[[float, Callable[[], None]], Callable[[], None]]
"""Calls a function every so many seconds; returns the function that ends this."""

_WAIT_S = 0.5  # a shorter silence needs no line
_REFRESH_S = 0.1
_PLAIN_LINE_EVERY_S = 30.0  # where a line cannot be replaced


def tick_in_thread(seconds: float, call: Callable[[], None]) -> Callable[[], None]:
    """Calls from a thread, so that the line moves while llama.cpp computes."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, name="r1-status", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return end


class StatusLine:
    """Appears on stderr after half a second, is replaced in place, and is removed at the end.

    Only on a terminal, and not on a quiet console. A terminal without escape codes gets a new line every 30 seconds.
    """

    def __init__(
        self, console: Console, ticker: Ticker = tick_in_thread, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._ticker = ticker
        self._clock = clock
        self._describe: Describe | None = None
        self._stop_ticker: Callable[[], None] | None = None
        self._next = 0.0

    def begin(self, describe: Describe) -> None:
        """Shows what `describe` returns, from another thread. Does nothing if a line has begun already."""
        if self._stop_ticker is not None or self._console.quiet or not self._console.stderr_is_terminal:
            return
        self._describe = describe
        self._next = self._clock() + (_WAIT_S if self._console.has_style else _PLAIN_LINE_EVERY_S)
        self._stop_ticker = self._ticker(_REFRESH_S, self._tick)

    def end(self) -> None:
        """Removes the line."""
        if self._stop_ticker is not None:
            self._stop_ticker()
            self._stop_ticker = None
            self._console.rewrite("")

    def _tick(self) -> None:
        if self._describe is None or self._clock() < self._next:
            return
        if self._console.has_style:
            self._console.rewrite(_fitting(self._describe(), self._console.columns - 1))
        else:
            self._next += _PLAIN_LINE_EVERY_S
            self._console.note(self._describe()[0])


def _fitting(wordings: Sequence[str], columns: int) -> str:
    """The first that fits; else as much of the last one as does. Some characters take two columns."""
    from rich.cells import cell_len, set_cell_size  # here, because most commands show no such line

    shown = [printable(text) for text in wordings]
    cut = set_cell_size(shown[-1], max(columns, 0)).rstrip()
    return next((text for text in shown if cell_len(text) <= columns), cut)
