"""Ctrl-C as a question that work asks itself, so that nothing is torn in the middle.

Knows: SIGINT. Does not know: what is being interrupted.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from r1.engine.stop import Stop


class Interrupt:
    """While entered, Ctrl-C makes `interrupt()` true instead of raising; after a second one, a third kills.

    It raises nothing because it may arrive inside a callback from C, which an exception cannot leave. Where SIGINT is
    ignored it stays ignored, and outside the main thread, where Python delivers no signals, nothing happens.
    """

    def __init__(self) -> None:
        self.stop = Stop()
        self._raising = False
        self._previous: Any = None

    def __call__(self) -> bool:
        return self.stop()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """For a block that waits and cannot ask: Ctrl-C in it, or one that came before, is KeyboardInterrupt."""
        self._raising = True
        try:
            if self.stop():
                raise KeyboardInterrupt
            yield
        finally:
            self._raising = False

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self._raising:
            raise KeyboardInterrupt
        if self.stop():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.stop.set()
