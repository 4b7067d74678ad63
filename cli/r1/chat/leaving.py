"""Ctrl-C twice leaves the chat: the first one, where it has nothing to stop and nothing to save, says so."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAVING_HINT = "press Ctrl-C again to quit"

HINT_S = 2.0
"""How long a hint is shown, and how soon the second Ctrl-C must follow the first."""


class PressedTwice:
    """True for a key that is pressed again while the hint about it is shown."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pressed: float | None = None

    def __call__(self) -> bool:
        before, self._pressed = self._pressed, self._clock()
        return before is not None and self._pressed - before < HINT_S
