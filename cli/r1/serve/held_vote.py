"""A vote for one client, beside the replies to others: it runs in a thread of its own, and its samples wait in line."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from r1.engine.events import Event, Finished, Usage
from r1.engine.request import Request
from r1.evaluate.polling import Polling
from r1.loaded_model import LoadedModel
from r1.render.reply_text import Reply, events_of
from r1.serve.engine_thread import EngineThread
from r1.serve.jobs import Begun, Failed, Job, JobEvent, Lease
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
        self._lease = Lease(model)
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
        """Ends the vote and its samples, or takes it out of the line."""
        self._is_cancelled.set()
        self._engine.cancel(self._lease)
        if self._shared is not None:
            self._shared.cancel()

    def _run(self) -> None:
        try:
            with self._engine.held(self._lease) as loaded:
                self._hold(loaded)
        except CancelledError:
            return
        except Exception as exc:  # of any kind: the client waits for an end
            self._sink([Failed(exc)])

    def _hold(self, loaded: LoadedModel) -> None:
        question = self._question
        assert question.votes is not None, "a vote was asked for"
        self._shared = shared = _SharedEngine(self._engine, self._lease, loaded, self._sink)
        if self._is_cancelled.is_set():
            shared.cancel()

        def request(seed: int, answer_now: Callable[[], bool]) -> Request:
            made = request_for(question, replace(self._settings, seed=seed), loaded)
            made.answer_now = answer_now
            return made

        with Polling(shared, self._is_over) as polling:
            voting = polling.voting(question.votes, self._settings.seed, question.form, request)
            try:
                voting.run(self._is_over)
            finally:
                shared.cancel()  # what is left of it, after an error
            voted = polling.voted(voting)
        self._fields.update(voted.fields)
        finished = replace(voted.reply.finished, usage=_usage([each.reply for each in voting.vote.result().samples]))
        self._sink([*events_of(replace(voted.reply, finished=finished))])

    def _is_over(self) -> bool:
        return self._is_cancelled.is_set() or self._engine.is_stopped


class _SharedEngine:
    """The engine as a vote sees it that shares it with other clients: a job for each of its samples."""

    def __init__(
        self,
        engine: EngineThread,
        lease: Lease,
        loaded: LoadedModel,
        sink: Callable[[Sequence[JobEvent]], None],
    ) -> None:
        """`sink` gets the Begun of the first sample."""
        self._engine = engine
        self._lease = lease
        self._loaded = loaded
        self._sink = sink
        self._has_begun = False
        self._is_cancelled = False
        self._jobs: dict[Request, Job] = {}  # that have not ended
        self._events: SimpleQueue[tuple[Request, Sequence[JobEvent]]] = SimpleQueue()

    @property
    def sequences(self) -> int:
        return self._loaded.sequences

    def has_room_for(self, _: Request) -> bool:
        """A job without room waits in line."""
        return True

    def submit(self, request: Request) -> float:
        def put(events: Sequence[JobEvent]) -> None:
            self._events.put((request, events))

        job = Job(self._lease.model, lambda _: request, put, lease=self._lease)
        self._jobs[request] = job
        self._engine.submit(job)
        if self._is_cancelled:
            self._engine.cancel(job)
        return 0.0

    def step(self) -> list[tuple[Request, Event]]:
        """Waits until something happens to a sample. Raises the error of one that failed."""
        for request, job in self._jobs.items():
            if request.is_cancelled and not job.is_cancelled:  # the vote is over, and need not wait for its turn
                self._engine.cancel(job)
        request, events = self._events.get()
        happened: list[tuple[Request, Event]] = []
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Begun):
                self._begin(event)
            else:
                happened.append((request, event))
            if isinstance(event, Finished):
                del self._jobs[request]
        return happened

    def _begin(self, event: Begun) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._sink([event])

    def cancel(self) -> None:
        """Ends all samples, also those in line; from any thread."""
        self._is_cancelled = True
        for job in list(self._jobs.values()):
            self._engine.cancel(job)


def _usage(samples: Sequence[Reply]) -> Usage:
    """Of all samples; their prompt counts once. OpenAI counts the same way for `best_of`."""
    usages = [sample.finished.usage for sample in samples]
    return replace(
        usages[0],
        thinking_tokens=sum(usage.thinking_tokens for usage in usages),
        answer_tokens=sum(usage.answer_tokens for usage in usages),
        discarded_tokens=sum(usage.discarded_tokens for usage in usages),
    )
