"""The one thread that talks to llama.cpp: it loads, answers, and warms the KV cache while nobody asks.

R1 drops old thinking, so what the cache holds after an answer is not what the next prompt begins with. While the person
reads and types, the difference is decoded; what that has done by the time of the next prompt, the prompt need not do.

Knows: sessions, jobs, whose turn it is. Does not know: history, terminals, what is done with the events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from r1.engine.events import Event
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled
from r1.engine.prompt import Turn
from r1.loaded_model import Listener, LoadedModel
from r1.settings import Settings
from r1_quantize.errors import R1Error


@dataclass(frozen=True, slots=True)
class Loading:
    """So much of the model is loaded, 0 to 1."""

    share: float


@dataclass(frozen=True, slots=True)
class Noted:
    """What of the plan for this machine the person should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and has a context of so many tokens; it was trained for at most `trained`.

    `plan` says what it takes of this machine.
    """

    reference: str
    ctx: int
    trained: int
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A turn begins; getting ready for it took so long."""

    load_s: float


@dataclass(frozen=True, slots=True)
class Warmed:
    """The cache holds `done` tokens of those the next prompt begins with; a turn of the conversation has `lengths`."""

    done: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A job came to nothing. `asking`: it was a question, and not the loading of a model."""

    error: Exception
    asking: bool


WorkerEvent = Loading | Noted | Ready | Loaded | Warmed | Failed | Event


@dataclass(slots=True)
class _Job:
    cancelled: bool = field(default=False, init=False)


@dataclass(slots=True)
class _Open(_Job):
    find: Callable[[], tuple[str, Path]]
    settings: Settings


@dataclass(slots=True)
class _Ask(_Job):
    prompt: str
    turns: Sequence[Turn]
    settings: Settings
    answers_now: bool = field(default=False, init=False)


@dataclass(slots=True)
class _Warm(_Job):
    turns: Sequence[Turn]
    settings: Settings


class Worker:
    """Jobs go in from one thread, events come out on the worker's own."""

    def __init__(self, emit: Callable[[WorkerEvent], None], hints: Callable[[], Iterable[str]] = tuple) -> None:
        """`hints` are what else the person is told of this machine, once a model is loaded."""
        self._emit = emit
        self._hints = hints
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stop = Stop()
        self._job: _Job | None = None  # the latest that was put in, but for warming
        self._running: _Job | None = None
        self._opening: _Open | None = None  # the latest; what an earlier one comes to is of no interest
        self._session: LoadedModel | None = None
        self._why: R1Error | None = None  # there is none
        self._reference = ""
        self._comfortable = 0  # tokens of context; asked once, for every change of it empties the cache
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="r1-worker", daemon=True)
        self._thread.start()

    def open(self, find: Callable[[], tuple[str, Path]], settings: Settings) -> None:
        """Loads the model that `find` names, in place of the one before: Loading*, then Ready or Failed."""
        self._stop_warming()
        self._opening = _Open(find, settings)
        self._put(self._opening)

    def ask(self, prompt: str, turns: Sequence[Turn], settings: Settings) -> None:
        """Answers: Loaded, the events of a turn, or Failed."""
        self._put(_Ask(prompt, tuple(turns), settings))

    def warm(self, turns: Sequence[Turn], settings: Settings) -> None:
        """Until something else is asked for, brings the cache to where a prompt after `turns` begins: Warmed*."""
        self._jobs.put(_Warm(tuple(turns), settings))

    def rewarm(self, turns: Sequence[Turn], settings: Settings) -> None:
        """The same for a conversation that does not go on from the last one, whose warming ends in mid-batch."""
        self._stop_warming()
        self.warm(turns, settings)

    def stop(self) -> None:
        """Ends the latest job as soon as it can, or as soon as it begins; what there is of it stands."""
        if self._job is not None:
            self._job.cancelled = True
            if self._running is self._job:
                self._stop.set()

    def answer_now(self) -> None:
        """Closes the thinking, now or when it begins."""
        if isinstance(self._job, _Ask):
            self._job.answers_now = True

    def close(self, patience: float = 5.0) -> None:
        """Ends the thread, and frees the model."""
        self._jobs.put(None)
        self._closing = True
        self._stop.set()
        self._thread.join(patience)

    def _stop_warming(self) -> None:
        """In mid-batch: what it is for is of no use any more."""
        if isinstance(self._running, _Warm):
            self._stop.set()

    def _put(self, job: _Job) -> None:
        self._job = job
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._running = job
            self._stop.clear()
            if job.cancelled or self._closing:  # asked after the flag was cleared, or before
                self._stop.set()
            try:
                if not self._closing:
                    self._do(job)
            except LoadCancelled:  # nobody waits for it any more
                pass
            except Exception as exc:  # whatever it is, the chat must go on and say so
                self._why = exc if isinstance(job, _Open) and isinstance(exc, R1Error) else self._why
                self._emit(Failed(exc, isinstance(job, _Ask)))
            self._running = None
        if self._session is not None:
            self._session.close()

    def _do(self, job: _Job) -> None:
        if isinstance(job, _Open):
            self._open(job)
        elif isinstance(job, _Ask):
            self._ask(job)
        elif isinstance(job, _Warm):
            self._warm(job)

    def _open(self, job: _Open) -> None:
        if job is not self._opening:
            return
        reference, path = self._found(job)
        if self._session is not None:
            self._session.close()
            self._session = None
        self._reference = reference
        self._session = LoadedModel(
            path,
            job.settings,
            self._stop,
            Listener(lambda share: self._emit(Loading(share)), lambda note: self._emit(Noted(note.text))),
            name=reference,
        )
        self._session.note(self._session.plan)
        self._comfortable = self._session.plan.context
        self._set(self._session, job.settings)
        for hint in self._hints():
            self._emit(Noted(hint))

    def _found(self, job: _Open) -> tuple[str, Path]:
        """When there is no such model, the one that is loaded stays."""
        try:
            return job.find()
        except R1Error:
            if self._session is not None:
                self._emit(self._ready(self._session))
            raise

    def _ask(self, job: _Ask) -> None:
        session = self._loaded()
        self._set(session, job.settings)
        turn = session.ask(job.prompt, job.turns, answer_now=lambda: job.answers_now)
        self._emit(Loaded(turn.load_s))
        for event in turn.events:
            self._emit(event)

    def _warm(self, job: _Warm) -> None:
        if self._session is None or not self._jobs.empty():
            return
        self._set(self._session, job.settings)
        lengths = tuple(self._session.lengths(job.turns))
        self._emit(Warmed(0, lengths))
        for done in self._session.warm(job.turns):
            self._emit(Warmed(done, lengths))
            # a chunk that is under way is the beginning of the next prompt, so it is done to its end
            if self._stop() or not self._jobs.empty():
                return

    def _loaded(self) -> LoadedModel:
        if self._session is None:
            raise self._why or R1Error("no model is loaded; /model NAME loads one")
        return self._session

    def _set(self, session: LoadedModel, settings: Settings) -> None:
        """The settings in force, and a cache of the length they ask for; says so when that changed."""
        before = session.context_length
        session.settings = replace(settings, ctx=settings.ctx or self._comfortable)
        session.prepare()
        if session.context_length != before:
            self._emit(self._ready(session))

    def _ready(self, session: LoadedModel) -> Ready:
        trained = session.model.context_length
        return Ready(self._reference, session.context_length, trained, session.explain())
