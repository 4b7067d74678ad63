"""Ctrl-C, SIGTERM and SIGHUP: a flag for running work to check, or an exception, so that nothing is left half done.

And SIGUSR1: a flag for the wish that the model answers now.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Self

from r1_quantize.errors import ExitStatus

_KILL_WINDOW_S = 5.0  # three signals within this time kill the process
_TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_SIGNALS = (signal.SIGINT, *_TERMINATIONS)
_ANSWER_NOW = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGBREAK") if hasattr(signal, name))


class Interrupted(BaseException):
    """A signal came while `Interrupt.raising` waited. Not an Exception, as KeyboardInterrupt is none."""


class Interrupt:
    """While entered, Ctrl-C, SIGTERM and SIGHUP make `interrupt()` true and raise nothing. The third signal in a row
    kills the process, even while C code blocks and Python handles no signals.

    It cannot raise, because it may arrive inside a callback from C, which an exception cannot leave. A signal that is
    ignored stays ignored (`nohup`). Outside the main thread, where Python delivers no signals, this does nothing.
    """

    def __init__(self) -> None:
        from r1.engine.llama import Stop  # here, because the light commands must not load llama.cpp

        self.stop = Stop()
        self._number = signal.SIGINT
        self._raising = False
        self._previous: dict[int, Any] = {}
        self._wakeup_fd = -1

    def __call__(self) -> bool:
        return self.stop()

    @property
    def status(self) -> ExitStatus:
        """The exit status of the signal that came first."""
        return ExitStatus(128 + self._number)

    def end(self) -> NoReturn:
        """Ends the command as the signal would without this: raises KeyboardInterrupt or SystemExit."""
        if self._number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(int(self.status))

    @contextmanager
    def raising(self) -> Iterator[None]:
        """For a block that waits and cannot check: a signal during or before it raises Interrupted."""
        self._raising = True
        try:
            if self.stop():
                raise Interrupted
            yield
        finally:
            self._raising = False

    def __enter__(self) -> Self:
        self._previous = _install(_SIGNALS, self._handle)
        if self._previous:
            self._watch()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._previous:
            _restore(self._previous)
            signal.set_wakeup_fd(-1)
            os.close(self._wakeup_fd)  # ends the watching thread
        if self.stop() and isinstance(error, BrokenPipeError):  # a hangup also ends what reads stdout
            raise SystemExit(int(self.status)) from None

    def _watch(self) -> None:
        """The C signal handler writes each signal to a pipe, and a thread counts them."""
        read_fd, self._wakeup_fd = os.pipe()
        if sys.platform != "win32":
            os.set_blocking(self._wakeup_fd, False)
        signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        threading.Thread(target=_kill_at_third, args=[read_fd], name="r1-interrupt", daemon=True).start()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.stop():
            _restore(dict.fromkeys(self._previous, signal.SIG_DFL))
        else:
            self._number = signal.Signals(number)
        self.stop.set()
        if self._raising:
            raise Interrupted


class AnswerNow:
    """While entered, SIGUSR1 (on Windows Ctrl-Break) ends the thinking of the replies under way; it raises nothing.

    One that comes when the reply is over does nothing, until the process has ended: whoever sends it cannot know. A
    signal that is ignored stays ignored. Outside the main thread this does nothing.
    """

    def __init__(self) -> None:
        self._signals = 0  # that came
        self._previous: dict[int, Any] = {}

    def from_now(self) -> Callable[[], bool]:
        """For a reply that begins: a function that says whether a signal has come since."""
        times = self.times_from_now()
        return lambda: times() > 0

    def times_from_now(self) -> Callable[[], int]:
        """For a vote that begins: a function that says how many signals have come since."""
        before = self._signals
        return lambda: self._signals - before

    def __enter__(self) -> Self:
        self._previous = _install(_ANSWER_NOW, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._previous.items():
            signal.signal(number, _ignore if before == signal.SIG_DFL else before)
            atexit.register(signal.signal, number, signal.SIG_IGN)  # Python would put the default back as it ends

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler, because an ignored signal would stay ignored for the next `AnswerNow`."""


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP raise SystemExit, so that work stops as after Ctrl-C; the third one kills.

    The exit codes are 143 and 129. A signal that is ignored stays ignored.
    """
    previous = _install(_TERMINATIONS, _Exit())
    try:
        yield
    finally:
        _restore(previous)


class _Exit:
    """Raises SystemExit at the first signal. The second must not break off the work that ends the process."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            raise SystemExit(128 + number)
        signal.signal(number, signal.SIG_DFL)


def _install(numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Handles the signals that are not ignored; returns their previous handlers. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handled = [number for number in numbers if signal.getsignal(number) not in {signal.SIG_IGN, None}]
    return {number: signal.signal(number, handler) for number in handled}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _kill_at_third(read_fd: int) -> None:
    """Ends the process at the third signal in a row, with the status that the default handler would give."""
    times: deque[float] = deque([-_KILL_WINDOW_S] * 3, maxlen=3)
    while numbers := os.read(read_fd, 16):
        ours = [number for number in numbers if number in _SIGNALS]
        times.extend([time.monotonic()] * len(ours))
        if ours and times[-1] - times[0] < _KILL_WINDOW_S:
            os._exit(128 + ours[-1])
    os.close(read_fd)
