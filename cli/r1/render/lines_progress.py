"""The progress of many prompts: how many are answered, how fast, and how long the rest will take."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from r1.console import Console
from r1.render.activity import shortened
from r1.render.plain import is_unseen
from r1.render.status_line import StatusLine
from r1_quantize import units

_WINDOW_S = 5.0  # over which tokens per second are counted
_STEP_S = 0.2  # tokens within it are counted together
_MIN_S = 1.0  # before that, a rate would be a guess
_BEGUN_SHARE = 0.5  # how much of a line that is being answered is done, on average


class LinesProgress:
    """Counts lines and tokens, and shows the counts in a status line while something is being answered.

    Sizes are the lines' bytes. Thread-safe.
    """

    def __init__(
        self,
        console: Console,
        total: int | None,
        *,
        done: Callable[[int], str] = lambda done: f"{done:,} done",
        more: Callable[[], str] = lambda: "",
        status: StatusLine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`total` is the size of all lines; None if it is not known, so that there is no estimate.

        `done` words how many are answered, and `more` ends the line where there is room; both from another thread.
        """
        self._status = status or StatusLine(console)
        self._makes_way = not is_unseen(console.stdout)
        self._done_text = done
        self._more = more
        self._clock = clock
        self._lock = threading.Lock()
        self._is_shown = False
        self._left = total  # size of the lines that nothing was done about
        self._running: list[int] = []  # sizes
        self._done = 0
        self._done_size = 0
        self._began: float | None = None
        self._tokens = 0
        self._steps: deque[tuple[float, int]] = deque()  # when, and how many tokens there were then

    def show(self) -> None:
        """Shows the line until `hide`."""
        if not self._is_shown:
            self._is_shown = True
            self._status.begin(self.wordings)

    def hide(self) -> None:
        """Removes the line."""
        if self._is_shown:
            self._is_shown = False
            self._status.end()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For printing: removes the line if what is printed may appear on the same terminal."""
        is_in_the_way = self._is_shown and self._makes_way
        if is_in_the_way:
            self._status.end()
        yield
        if is_in_the_way:
            self._status.begin(self.wordings)

    def skip(self, size: int) -> None:
        """A line needs no answer."""
        with self._lock:
            self._take(size)

    def begin(self, size: int) -> None:
        """A line is being answered."""
        with self._lock:
            self._take(size)
            self._running.append(size)
            if self._began is None:
                self._began = self._clock()
                self._steps.append((self._began, 0))

    def finish(self, size: int) -> None:
        """A line that was begun is answered."""
        with self._lock:
            self._running.remove(size)
            self._done += 1
            self._done_size += size

    def add_tokens(self, count: int) -> None:
        """More tokens were generated."""
        now = self._clock()
        with self._lock:
            self._tokens += count
            if not self._steps or now - self._steps[-1][0] >= _STEP_S:
                self._steps.append((now, self._tokens))
            while len(self._steps) > 1 and now - self._steps[0][0] > _WINDOW_S:
                self._steps.popleft()

    def wordings(self) -> list[str]:
        """The line, for example `12 done · 4 running · 38 tok/s · about 3 min left`, then in fewer words."""
        with self._lock:
            done, running = self._done_text(self._done), f"{len(self._running):,} running"
            rate = self._rate()
            left = self._seconds_left()
        speed = [] if rate is None else [f"{rate:,.0f} tok/s" if rate >= 10 else f"{rate:.1f} tok/s"]
        more = [text] if (text := self._more()) else []
        if left is None:
            return shortened([done, running, *speed, *more])
        time_left, shortly = _time_left(left)
        with_more = [
            " · ".join([done, running, *speed, time_left, *more]),
            " · ".join([done, *speed, shortly, *more]),
        ]
        return [
            *(with_more if more else []),
            " · ".join([done, running, *speed, time_left]),
            " · ".join([done, *speed, shortly]),
            f"{done} · {shortly}",
            done,
        ]

    def _take(self, size: int) -> None:
        if self._left is not None:
            self._left = max(self._left - size, 0)

    def _rate(self) -> float | None:
        """Tokens per second of all replies together; None until there is enough data."""
        if not self._steps:
            return None
        since, before = self._steps[0]
        seconds = self._clock() - since
        return (self._tokens - before) / seconds if seconds >= _MIN_S and self._tokens > before else None

    def _seconds_left(self) -> float | None:
        """From the sizes of lines; None if the total is not known, and until enough lines are answered."""
        if self._left is None or self._began is None or self._done < max(2, len(self._running)):
            return None
        begun = sum(self._running)
        work = self._done_size + _BEGUN_SHARE * begun
        return (self._left + (1 - _BEGUN_SHARE) * begun) * (self._clock() - self._began) / work


def _time_left(seconds: float) -> tuple[str, str]:
    """In whole minutes, since an estimate is not exact to the second; then in fewer words."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left", "< 1 min left"
    time_left = units.duration(60 * minutes).removesuffix(" 0 s").removesuffix(" 0 min")
    return f"about {time_left} left", f"{time_left} left"
