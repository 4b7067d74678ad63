"""The engine's loop: advances all requests by one batch at a time.

Each step decodes a token of every sequence that is generating, and fills the batch with tokens of prompts, the oldest
first, so that neither waits for the other. A request that runs alone prefills chunk by chunk, as `sequence` says;
together with others, a chunk may be cut anywhere, and the tokens of several prompts share a batch.

A request begins when a sequence is idle and the batch has rows left; until then it waits, and the first to come is the
first to be served. It takes over the longest prefix that any sequence holds, and shares its cells; while another prompt
is prefilled that begins the same way, it waits for that. A sequence keeps its tokens after a reply, until another
request needs it or its cells. When the cells run out, the youngest reply is paused: it waits until another one has
ended, and what it had is prefilled again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple, Protocol

from r1.engine.batch_plan import batch_parts, has_rows_left, on_its_way
from r1.engine.candidates import kept, logits_at
from r1.engine.context import Context, Part, Stopped
from r1.engine.events import Event, Finished, FinishReason, Timings, Usage
from r1.engine.generation import Generation
from r1.engine.kv_types import largest_batch
from r1.engine.request import Request
from r1.engine.sampling_pool import Draw, SamplingPool
from r1.engine.sequence import Chunks, Segments
from r1.engine.slots import Slots
from r1.machine.cores import Threads

RequestEvent = tuple[Request, Event]

_RESERVE = 256
"""Cells for the further tokens of each reply, as far as it may have them, that must be free before a request begins."""


class Pace(Protocol):
    """Chooses the numbers of threads."""

    def threads(self) -> Threads:
        """For the next batch."""

    def measured(self, seconds: float, tokens: int, threads: int) -> None:
        """The time that the last batch took, with as many threads."""


class Occupancy(NamedTuple):
    """What of a context is in use: cells that a new request could have, of all; sequences with a request, of all."""

    free_cells: int
    cells: int
    busy_sequences: int
    sequences: int


class _Waiting(NamedTuple):
    """A request that has not begun; or with a `paused` reply, which goes on when fewer than `beside` others run."""

    request: Request
    chunks: Chunks
    paused: Generation | None = None
    beside: int = 0


class Scheduler:
    """Requests and the sequences of one context. Not thread-safe, except for `submit` and `Request.cancel`."""

    def __init__(self, context: Context, pace: Pace | None = None) -> None:
        """Without `pace`, the number of threads stays as it is."""
        self.context = context
        self._pace = pace
        self._pool = SamplingPool(context)
        self._waiting: deque[_Waiting] = deque()
        self._running: list[Generation] = []  # the oldest first
        self._slots = Slots(context.sequences)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._waiting

    @property
    def free_cells(self) -> int:
        """Cells that a new request could have: free ones, and those that only idle sequences hold."""
        in_use = set().union(*(generation.sequence.cells for generation in self._running))
        idle = set().union(*(sequence.cells for sequence in self._slots.idle))
        return self.context.free_cells + len(idle - in_use)

    @property
    def occupancy(self) -> Occupancy:
        sequences = len(self.context.sequences)
        return Occupancy(self.free_cells, self.context.cells, sequences - len(self._slots.idle), sequences)

    def submit(self, request: Request) -> None:
        """Adds a request to those that wait; each only once. Raises PromptTooLong."""
        self.context.require_room_for(request.prompt_tokens)
        self._waiting.append(_Waiting(request, Chunks.of(request.prompt, self.context.chunk)))

    def discard(self, request: Request) -> None:
        """Drops a request that waits or runs, without events."""
        for waiting in [each for each in list(self._waiting) if each.request is request]:
            self._waiting.remove(waiting)
            if waiting.paused:
                waiting.paused.close()
        for generation in [each for each in self._running if each.request is request]:
            generation.close()
            self._leave(generation)

    def close(self) -> None:
        """Drops all requests without events, and frees what belongs to them. The context stays open."""
        waiting, running = [each.request for each in self._waiting], [each.request for each in self._running]
        for request in [*waiting, *running]:
            self.discard(request)
        self._pool.close()

    def step(self) -> list[RequestEvent]:
        """Advances all requests, and says what happened: the last event of each request is Finished.

        Requests begin in a step of their own, without a batch. Raises R1Error when llama.cpp fails; the running
        requests are lost then.
        """
        events = self._end_cancelled()
        if self._waiting and (begun := list(self._begin())):
            return [*events, *begun]
        if self.context.free_cells < largest_batch(self.context.chunk, len(self.context.sequences)):
            events += self._make_room()
        if self._running:
            events += self._decode()
        return events

    def warm(self, segments: Segments) -> Iterator[int]:
        """Fills an idle sequence with the start of a later prompt; yields the tokens done. Raises Stopped.

        Ends early where the cache is full, and when a request needs the sequence.
        """
        chunks = Chunks.of(segments, self.context.chunk)
        if not self._slots.idle:
            return
        sequence = self._slots.claim(self._slots.longest(chunks, len(chunks.tokens)))
        claimed = self._slots.used_at(sequence)
        self._follow_pace()
        for done in self.context.warm(sequence, segments):
            yield done
            if self._slots.used_at(sequence) != claimed:
                return
            self._follow_pace()

    # ends

    def _end_cancelled(self) -> list[RequestEvent]:
        is_stopped = self.context.stop()
        events: list[RequestEvent] = []
        for generation in [each for each in self._running if is_stopped or each.request.is_cancelled]:
            events += self._end(generation, "interrupted")
        for waiting in [each for each in self._waiting if is_stopped or each.request.is_cancelled]:
            self._waiting.remove(waiting)
            ended = waiting.paused.end("interrupted") if waiting.paused else [_unanswered(waiting.request)]
            events += [(waiting.request, event) for event in ended]
        return events

    def _end(self, generation: Generation, reason: FinishReason) -> list[RequestEvent]:
        events = generation.end(reason)
        self._leave(generation)
        return [(generation.request, event) for event in events]

    def _leave(self, generation: Generation) -> None:
        self._running.remove(generation)
        self._slots.release(generation.sequence)

    # beginnings

    def _begin(self) -> Iterator[RequestEvent]:
        """Lets requests begin that wait, as long as the next batch has rows left for what they have to prefill."""
        while self._waiting and self._slots.idle and has_rows_left(self._running, self.waiting, self.context.chunk):
            waiting = self._waiting[0]
            shared = on_its_way(self._running, waiting.chunks)
            if not self._has_room_for(*waiting) or (shared and shared > self._slots.best(waiting.chunks).length):
                return
            self._waiting.popleft()
            if waiting.paused:
                self._resume(waiting.paused, waiting.chunks)
            else:
                yield from self._start(waiting.request, waiting.chunks)

    def _start(self, request: Request, chunks: Chunks) -> Iterator[RequestEvent]:
        prefix = self._slots.best(chunks)
        sequence = self._slots.claim(prefix)
        generation = Generation(request, self.context, sequence, chunks)
        self._slots.occupy(sequence)
        self._running.append(generation)
        yield request, generation.prefilled
        if prefix.has_logits and sequence.last_logits:
            token = self._pool.sample_from(generation.draw(-1), sequence.last_logits[1])
            yield from self._take(generation, token)

    def _resume(self, generation: Generation, chunks: Chunks) -> None:
        sequence = self._slots.claim(self._slots.longest(chunks, len(chunks.tokens)))
        generation.resume(sequence)
        self._slots.occupy(sequence)
        self._running.append(generation)

    def _has_room_for(self, request: Request, chunks: Chunks, paused: Generation | None, beside: int) -> bool:
        """Whether it can begin, or go on, without pausing another reply soon; alone, it always can."""
        if not self._running:
            return True
        if paused and len(self._running) >= beside:
            return False
        held = max(chunks.common(generation.sequence, len(chunks.tokens)) for generation in self._running)
        reserve = min(_RESERVE, request.sampling.max_tokens)
        reserve += sum(each.to_prefill + min(_RESERVE, each.tokens_left) for each in self._running)
        needed = len(chunks.tokens) - held + reserve
        return self.context.free_cells >= needed or self.free_cells >= needed

    # steps

    def _parts(self) -> list[tuple[Generation, Part]]:
        return batch_parts(self._running, self.waiting, self.context.chunk)

    def _make_room(self) -> list[RequestEvent]:
        """Frees cells for the next batch: of idle sequences, the least recently used first; then of the youngest reply.

        If there are others, it waits until one of them has ended; alone, it ends, because the context is full.
        """
        events: list[RequestEvent] = []
        while sum(len(part.tokens) for _, part in self._parts()) > self.context.free_cells:
            youngest = self._running[-1]
            if self._slots.drop_oldest():
                continue
            if len(self._running) > 1:
                self._put_back(youngest)
            else:
                events += self._end(youngest, "context")
        return events

    def _put_back(self, generation: Generation) -> None:
        """Puts it at the front of the line. A prompt that is being prefilled starts over; a reply is paused."""
        request, beside = generation.request, len(self._running) - 1
        if generation.token is None:
            waiting = _Waiting(request, generation.chunks)
            generation.close()
        else:
            waiting = _Waiting(request, generation.pause(), generation, beside)
        self._leave(generation)
        self._waiting.appendleft(waiting)

    def _decode(self) -> list[RequestEvent]:
        """Decodes one batch, and chooses the tokens that follow."""
        generations = list(self._running)
        try:
            return self._advance()
        except Stopped:
            return self._end_cancelled()
        except BaseException:  # what was decoded and not sampled from would be decoded again
            for generation in generations:
                self.discard(generation.request)
            raise

    def _advance(self) -> list[RequestEvent]:
        parts = self._parts()
        places = self._timed([part for _, part in parts])
        events: list[RequestEvent] = []
        due: list[Generation] = []
        draws: list[Draw] = []
        for (generation, part), place in zip(parts, places, strict=True):
            is_prompt = generation.token is None
            if is_prompt:
                events.append((generation.request, generation.prefilled))
            if part.has_logits:
                if is_prompt and len(self.context.sequences) > 1:
                    generation.sequence.last_logits = len(generation.sequence), kept(logits_at(self.context, place))
                due.append(generation)
                draws.append(generation.draw(place))
        for generation, token in zip(due, self._pool.sample(draws), strict=True):
            events += self._take(generation, token)
        return events

    def _timed(self, parts: list[Part]) -> list[int]:
        """Decodes a batch, with as many threads as the pace says."""
        tokens = sum(len(part.tokens) for part in parts)
        threads = self._set_threads(tokens)
        if self._pace is None:
            return self.context.decode(parts)
        began = perf_counter()
        places = self.context.decode(parts)
        self._pace.measured(perf_counter() - began, tokens, threads)
        return places

    def _take(self, generation: Generation, token: int | None) -> list[RequestEvent]:
        events = generation.take(token)
        if generation.has_ended:
            self._leave(generation)
        return [(generation.request, event) for event in events]

    def _set_threads(self, tokens: int) -> int:
        """The number of threads for a batch of so many tokens."""
        self._follow_pace()
        number = self.context.threads.decode if tokens == 1 else self.context.threads.prefill
        for generation in self._running:
            if not generation.to_prefill:
                generation.note_threads(number)
        return number

    def _follow_pace(self) -> None:
        if self._pace is not None:
            threads = self._pace.threads()
            held = (g.decoded_with for g in self._running if g.request.keeps_threads and g.decoded_with)
            self.context.set_threads(Threads(decode=next(held, threads.decode), prefill=threads.prefill))


def generate(scheduler: Scheduler, request: Request) -> Iterator[Event]:
    """Answers one request, alone; the last event is Finished. Ends the request when it is no longer read.

    Raises PromptTooLong, and R1Error when llama.cpp fails.
    """
    assert scheduler.is_idle, "the events of other requests would be lost"
    scheduler.submit(request)
    try:
        while not scheduler.is_idle:
            for happened_to, event in scheduler.step():
                if happened_to is request:
                    yield event
                    if isinstance(event, Finished):
                        return
    finally:
        scheduler.discard(request)


def _unanswered(request: Request) -> Finished:
    """The end of a request that never began."""
    usage = Usage(prompt_tokens=request.prompt_tokens, thinking_tokens=0, answer_tokens=0)
    return Finished("interrupted", usage, Timings(0.0, 0.0, 0.0, 0.0))
