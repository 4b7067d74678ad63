"""Holds a vote: draws samples of one question, as many at a time as there are sequences, until it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from r1.engine.events import Drafted, Event, Prefill, Timings
from r1.engine.request import Request
from r1.evaluate.vote import Vote
from r1.render.reply_text import Reply, ReplyText


class Engine(Protocol):
    """What votes and evaluations need of a `LoadedModel`."""

    @property
    def sequences(self) -> int: ...
    def has_room_for(self, request: Request) -> bool: ...
    def submit(self, request: Request) -> float: ...
    def step(self) -> list[tuple[Request, Event]]: ...


MakeRequest = Callable[[int, Callable[[], bool]], Request]
"""Makes the request of a sample, of its seed and a function that says whether it is to answer now."""


@dataclass(slots=True)
class _Running:
    """A sample that is being generated."""

    number: int
    text: ReplyText = field(default_factory=ReplyText)


class Voting:
    """The loop over an engine that has nothing else to do. All samples share the cells of the prompt."""

    def __init__(
        self, engine: Engine, vote: Vote, request: MakeRequest, times_hurried: Callable[[], int] = lambda: 0
    ) -> None:
        """`times_hurried` counts how often the user wanted the answer now since the question was asked: each time, that
        is for the samples under way; later ones think as usual.
        """
        self.vote = vote
        self.tokens = 0  # generated so far
        self.load_s = 0.0
        self.prefill: Prefill | None = None  # how much of the prompt is read; None before that begins
        self._began = perf_counter()
        self._submitting_s = 0.0  # with a new context, but without what was loaded before the vote began
        self._generating_since: float | None = None
        self._ended: float | None = None
        self._engine = engine
        self._request = request
        self._times_hurried = times_hurried
        self._hurried_before = 0  # what the next samples begin with
        self._running: dict[Request, _Running] = {}
        self._first: Timings | None = None  # of the sample that read the prompt for all
        self._drafted: list[Drafted | None] = []  # of each sample that has ended

    @property
    def seconds(self) -> float:
        """Since it began, or that it took."""
        return (self._ended or perf_counter()) - self._began

    @property
    def rate(self) -> float:
        """Tokens per second of all samples together, since the first of them."""
        since = self._generating_since
        spent = 0.0 if since is None else (self._ended or perf_counter()) - since
        return self.tokens / spent if spent else 0.0

    @property
    def timings(self) -> Timings:
        """Of the whole vote, once it has been run."""
        first = self._first or Timings(0.0, 0.0, 0.0, 0.0)
        return replace(first, decode_tps=self.rate, total_s=self.seconds - self._submitting_s)

    @property
    def drafted(self) -> Drafted | None:
        """In all samples."""
        return Drafted.total(self._drafted)

    @property
    def is_reading(self) -> bool:
        """Whether the prompt is still being read, so that no sample has begun to write."""
        return self._generating_since is None and (self.prefill is None or self.prefill.done < self.prefill.total)

    @property
    def running(self) -> int:
        return len(self._running)

    def run(self, interrupted: Callable[[], bool]) -> None:
        """Returns when the vote is over, or `interrupted`, and its last sample has ended; there is one at least.

        Raises R1Error when llama.cpp fails.
        """
        self._began = perf_counter()
        try:
            self._draw(interrupted)
        finally:
            for request in self._running:
                request.cancel()
        while self._running:
            self._advance()
        self._ended = perf_counter()

    def _draw(self, interrupted: Callable[[], bool]) -> None:
        while not self.vote.is_over:
            self._begin_some()
            if not self._running:
                return
            self._advance()
            if interrupted():
                return
            self._hurried_before = self._times_hurried()

    def _begin_some(self) -> None:
        while self.vote.has_more and len(self._running) < self._engine.sequences:
            self._begin(*self.vote.begin())

    def _begin(self, number: int, seed: int) -> None:
        before = self._hurried_before
        request = self._request(seed, lambda: self._times_hurried() > before)
        began = perf_counter()
        self.load_s += self._engine.submit(request)
        self._submitting_s += perf_counter() - began
        self._running[request] = _Running(number)

    def _advance(self) -> None:
        for request, event in self._engine.step():
            running = self._running.get(request)
            if running is None:
                continue
            reply = self._take(running, event)
            if reply is not None:
                del self._running[request]
                self._end(running, reply)

    def _take(self, running: _Running, event: Event) -> Reply | None:
        """Counts what an event of a sample tells; returns the reply once it has ended."""
        if isinstance(event, Prefill) and self._generating_since is None:
            self.prefill = event
        before = running.text.generated_tokens
        reply = running.text.add(event)
        self.tokens += running.text.generated_tokens - before
        if self.tokens and self._generating_since is None:
            self._generating_since = perf_counter()
        return reply

    def _end(self, running: _Running, reply: Reply) -> None:
        if running.number == 0:
            self._first = reply.finished.timings
        self._drafted.append(reply.finished.drafted)
        self.vote.add(running.number, reply)
