"""Ctrl-C as a question that work asks itself, so that nothing is torn in the middle.

Knows: SIGINT. Does not know: what is being interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from r1.engine.llama import Stop

_PATIENCE = 5.0  # seconds, within which a person who presses Ctrl-C three times means it


class Interrupt:
    """While entered, Ctrl-C makes `interrupt()` true instead of raising; after a second one, a third kills, also while
    C code waits for something that does not come and Python hears nothing.

    It raises nothing because it may arrive inside a callback from C, which an exception cannot leave. Where SIGINT is
    ignored it stays ignored, and outside the main thread, where Python delivers no signals, nothing happens.
    """

    def __init__(self) -> None:
        self.stop = Stop()
        self._raising = False
        self._previous: Any = None
        self._bell = -1  # a file descriptor

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
            self._watch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            signal.set_wakeup_fd(-1)
            os.close(self._bell)  # which ends the watcher

    def _watch(self) -> None:
        """The system itself rings a bell for every signal; a thread counts."""
        heard, self._bell = os.pipe()
        if sys.platform != "win32":
            os.set_blocking(self._bell, False)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        threading.Thread(target=_count, args=[heard], name="r1-interrupt", daemon=True).start()

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self._raising:
            raise KeyboardInterrupt
        if self.stop():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.stop.set()


def _count(heard: int) -> None:
    """Ends the process at the third Ctrl-C in a row, as it would have ended if Python had heard it."""
    times: deque[float] = deque([-_PATIENCE] * 3, maxlen=3)
    while signals := os.read(heard, 16):
        times.extend([time.monotonic()] * signals.count(signal.SIGINT))
        if times[-1] - times[0] < _PATIENCE:
            os._exit(128 + signal.SIGINT)
    os.close(heard)
