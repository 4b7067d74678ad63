"""Hands calls from other threads to an event loop, and wakes it once for many of them.

asyncio's own way writes to a socket for every call. A step of the engine has an event for each of its replies, and the
engine would spend a tenth of its time on that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary

_handovers: WeakKeyDictionary[asyncio.AbstractEventLoop, Handover] = WeakKeyDictionary()


def handover_to(loop: asyncio.AbstractEventLoop) -> Handover:
    """The one of this event loop. Call it on the loop's thread."""
    if loop not in _handovers:
        _handovers[loop] = Handover(loop)
    return _handovers[loop]


class Handover:
    """The calls are made on the loop's thread, in the order in which they came. Those for a closed loop are dropped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._is_awake = False  # the loop will look at the calls

    def call(self, function: Callable[[], None]) -> None:
        """From any thread."""
        self._calls.append(function)
        if self._is_awake:
            return
        self._is_awake = True
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._make_calls)

    def _make_calls(self) -> None:
        self._is_awake = False  # before looking, so that a call that comes now wakes the loop again
        while self._calls:
            self._calls.popleft()()
