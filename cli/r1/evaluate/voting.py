"""Holds a vote: draws samples of one question, as many at a time as there are sequences, until it is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from r1.engine.events import Event
from r1.engine.request import Request
from r1.evaluate.vote import Vote
from r1.render.reply_text import Reply, ReplyText


class Engine(Protocol):
    """What votes and evaluations need of a `LoadedModel`."""

    @property
    def sequences(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    def has_room_for(self, request: Request) -> bool: ...
    def submit(self, request: Request) -> float: ...
    def step(self) -> list[tuple[Request, Event]]: ...


@dataclass(slots=True)
class _Running:
    """A sample that is being generated. `again`: for the second time, and alone."""

    number: int
    again: bool = False
    text: ReplyText = field(default_factory=ReplyText)


class Voting:
    """The loop over an engine that has nothing else to do. All samples share the cells of the prompt."""

    def __init__(self, engine: Engine, vote: Vote, request: Callable[[int], Request]) -> None:
        """`request` makes the request of a sample with a seed."""
        self.vote = vote
        self.tokens = 0  # generated so far
        self.load_s = 0.0
        self._began = perf_counter()
        self._ended: float | None = None
        self._engine = engine
        self._request = request
        self._running: dict[Request, _Running] = {}
        self._crowded_out: deque[tuple[int, int]] = deque()  # number and seed

    @property
    def seconds(self) -> float:
        """Since it began, or that it took."""
        return (self._ended or perf_counter()) - self._began

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

    def _begin_some(self) -> None:
        while self.vote.has_more and len(self._running) < self._engine.sequences:
            self._begin(*self.vote.begin())
        if self._crowded_out and not self._running:
            self._begin(*self._crowded_out.popleft(), again=True)

    def _begin(self, number: int, seed: int, *, again: bool = False) -> None:
        request = self._request(seed)
        self.load_s += self._engine.submit(request)
        self._running[request] = _Running(number, again)

    def _advance(self) -> None:
        for request, event in self._engine.step():
            running = self._running.get(request)
            if running is None:
                continue
            before = running.text.generated_tokens
            reply = running.text.add(event)
            self.tokens += running.text.generated_tokens - before
            if reply is not None:
                del self._running[request]
                self._end(request, running, reply)

    def _end(self, request: Request, running: _Running, reply: Reply) -> None:
        """One that the others left no room for is drawn again when nothing else runs."""
        may_go_on = reply.is_crowded_out(self._engine.context_length)
        if may_go_on and not running.again and not self.vote.is_over:
            self._crowded_out.append((running.number, request.sampling.seed))
        else:
            self.vote.add(running.number, reply)
