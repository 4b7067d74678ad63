"""Draws the samples of an evaluation, as many at a time as there are sequences, and judges each as it ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from r1.engine.context import PromptTooLong
from r1.engine.events import Drafted
from r1.engine.request import Request
from r1.evaluate.judging import NOT_COMPARED, Judge, Judgement
from r1.evaluate.problems import BadLine, Problem
from r1.evaluate.sample_log import Key, SampleLog, SampleRecord
from r1.evaluate.tally import seed_of
from r1.evaluate.voting import Engine
from r1.render.reply_text import Reply, ReplyText
from r1_quantize.errors import NotEnoughSpace


class Listener(Protocol):
    """Is told what happens: each sample begins once, and ends once unless a signal ends it; or it is left out."""

    def began(self, sample: SampleToDraw) -> None: ...
    def ended(self, record: SampleRecord) -> None: ...
    def left_out(self, sample: SampleToDraw) -> None: ...
    def generated(self, tokens: int) -> None: ...


@dataclass(frozen=True, slots=True)
class SampleToDraw:
    """A sample of a problem, by its number from 0, and its seed."""

    problem: Problem
    number: int
    seed: int


def samples_to_draw(problems: Sequence[Problem], k: int, seed: int, done: Iterable[Key]) -> Iterator[SampleToDraw]:
    """All samples that are not `done`, those of one problem after the other: they share the cells of its prompt.

    The seed of a sample depends only on `seed`, the problem's line and the sample's number.
    """
    known = set(done)
    for problem in problems:
        for number in range(k):
            if (problem.line, number) not in known:
                yield SampleToDraw(problem, number, seed_of(seed_of(seed, problem.line), number))


@dataclass(slots=True)
class _Running:
    """A sample that is being generated, or waits for a larger context."""

    sample: SampleToDraw
    text: ReplyText = field(default_factory=ReplyText)


class Evaluation:
    """The loop over an engine that has nothing else to do."""

    def __init__(
        self,
        engine: Engine,
        request: Callable[[SampleToDraw], Request],
        judge: Judge,
        log: SampleLog,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`request` makes the request for a sample; it may raise PromptTooLong and NotEnoughSpace."""
        self.records: list[SampleRecord] = []  # of the samples that have ended
        self.too_long: dict[int, BadLine] = {}  # by line, the problems that cannot be asked in this context
        self._engine = engine
        self._request = request
        self._judge = judge
        self._log = log
        self._listener = listener
        self._clock = clock
        self._last_end = clock()
        self._running: dict[Request, _Running] = {}
        self._postponed: deque[_Running] = deque()  # until nothing else runs

    def run(self, samples: Iterator[SampleToDraw], interrupted: Callable[[], bool]) -> None:
        """Draws the samples, or some of them if `interrupted`: those under way are then dropped.

        Those of a question that is too long for the context are left out.

        Raises what the log's `add` raises, and R1Error when llama.cpp fails; what has ended is in the log by then.
        """
        self._last_end = self._clock()
        while not interrupted():
            self._begin_some(samples)
            if not self._running:
                return
            self._advance()
        for request in self._running:
            request.cancel()
        while self._running:
            self._advance()

    def _begin_some(self, samples: Iterator[SampleToDraw]) -> None:
        while len(self._running) < self._engine.sequences:
            if self._postponed:
                if self._running:
                    return
                self._begin(self._postponed.popleft())
            elif (sample := next(samples, None)) is None:
                return
            elif sample.problem.line in self.too_long:
                self._listener.left_out(sample)
            else:
                self._begin(_Running(sample))

    def _begin(self, running: _Running) -> None:
        try:
            request = self._request(running.sample)
            if self._running and not self._engine.has_room_for(request):
                self._postponed.append(running)
                return
            self._engine.submit(request)
        except (PromptTooLong, NotEnoughSpace) as exc:  # the latter: a context for it does not fit in memory
            line = running.sample.problem.line
            self.too_long[line] = BadLine(line, f"line {line}: {exc}")
            self._listener.left_out(running.sample)
            return
        self._running[request] = running
        self._listener.began(running.sample)

    def _advance(self) -> None:
        tokens = 0
        for request, event in self._engine.step():
            running = self._running.get(request)
            if running is None:
                continue
            before = running.text.generated_tokens
            reply = running.text.add(event)
            tokens += running.text.generated_tokens - before
            if reply is not None:
                del self._running[request]
                self._finish(running, reply)
        self._listener.generated(tokens)

    def _finish(self, running: _Running, reply: Reply) -> None:
        if reply.finished.reason != "interrupted":
            self._end(self._record(running.sample, reply), reply.answer, reply.thinking)

    def _record(self, sample: SampleToDraw, reply: Reply) -> SampleRecord:
        """An answer that was cut off says nothing."""
        finished = reply.finished
        drafted = finished.drafted or Drafted()
        found = Judgement(None, False, NOT_COMPARED)
        if finished.reason == "stop":
            found = self._judge.judge(sample.problem, reply.answer)
        return SampleRecord(
            line=sample.problem.line,
            id=sample.problem.id,
            sample=sample.number,
            seed=sample.seed,
            final=found.final,
            correct=found.correct,
            how=found.how,
            finish_reason=finished.reason,
            thinking_end=finished.thinking_end,
            thinking_tokens=finished.usage.thinking_tokens,
            answer_tokens=finished.usage.answer_tokens,
            discarded_tokens=finished.usage.discarded_tokens,
            passes=drafted.passes,
            drafted_tokens=drafted.proposed,
            accepted_tokens=drafted.accepted,
        )

    def _end(self, record: SampleRecord, answer: str, thinking: str) -> None:
        now = self._clock()
        timed = replace(record, wall_s=round(now - self._last_end, 4))
        self._last_end = now
        self._log.add(timed, answer, thinking)
        self.records.append(timed)
        self._listener.ended(timed)
