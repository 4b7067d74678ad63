"""Ctrl-C as a question that work asks itself, so that nothing is torn in the middle.

Knows: SIGINT. Does not know: what is being interrupted.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupt:
    """While entered, the first Ctrl-C only makes `interrupt()` true; the second one raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, it stays false.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: Any = None

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
