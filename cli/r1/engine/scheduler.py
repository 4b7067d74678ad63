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
from typing import NamedTuple

from r1.engine.batch_plan import batch_parts, has_rows_left, on_its_way
from r1.engine.context import Context, Stopped
from r1.engine.decoding import Decoding, Pace, Planned
from r1.engine.draft import Drafter, Speculation
from r1.engine.draft_model import DraftModel
from r1.engine.events import Event, Finished, FinishReason, Timings, Usage
from r1.engine.generation import Generation
from r1.engine.kv_types import largest_batch
from r1.engine.look_up import LookUp
from r1.engine.request import Request
from r1.engine.sequence import Chunks, Segments
from r1.engine.slots import Slots

RequestEvent = tuple[Request, Event]

_RESERVE = 256
"""Cells for the further tokens of each reply, as far as it may have them, that must be free before a request begins."""


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

    def __init__(self, context: Context, pace: Pace | None = None, draft_model: DraftModel | None = None) -> None:
        """Without `pace`, the number of threads stays as it is. `draft_model` has as many sequences as the context."""
        self.context = context
        self._decoding = Decoding(context, pace)
        self._draft_model = draft_model
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
        self._waiting.append(_Waiting(request, Chunks.of(request.prompt, self.context.cut)))

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
        self._decoding.close()

    def step(self) -> list[RequestEvent]:
        """Advances all requests, and says what happened: the last event of each request is Finished.

        Requests begin in a step of their own, without a batch. Raises R1Error when llama.cpp fails; the running
        requests are lost then.
        """
        events = self._end_cancelled()
        if self._waiting and (begun := list(self._begin())):
            return [*events, *begun]
        if self.context.free_cells < largest_batch(self.context.rows, len(self.context.sequences)):
            events += self._make_room()
        if self._running:
            events += self._decode()
        return events

    def warm(self, segments: Segments) -> Iterator[int]:
        """Fills an idle sequence with the start of a later prompt; yields the tokens done. Raises Stopped.

        Ends early where the cache is full, and when a request needs the sequence.
        """
        chunks = Chunks.of(segments, self.context.cut)
        if not self._slots.idle:
            return
        sequence = self._slots.claim(self._slots.longest(chunks, len(chunks.tokens)))
        claimed = self._slots.used_at(sequence)
        self._decoding.follow_pace(self._running)
        for done in self.context.warm(sequence, segments):
            yield done
            if self._slots.used_at(sequence) != claimed:
                return
            self._decoding.follow_pace(self._running)

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
        while self._waiting and self._slots.idle and has_rows_left(self._running, self.waiting, self.context):
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
        generation = Generation(request, self.context, sequence, chunks, self._speculation(request))
        self._slots.occupy(sequence)
        self._running.append(generation)
        yield request, generation.prefilled
        if prefix.has_logits and sequence.last_logits:
            for event in self._decoding.choose_from(generation, sequence.last_logits[1]):
                yield request, event
            self._leave_ended()

    def _speculation(self, request: Request) -> Speculation | None:
        drafters: list[Drafter] = []
        model = self._draft_model if request.speculate in {"auto", "draft"} else None
        if request.speculate in {"auto", "lookup"} or (request.speculate == "draft" and model is None):
            drafters.append(LookUp())
        if model is not None:
            drafters.append(model.drafter(is_repeatable=request.keeps_threads))
        return Speculation(drafters) if drafters else None

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

    def _parts(self) -> list[Planned]:
        return batch_parts(self._running, self.waiting, self.context)

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
            events = self._decoding.decode(self._parts())
        except Stopped:
            return self._end_cancelled()
        except BaseException:  # what was decoded and not sampled from would be decoded again
            for generation in generations:
                self.discard(generation.request)
            raise
        self._leave_ended()
        return [(generation.request, event) for generation, event in events]

    def _leave_ended(self) -> None:
        for generation in [each for each in self._running if each.has_ended]:
            self._leave(generation)


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
