"""A clock that stands still until a test advances it, and a ticker that ticks when a test says so."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """Call it for the time in seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self._ticking: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def ticker(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        """A `Ticker` that `advance` drives."""
        entry = (seconds, call)
        self._ticking.append(entry)
        return lambda: self._ticking.remove(entry)

    def advance(self, seconds: float) -> None:
        """Lets time pass, in steps of the ticker."""
        end = self.now + seconds
        while self._ticking and self.now < end:
            step, call = self._ticking[0]
            self.now = min(self.now + step, end)
            call()
        self.now = end
