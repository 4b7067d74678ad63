"""Ctrl-C as a flag for running work to check, so that nothing is left half done."""

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

_KILL_WINDOW_S = 5.0  # three Ctrl-C within this time kill the process


class Interrupt:
    """While entered, Ctrl-C makes `interrupt()` true and raises nothing. The third Ctrl-C in a row kills the process,
    even while C code blocks and Python handles no signals.

    It cannot raise, because it may arrive inside a callback from C, which an exception cannot leave. Where SIGINT is
    ignored it stays ignored. Outside the main thread, where Python delivers no signals, this does nothing.
    """

    def __init__(self) -> None:
        self.stop = Stop()
        self._raising = False
        self._previous: Any = None
        self._wakeup_fd = -1

    def __call__(self) -> bool:
        return self.stop()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """For a block that waits and cannot check: Ctrl-C during or before it raises KeyboardInterrupt."""
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
            os.close(self._wakeup_fd)  # ends the watching thread

    def _watch(self) -> None:
        """The C signal handler writes each signal to a pipe, and a thread counts them."""
        read_fd, self._wakeup_fd = os.pipe()
        if sys.platform != "win32":
            os.set_blocking(self._wakeup_fd, False)
        signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        threading.Thread(target=_kill_at_third, args=[read_fd], name="r1-interrupt", daemon=True).start()

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self._raising:
            raise KeyboardInterrupt
        if self.stop():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.stop.set()


def _kill_at_third(read_fd: int) -> None:
    """Ends the process at the third Ctrl-C in a row, with the status that the default handler would give."""
    times: deque[float] = deque([-_KILL_WINDOW_S] * 3, maxlen=3)
    while signals := os.read(read_fd, 16):
        times.extend([time.monotonic()] * signals.count(signal.SIGINT))
        if times[-1] - times[0] < _KILL_WINDOW_S:
            os._exit(128 + signal.SIGINT)
    os.close(read_fd)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """While entered, SIGTERM raises SystemExit, so that work stops as after Ctrl-C; the exit code is 143."""
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
