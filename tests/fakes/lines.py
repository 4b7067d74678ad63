"""A line to the hub on which nobody waits, and that remembers what was said on it."""

from __future__ import annotations

import threading
from typing import TypeVar

from r1_quantize.events import PipelineEvent
from r1_quantize.hub.download import Line

_Kind = TypeVar("_Kind")


class Impatient(threading.Event):
    """Whoever waits for it goes on at once, however long they meant to."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class Recorded:
    """A `line`, and the `events` that were reported on it."""

    def __init__(self, patience: int = 8) -> None:
        self.events: list[PipelineEvent] = []
        self.line = Line(self.events.append, Impatient(), patience)

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """The events of that kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]
