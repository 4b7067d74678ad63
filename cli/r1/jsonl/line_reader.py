"""Reads prompt lines in a thread, so that waiting for stdin does not stop the replies that are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from r1.prompt_input import PromptLine

_POLL_S = 0.1  # between looks at `stop`; on Windows, no signal wakes a thread that waits for a lock


@dataclass(frozen=True, slots=True)
class _End:
    """There are no more lines, because stdin ended or reading failed."""

    error: BaseException | None


class LineReader:
    """Iterates over `lines` in a thread, one line ahead of `take`."""

    def __init__(self, lines: Iterable[PromptLine], stop: Callable[[], bool] = lambda: False) -> None:
        """`stop` ends a `take` that waits."""
        self.has_ended = False
        self._lines = lines
        self._stop = stop
        self._error: BaseException | None = None
        self._next: PromptLine | None = None
        self._read: SimpleQueue[PromptLine | _End] = SimpleQueue()
        self._may_go_on = threading.Semaphore(0)
        self._is_closed = False
        threading.Thread(target=self._run, name="r1-stdin", daemon=True).start()  # it may never return from a read

    def take(self, *, wait: bool) -> PromptLine | None:
        """The next line. None at the end, and if there is none yet and `wait` is off."""
        line = self._peek(wait=wait)
        if line is not None:
            self._next = None
            self._may_go_on.release()
        return line

    def has_line(self) -> bool:
        """Waits for a line to `take`; False at the end."""
        return self._peek(wait=True) is not None

    def _peek(self, *, wait: bool) -> PromptLine | None:
        while not (self._next or self.has_ended or self._stop()):
            try:
                item = self._read.get(block=wait, timeout=_POLL_S)
            except Empty:
                if wait:
                    continue
                return None
            if isinstance(item, PromptLine):
                self._next = item
            else:
                self.has_ended, self._error = True, item.error
        return self._next

    def raise_error(self) -> None:
        """Raises the error that ended the reading, if there was one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Reads no further, once a read that is under way has returned."""
        self._is_closed = True
        self._may_go_on.release()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for line in self._lines:
                self._read.put(line)
                self._may_go_on.acquire()
                if self._is_closed:
                    return
        except BaseException as exc:  # of any kind: `raise_error` raises it in the other thread
            error = exc
        self._read.put(_End(error))
