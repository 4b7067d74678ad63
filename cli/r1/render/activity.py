"""What a reply that is being generated is doing, in a few words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from r1.engine.events import Answer, Event, Finished, Prefill, Rewound, Thinking, Thought
from r1_quantize import units


class Activity:
    """Follows the events of one reply and describes its present state."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, budget: int | None = None) -> None:
        """`budget` is what the model may think, in tokens; None: no limit."""
        self._clock = clock
        self._budget = budget
        self._prefill: Prefill | None = None
        self._thinking_began: float | None = None
        self._thinking_ended: float | None = None
        self._thinking_tokens = 0
        self._answer_tokens = 0

    @property
    def has_begun(self) -> bool:
        """True once the model reads the prompt; before that it may still be loading."""
        return self._prefill is not None

    @property
    def is_thinking(self) -> bool:
        return self._thinking_began is not None and self._thinking_ended is None

    @property
    def thinking_s(self) -> float | None:
        """Seconds of thinking so far; None before it began."""
        if self._thinking_began is None:
            return None
        return (self._thinking_ended or self._clock()) - self._thinking_began

    def add(self, event: Event) -> None:
        """Adds one event of the turn."""
        if isinstance(event, Prefill):
            self._prefill = event
            if event.done == event.total:
                self._thinking_began = self._clock()
        elif isinstance(event, Thinking | Rewound):
            self._thinking_tokens = event.tokens
        elif isinstance(event, Answer):
            self._answer_tokens = event.tokens
        elif isinstance(event, Thought):
            self._thinking_tokens = event.tokens
            self.end_thinking()
        elif isinstance(event, Finished):
            self.end_thinking()

    def end_thinking(self) -> None:
        """The thinking is over, or no more events follow."""
        if self._thinking_began is not None and self._thinking_ended is None:
            self._thinking_ended = self._clock()

    def parts(self) -> list[str]:
        """The present state, for example `thinking`, `12 s`, `431 of 1,024 tokens`; the most important part first."""
        if self._prefill is None:
            return ["waiting for the model"]
        if self._thinking_began is None:
            return ["reading the prompt", f"{self._prefill.done:,} of {self._prefill.total:,} tokens"]
        if self._thinking_ended is None:
            of = "" if self._budget is None else f" of {self._budget:,}"
            return ["thinking", running(self._clock() - self._thinking_began), f"{self._thinking_tokens:,}{of} tokens"]
        return ["answering", running(self._clock() - self._thinking_ended), f"{self._answer_tokens:,} tokens"]


def running(seconds: float) -> str:
    """A duration that still grows, in full seconds: a clock that counts up does not round up."""
    return units.duration(int(seconds))


def shortened(parts: Sequence[str]) -> list[str]:
    """The parts on one line, then without the last one, and so on; the first that fits can be shown."""
    return [" · ".join(parts[:count]) for count in range(len(parts), 0, -1)]
