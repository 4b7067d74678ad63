"""The replies to one question while they are generated, for a coroutine to read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from r1.engine.events import Answer, Event, Finished, Prefill, Scored
from r1.serve.errors import ApiError, api_error
from r1.serve.handover import handover_to
from r1.serve.jobs import Begun, Failed, JobEvent
from r1.serve.stop_texts import StopTexts


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the reply with this index. `stop_text` ended the answer, if Finished says `stop`."""

    index: int
    event: Event
    stop_text: str | None = None


@dataclass(slots=True)
class _Reply:
    """One of the replies. `cancel` ends it early; None: it has ended. `scores` are of text that is held back."""

    cancel: Callable[[], None] | None
    stop_texts: StopTexts
    scores: list[Event] = field(default_factory=list)
    is_cancelled: bool = False

    def stop(self) -> None:
        """Cancels it, once; its Finished is still to come."""
        if self.cancel is not None and not self.is_cancelled:
            self.is_cancelled = True
            self.cancel()


@dataclass(slots=True)
class Pace:
    """How fast several replies are generated together: `tokens` of those that have ended, from `since`, when the first
    event of one came, to `until`, when the last one ended. Times are those of `time.monotonic`.
    """

    since: float | None = None
    until: float = 0.0
    tokens: int = 0

    def add(self, events: Sequence[JobEvent], now: float) -> None:
        for event in events:
            if self.since is None and not isinstance(event, Begun | Prefill | Failed):
                self.since = now
            if isinstance(event, Finished):
                self.until = now
                self.tokens += event.usage.generated_tokens

    @property
    def tps(self) -> float:
        """Tokens per second; 0 when there was nothing to measure."""
        spent = 0.0 if self.since is None else self.until - self.since
        return self.tokens / spent if spent > 0 else 0.0


@dataclass(slots=True)
class Asked:
    """Replies to the same prompt by the model `model`; close it in any case.

    `fields` are further facts that some APIs give, known when the last event is read. The first reply waited `wait_s`
    seconds in the line; None: it still does. Getting ready for the replies took `load_s` seconds; then the number of
    `prompt_tokens` is known. `finished` are those that have ended, and `error` says why they failed.
    """

    model: str
    ended: Callable[[], None]
    """Called once, when it is closed."""
    begun: Callable[[], None] = lambda: None
    """Called once, when the first reply's turn has come: its model is loaded."""
    began: float = field(default_factory=time.monotonic)
    load_s: float = 0.0
    prompt_tokens: int = 0
    wait_s: float | None = None
    finished: list[Finished] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    error: ApiError | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    _replies: list[_Reply] = field(default_factory=list)
    _events: asyncio.Queue[tuple[int, JobEvent]] = field(default_factory=asyncio.Queue)
    _is_closed: bool = False

    def sink(self, index: int) -> Callable[[Sequence[JobEvent]], None]:
        """Takes the events of the reply with this index, on any thread."""
        handover = handover_to(asyncio.get_running_loop())

        def put(events: Sequence[JobEvent], now: float) -> None:
            self.pace.add(events, now)
            for event in events:
                self._events.put_nowait((index, event))

        return lambda events: handover.call(partial(put, events, time.monotonic()))

    def add(self, cancel: Callable[[], None], stop_texts: Sequence[str]) -> None:
        """Adds a reply, whose events go into `sink` with the number of replies before it. `cancel` ends it early."""
        self._replies.append(_Reply(cancel, StopTexts(stop_texts)))

    @property
    def has_all(self) -> bool:
        """Whether the ends of all replies were read."""
        return len(self.finished) == len(self._replies)

    @property
    def decode_tps(self) -> float:
        """Tokens per second: of one reply or vote as the engine measured it, of several replies together."""
        if len(self._replies) > 1:
            return self.pace.tps
        return self.finished[0].timings.decode_tps if self.finished else 0.0

    async def events(self) -> AsyncIterator[Happened]:
        """The events of all replies, until each has finished. Raises ApiError when one fails."""
        while any(reply.cancel for reply in self._replies):
            index, event = await self._events.get()
            for happened in self._seen(index, event):
                yield happened

    async def begin(self, within_s: float | None = None) -> None:
        """Waits until the first reply's turn has come, at most so many seconds. Raises ApiError if it fails before."""
        try:
            index, event = await asyncio.wait_for(self._events.get(), within_s)
        except TimeoutError:
            return
        self._note(event)
        if not isinstance(event, Begun):
            self._events.put_nowait((index, event))

    def close(self) -> None:
        """Cancels the replies that have not finished."""
        if self._is_closed:
            return
        self._is_closed = True
        for reply in self._replies:
            reply.stop()
            reply.cancel = None
        self.ended()

    def _seen(self, index: int, event: JobEvent) -> list[Happened]:
        """The event as the client is to see it: without what follows a stop text."""
        reply = self._replies[index]
        self._note(event)
        if isinstance(event, Begun | Failed):
            return []
        if isinstance(event, Scored) and not event.is_thinking:
            reply.scores.append(event)
            return []
        if isinstance(event, Answer):
            return [Happened(index, each) for each in _answered(reply, event)]
        if not isinstance(event, Finished):
            return [Happened(index, event)]
        reply.cancel = None
        stopped = reply.stop_texts.found
        if stopped is not None:
            event = replace(event, reason="stop")
        self.finished.append(event)
        if stopped is not None:
            return [Happened(index, event, stopped)]
        rest = reply.stop_texts.rest()
        held = [Answer(rest, event.usage.answer_tokens)] if rest else []
        return [Happened(index, each) for each in (*reply.scores, *held, event)]

    def _note(self, event: JobEvent) -> None:
        """Raises ApiError for a reply that failed."""
        if isinstance(event, Failed):
            refusal = api_error(event.error)
            self.error = refusal
            raise refusal from event.error
        if isinstance(event, Begun):
            self.load_s += event.load_s
            self.prompt_tokens = event.prompt_tokens
            if self.wait_s is None:
                self.wait_s = time.monotonic() - self.began
                self.begun()


def _answered(reply: _Reply, event: Answer) -> list[Event]:
    """What can be shown of the answer now. A reply that has met a stop text is cancelled; its Finished, with the usage,
    is still to come. The scores of what a stop text cut off are never shown.
    """
    text = reply.stop_texts.feed(event.text)
    scores: list[Event] = []
    if reply.stop_texts.found is not None:
        reply.stop()
    elif not reply.stop_texts.is_holding:
        scores, reply.scores = reply.scores, []
    return [*scores, *([Answer(text, event.tokens)] if text else [])]
