"""A connection to the hub that never waits and records its events."""

from __future__ import annotations

import threading
from typing import TypeVar

from r1_quantize.events import PipelineEvent
from r1_quantize.hub.download import Connection

_Kind = TypeVar("_Kind")


class NeverWaits(threading.Event):
    """An event whose `wait` returns at once and ignores the timeout."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class Recorded:
    """A `connection`, and the `events` that were reported through it."""

    def __init__(self, attempts: int = 8) -> None:
        self.events: list[PipelineEvent] = []
        self.connection = Connection(self.events.append, NeverWaits(), attempts)

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """The events of that kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]
