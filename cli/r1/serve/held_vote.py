"""A vote for one client, beside the replies to others: it runs in a thread of its own, and its samples wait in line."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from r1.engine.events import Event
from r1.engine.request import Request
from r1.evaluate.polling import Polling
from r1.loaded_model import LoadedModel
from r1.render.reply_text import events_of
from r1.serve.engine_thread import Begun, EngineThread, Failed, Job, JobEvent
from r1.serve.question import Question, request_for
from r1.settings import Settings


class HeldVote:
    """One vote. Its sink gets Begun, and when it is over the events of the reply that won, or Failed."""

    def __init__(
        self,
        engine: EngineThread,
        model: str,
        question: Question,
        settings: Settings,
        sink: Callable[[Sequence[JobEvent]], None],
        fields: MutableMapping[str, Any],
    ) -> None:
        """`fields` gets what the vote came to, before the last events."""
        self._engine = engine
        self._model = model
        self._question = question
        self._settings = settings
        self._sink = sink
        self._fields = fields
        self._shared: _SharedEngine | None = None
        self._is_cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="r1-vote", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """Ends the vote and its samples."""
        self._is_cancelled.set()
        if self._shared is not None:
            self._shared.cancel()

    def _run(self) -> None:
        try:
            with self._engine.lease(self._model) as loaded:
                if not self._is_cancelled.is_set():
                    self._hold(loaded)
        except Exception as exc:  # whatever it is, the client must hear of it
            self._sink([Failed(exc)])

    def _hold(self, loaded: LoadedModel) -> None:
        self._sink([Begun(0.0)])
        question, is_cancelled = self._question, self._is_cancelled.is_set
        assert question.votes is not None, "a vote was asked for"
        self._shared = shared = _SharedEngine(self._engine, self._model, loaded)

        def request(seed: int, answer_now: Callable[[], bool]) -> Request:
            made = request_for(question, replace(self._settings, seed=seed), loaded)
            made.answer_now = answer_now
            return made

        with Polling(shared, is_cancelled) as polling:
            voting = polling.voting(question.votes, self._settings.seed, question.form, request)
            voting.run(is_cancelled)
            voted = polling.voted(voting)
        self._fields.update(voted.fields)
        self._sink([*events_of(voted.reply)])


class _SharedEngine:
    """The engine as a vote sees it that shares it with other clients: a job for each of its samples."""

    def __init__(self, engine: EngineThread, model: str, loaded: LoadedModel) -> None:
        self._engine = engine
        self._model = model
        self._loaded = loaded
        self._jobs: dict[Request, Job] = {}
        self._events: SimpleQueue[tuple[Request, Sequence[JobEvent]]] = SimpleQueue()

    @property
    def sequences(self) -> int:
        return self._loaded.sequences

    def has_room_for(self, _: Request) -> bool:
        """A job without room waits in line."""
        return True

    def submit(self, request: Request) -> float:
        job = Job(self._model, lambda _: request, lambda events: self._events.put((request, events)))
        self._jobs[request] = job
        self._engine.submit(job)
        return 0.0

    def step(self) -> list[tuple[Request, Event]]:
        """Waits until something happens to a sample. Raises the error of one that failed."""
        request, events = self._events.get()
        happened: list[tuple[Request, Event]] = []
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if not isinstance(event, Begun):
                happened.append((request, event))
        return happened

    def cancel(self) -> None:
        """Ends all samples, also those in line."""
        for job in list(self._jobs.values()):
            self._engine.cancel(job)
