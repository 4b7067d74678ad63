"""How a chat is left: by a second Ctrl-C, and what is saved of it when it ends in the middle of something.

The first Ctrl-C, where it has nothing to stop and nothing to save, says that another one quits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from r1.chat.chat import Chat

LEAVING_HINT = "press Ctrl-C again to quit"

HINT_S = 2.0
"""How long a hint is shown, and how soon the second Ctrl-C must follow the first."""

_STOP_TIMEOUT_S = 5.0  # for a large model to leave its step, and for the formulas of a vote to be compared
_POLL_S = 0.02


class PressedTwice:
    """True for a key that is pressed again while the hint about it is shown."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pressed: float | None = None

    def __call__(self) -> bool:
        before, self._pressed = self._pressed, self._clock()
        return before is not None and self._pressed - before < HINT_S


def save_unsent(chat: Chat, draft: str) -> None:
    """Saves the queued messages and the draft, each for itself; Up restores them in the next chat."""
    for text in filter(str.strip, [*chat.queue, draft]):
        chat.recorder.save_draft(text)
    chat.queue.clear()


async def reply_stopped(chat: Chat) -> None:
    """Stops the reply as Ctrl-C does, and waits until the chat has its end: of a vote, only that has a text.

    A question that still waits for its model has no reply, and a load may take minutes: nothing is waited for.
    """
    if not chat.busy or chat.model.ready is None:
        return
    chat.interrupt()
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            while chat.busy:
                await asyncio.sleep(_POLL_S)
