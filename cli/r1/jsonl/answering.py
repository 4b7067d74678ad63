"""Answers prompt lines, several at once, with one loaded model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from r1.engine.events import Event
from r1.engine.request import Request
from r1.evaluate.polling import Polling
from r1.evaluate.vote import VoteOptions
from r1.evaluate.voting import Voting
from r1.jsonl.asking import Asked, Asking
from r1.jsonl.line_reader import LineReader
from r1.jsonl.results import Result, Results
from r1.prompt_input import PromptLine
from r1.render.lines_progress import LinesProgress
from r1.render.plain import PlainView
from r1.render.reply_text import Reply, ReplyText
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, R1Error

if TYPE_CHECKING:
    from r1.forms.form import Form

_HELD_PER_SEQUENCE = 64
"""Results that may wait for an earlier line. A long reply holds up others that take 1/64 of its time or more."""


class Engine(Protocol):
    """What this needs of a `LoadedModel`."""

    @property
    def sequences(self) -> int: ...
    def request(
        self,
        prompt: str,
        *,
        settings: Settings | None,
        form: Form | None,
        answer_now: Callable[[], bool],
    ) -> Request: ...
    def has_room_for(self, request: Request) -> bool: ...
    def submit(self, request: Request) -> float: ...
    def step(self) -> list[tuple[Request, Event]]: ...


@dataclass(frozen=True, slots=True)
class Reporting:
    """How a reply becomes a result.

    `result` makes it from what was asked, the reply, its seed and the seconds it took to get ready. `view`, if the
    thinking is to be seen, shows a reply while it is generated; of several at once, the thinking is printed on stderr
    as a whole, before the result.
    """

    result: Callable[[Asked, Reply, int, float], Result]
    view: Callable[[Asked], PlainView] | None = None


@dataclass(slots=True)
class _Job:
    """A line, its place among the results, and what became of it so far."""

    line: PromptLine
    place: int
    asked: Asked
    request: Request
    load_s: float = 0.0
    text: ReplyText = field(default_factory=ReplyText)
    view: PlainView | None = None

    def add(self, event: Event) -> Reply | None:
        """Takes an event of the reply; returns the reply once it is finished."""
        if self.view is not None:
            self.view.show(event)
        return self.text.add(event)

    @property
    def tokens(self) -> int:
        """Tokens generated so far."""
        return self.text.generated_tokens


class Answering:
    """The loop. Lines are read no faster than they are answered: a line is taken when one can begin."""

    def __init__(
        self,
        engine: Engine,
        reader: LineReader,
        results: Results,
        progress: LinesProgress,
        asking: Asking,
        reporting: Reporting,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._results = results
        self._progress = progress
        self._asking = asking
        self._reporting = reporting
        self._jobs: dict[Request, _Job] = {}  # under way
        self._postponed: deque[_Job] = deque()  # until nothing is under way
        self._polling: Polling | None = None
        self._interrupted: Callable[[], bool] = lambda: False

    def run(self, interrupted: Callable[[], bool], *, waits: bool) -> None:
        """Answers lines until there are no more, or until `interrupted`: then it ends the replies under way.

        With `waits`, the next line is waited for even while others are being answered: for a file, where it never takes
        long. Raises the error that ended the reading, after the answers to what was read before, and what `Results.add`
        raises.
        """
        self._interrupted = interrupted
        try:
            while not interrupted():
                self._begin_some(waits=waits)
                if not self._jobs:
                    break
                self._advance()
            while self._jobs:
                self._advance()
        finally:
            self._close()
            self._results.print_held()
        if not interrupted():
            self._reader.raise_error()

    def _begin_some(self, *, waits: bool) -> None:
        """Begins lines while there is room. Returns without one only if some are under way, or at the end."""
        while self._has_room():
            if self._postponed:
                self._submit(self._postponed.popleft())
                continue
            line = self._next_line(waits=waits)
            if line is None:
                return
            self._begin(line)

    def _has_room(self) -> bool:
        if self._postponed:
            return not self._jobs
        sequences = self._engine.sequences
        return len(self._jobs) < sequences and self._results.held < _HELD_PER_SEQUENCE * sequences

    def _next_line(self, *, waits: bool) -> PromptLine | None:
        """The next line; None if there is none yet and others are under way, or at the end."""
        if self._jobs:
            return self._reader.take(wait=waits)
        if line := self._reader.take(wait=waits):
            return line
        self._progress.hide()  # nothing happens while it waits for stdin
        return self._reader.take(wait=True)

    def _begin(self, line: PromptLine) -> None:
        place = self._results.place()
        self._progress.begin(line.size)
        if line.prompt is None:
            self._end(place, line, Result({**line.labels, "error": line.error}, ExitStatus.USAGE))
            return
        try:
            asked = self._asking.of(line)
            job = _Job(line, place, asked, self._request(line, asked))
            if asked.votes is None and self._engine.has_room_for(job.request):
                self._submit(job)
            else:
                self._postponed.append(job)
        except R1Error as exc:  # an option is wrong, or the prompt does not fit the context
            self._end(place, line, _failure(line, exc))

    def _request(self, line: PromptLine, asked: Asked, answer_now: Callable[[], bool] | None = None) -> Request:
        """`answer_now` is that of a sample; None: that of the only reply to the line."""
        request = self._engine.request(
            line.prompt or "",
            settings=asked.settings,
            form=asked.form,
            answer_now=answer_now or asked.answer_now,
        )
        request.stop_after_thinking = asked.only_thinking
        return request

    def _submit(self, job: _Job) -> None:
        if job.asked.votes is not None:
            self._hold_vote(job, job.asked.votes)
            return
        try:
            job.load_s += self._engine.submit(job.request)
        except R1Error as exc:  # it does not fit the context, or the context does not fit in memory
            self._end(job.place, job.line, _failure(job.line, exc))
            return
        if self._reporting.view is not None and self._engine.sequences == 1:
            job.view = self._reporting.view(job.asked)
        else:
            self._progress.show()
        self._jobs[job.request] = job

    def _hold_vote(self, job: _Job, options: VoteOptions) -> None:
        """Answers one line by a vote, to its end; nothing else is under way."""

        asked = job.asked

        def request(seed: int, answer_now: Callable[[], bool]) -> Request:
            settings = replace(asked.settings, seed=seed)
            return self._request(job.line, replace(asked, settings=settings), answer_now)

        self._polling = self._polling or Polling(self._engine, self._interrupted)
        voting = self._polling.voting(options, asked.settings.seed, asked.form, request, asked.times_hurried)
        self._progress.show()
        try:
            self._run(voting)
        except R1Error as exc:
            self._end(job.place, job.line, _failure(job.line, exc))
            return
        voted = self._polling.voted(voting)
        made = self._reporting.result(asked, voted.reply, voted.seed, job.load_s + voted.load_s)
        status = ExitStatus.INCOMPLETE if voted.problem and made.status is ExitStatus.OK else made.status
        thinking = voted.reply.thinking if self._reporting.view is not None else ""
        self._end(job.place, job.line, Result({**job.line.labels, **made.fields, **voted.fields}, status, thinking))

    def _run(self, voting: Voting) -> None:
        """Holds a vote, and counts its tokens as they come."""
        counted = 0

        def counts() -> bool:
            nonlocal counted
            self._progress.add_tokens(voting.tokens - counted)
            counted = voting.tokens
            return self._interrupted()

        voting.run(counts)
        counts()

    def _advance(self) -> None:
        try:
            happened = self._engine.step()
        except R1Error as exc:  # those under way are lost
            for job in self._jobs.values():
                job.request.cancel()  # it may not have begun
                self._end(job.place, job.line, _failure(job.line, exc))
            self._close()
            return
        tokens = 0
        for request, event in happened:
            if current := self._jobs.get(request):
                tokens -= current.tokens
                reply = current.add(event)
                tokens += current.tokens
                if reply is not None:
                    self._finish(current, reply)
        self._progress.add_tokens(tokens)

    def _finish(self, job: _Job, reply: Reply) -> None:
        del self._jobs[job.request]
        made = self._reporting.result(job.asked, reply, job.request.sampling.seed, job.load_s)
        thinking = reply.thinking if self._reporting.view is not None and job.view is None else ""
        self._end(job.place, job.line, Result({**job.line.labels, **made.fields}, made.status, thinking))

    def _end(self, place: int, line: PromptLine, result: Result) -> None:
        self._progress.finish(line.size)
        self._results.add(place, result)

    def _close(self) -> None:
        """Ends what is shown of the replies under way, and forgets them."""
        if self._polling is not None:
            self._polling.close()
            self._polling = None
        for job in self._jobs.values():
            if job.view is not None:
                job.view.close()
        self._jobs.clear()
        self._progress.hide()


def _failure(line: PromptLine, exc: R1Error) -> Result:
    return Result({**line.labels, "error": f"line {line.number}: {exc}"}, exc.exit_status)
