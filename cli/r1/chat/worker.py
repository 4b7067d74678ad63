"""The thread that runs llama.cpp for the chat: it loads models, answers, and warms the KV cache between turns.

R1's template drops old thinking, so after an answer the KV cache does not match the start of the next prompt. The
worker decodes the difference while the user reads and types, and the next prompt needs only the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from r1.chat.vote_job import Tallied, VoteJob, VoteOver
from r1.engine.events import Event, Finished
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled
from r1.engine.prompt import Turn
from r1.fit.fitted_model import Listener, Workload
from r1.fit.planner import DraftFile
from r1.kv_store.kv_folder import KvFolder
from r1.loaded_model import LoadedModel
from r1.settings import Settings
from r1_quantize.errors import R1Error

if TYPE_CHECKING:
    from r1.evaluate.polling import Polling
    from r1.forms.form import Form

_JOIN_TIMEOUT_S = 5.0
_KEEP_TIMEOUT_S = 30.0  # a large KV cache is written to a slow disk
_IDLE_S = 120.0  # then the KV cache is kept on disk, because the chat may be killed; it can have gigabytes


@dataclass(frozen=True, slots=True)
class Loading:
    """`share` of the model is loaded, 0 to 1."""

    share: float


@dataclass(frozen=True, slots=True)
class Noted:
    """A line for the user about the model on this machine; a `grave` one is also for scripts."""

    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded, with a context of `ctx` tokens; it was trained for at most `trained`.

    `plan` is one line about the memory it takes.
    """

    reference: str
    ctx: int
    trained: int
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A turn begins; getting ready for it took `load_s` seconds."""

    load_s: float


@dataclass(frozen=True, slots=True)
class Warmed:
    """`done` tokens of the next prompt are in the KV cache. `turn_tokens` are the tokens of each turn before it."""

    done: int
    turn_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A job failed. `asking`: it was a question, not the loading of a model."""

    error: Exception
    asking: bool


WorkerEvent = Loading | Noted | Ready | Loaded | Warmed | Tallied | VoteOver | Failed | Event


@dataclass(slots=True)
class _Job:
    is_cancelled: bool = field(default=False, init=False)


@dataclass(slots=True)
class _Open(_Job):
    find: Callable[[], tuple[str, Path]]
    settings: Settings


@dataclass(slots=True)
class _Ask(_Job):
    prompt: str
    turns: Sequence[Turn]
    settings: Settings
    form: Form | None
    times_hurried: int = field(default=0, init=False)  # how often it was told to answer now


@dataclass(slots=True)
class _Warm(_Job):
    turns: Sequence[Turn]
    settings: Settings
    owner: str


@dataclass(frozen=True, slots=True)
class _Owned:
    """A conversation whose KV cache is to be kept on disk, for its owner."""

    turns: Sequence[Turn]
    owner: str

    @classmethod
    def of(cls, turns: Sequence[Turn], owner: str) -> _Owned | None:
        """None for a conversation without turns, or without an owner."""
        return cls(tuple(turns), owner) if owner and turns else None


class Worker:
    """Takes jobs from one thread and emits events on its own."""

    def __init__(
        self,
        emit: Callable[[WorkerEvent], None],
        hints: Callable[[], Iterable[str]] = tuple,
        kv_folder: KvFolder | None = None,
        find_draft: Callable[[], DraftFile | None] = lambda: None,
    ) -> None:
        """`hints` are lines for the user about this machine, emitted once a model is loaded. The KV cache of a
        conversation is kept in `kv_folder`. `find_draft` finds the draft model, which was chosen for the first model.
        """
        self._find_draft = find_draft
        self._kv_folder = kv_folder
        self._emit = emit
        self._hints = hints
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stop = Stop()
        self._latest: _Job | None = None  # the last job that is not warming; `stop` cancels it
        self._running: _Job | None = None
        self._latest_open: _Open | None = None  # earlier ones are skipped
        self._model: LoadedModel | None = None
        self._polling: Polling | None = None  # of the model, from its first vote on
        self._load_error: R1Error | None = None  # why there is no model
        self._reference = ""
        self._default_ctx = 0  # planned once, when the model is loaded: a new length would empty the KV cache
        self._closing = False
        self._unkept: _Owned | None = None  # a conversation whose KV cache is not kept yet
        self._last: _Owned | None = None  # the conversation when the chat was closed
        self._prefill_tps = 0.0  # tokens a second, the best of this model
        self._has_told = False  # that a KV cache could not be kept
        self._trouble_at_end = ""
        self._thread = threading.Thread(target=self._run, name="r1-worker", daemon=True)
        self._thread.start()

    def open(self, find: Callable[[], tuple[str, Path]], settings: Settings) -> None:
        """Loads the model that `find` names in place of the present one: Loading*, then Ready or Failed."""
        self._stop_warming()
        self._latest_open = _Open(find, settings)
        self._put(self._latest_open)

    def ask(self, prompt: str, turns: Sequence[Turn], settings: Settings, form: Form | None = None) -> None:
        """Answers, in the form: Loaded, then the events of a turn; or Failed.

        With `votes` in the settings it holds a vote: Tallied*, VoteOver, then the events of the winner.
        """
        self._put(_Ask(prompt, tuple(turns), settings, form))

    def warm(self, turns: Sequence[Turn], settings: Settings, owner: str = "") -> None:
        """Fills the KV cache with the start of the next prompt, until another job arrives: Warmed*.

        With an owner, it is kept on disk once no job has arrived for a while, or one for another conversation.
        """
        self._jobs.put(_Warm(tuple(turns), settings, owner))

    def rewarm(self, turns: Sequence[Turn], settings: Settings, owner: str) -> None:
        """The same for a changed conversation: warming for the old one stops at once."""
        self._stop_warming()
        self.warm(turns, settings, owner)

    def stop(self) -> None:
        """Ends the latest job as soon as possible, or as soon as it begins; its events so far remain valid."""
        if self._latest is not None:
            self._latest.is_cancelled = True
            if self._running is self._latest:
                self._stop.set()

    def answer_now(self) -> None:
        """Ends the thinking, now or when it begins."""
        if isinstance(self._latest, _Ask):
            self._latest.times_hurried += 1

    def close(self, turns: Sequence[Turn] = (), owner: str = "") -> str:
        """Ends the thread, which frees the model. With an owner, the KV cache of its conversation is kept on disk.

        Returns what prevented that, if it was not said before; the events of this time are not read any more.
        """
        self._last = _Owned.of(turns, owner)
        self._jobs.put(None)
        self._closing = True
        self._stop.set()
        self._thread.join(_JOIN_TIMEOUT_S if self._last is None else _KEEP_TIMEOUT_S)
        return self._trouble_at_end

    def _stop_warming(self) -> None:
        """Stops warming in the middle of a batch, because its result is no longer needed."""
        if isinstance(self._running, _Warm):
            self._stop.set()

    def _put(self, job: _Job) -> None:
        self._latest = job
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            self._running = job
            self._stop.clear()
            if job.is_cancelled or self._closing:  # set before the flag was cleared
                self._stop.set()
            try:
                if not self._closing:
                    self._do(job)
            except LoadCancelled:  # another load replaced this one, or the chat is ending
                pass
            except Exception as exc:  # the chat goes on after any error and shows it
                if isinstance(job, _Open) and isinstance(exc, R1Error):
                    self._load_error = exc
                self._emit(Failed(exc, isinstance(job, _Ask)))
            self._running = None
        self._keep_of_another(self._last.owner if self._last else "")
        if self._last is not None:
            self._trouble_at_end = self._keep(self._last)
        self._close_model()

    def _next_job(self) -> _Job | None:
        """Waits for it; after a while, the KV cache is kept on disk."""
        if self._unkept is not None:
            with suppress(Empty):
                return self._jobs.get(timeout=_IDLE_S)
            self._keep_and_tell(self._unkept)
        return self._jobs.get()

    def _keep_and_tell(self, conversation: _Owned) -> None:
        if trouble := self._keep(conversation):
            self._emit(Noted(trouble))

    def _keep_of_another(self, owner: str) -> None:
        """Before the cache is used for this owner's conversation: keeps what it holds of another one's."""
        if self._unkept is not None and self._unkept.owner != owner:
            self._keep_and_tell(self._unkept)

    def _keep(self, conversation: _Owned) -> str:
        """Keeps the KV cache on disk; says what prevented it, the first time."""
        self._unkept = None
        if self._model is None:
            return ""
        try:
            segments = self._model.segments(conversation.turns)
            trouble = self._model.keep(segments, conversation.owner, self._prefill_tps)
        except Exception as exc:  # it is only for speed, and the chat goes on
            trouble = str(exc) or type(exc).__name__
        if not trouble or self._has_told:
            return ""
        self._has_told = True
        return f"the KV cache was not kept on disk: {trouble}"

    def _do(self, job: _Job) -> None:
        if isinstance(job, _Open):
            self._open(job)
        elif isinstance(job, _Ask):
            self._ask(job)
        elif isinstance(job, _Warm):
            self._warm(job)

    def _open(self, job: _Open) -> None:
        if job is not self._latest_open:
            return
        reference, path, draft = self._find(job)
        if self._unkept is not None:  # for the present model, which may come back
            self._keep_and_tell(self._unkept)
        if draft is not None and self._reference:
            draft = replace(draft, is_required=False)
        self._close_model()
        self._reference, self._prefill_tps = reference, 0.0
        self._model = LoadedModel(
            path,
            job.settings,
            self._stop,
            Listener(lambda share: self._emit(Loading(share)), lambda note: self._emit(Noted(note.text, note.grave))),
            name=reference,
            workload=Workload(is_parallel=_at_once(job.settings) > 1, most=_at_once(job.settings), shares_prompt=True),
            kv_folder=self._kv_folder,
            draft=draft,
        )
        self._model.give_notes()
        self._default_ctx = self._model.plan.context
        self._configure(self._model, job.settings)
        for hint in self._hints():
            self._emit(Noted(hint))

    def _find(self, job: _Open) -> tuple[str, Path, DraftFile | None]:
        """The model's name and file, and the draft model. If there is no such model, the present one stays loaded."""
        try:
            return *job.find(), self._find_draft()
        except R1Error:
            if self._model is not None:
                self._emit(self._ready(self._model))
            raise

    def _ask(self, job: _Ask) -> None:
        if self._model is None:
            raise self._load_error or R1Error("no model is loaded; /model NAME loads one")
        self._configure(self._model, job.settings)
        self._unkept = None
        if _at_once(job.settings) > 1:
            vote = VoteJob(self._model, job.prompt, job.turns, job.form, lambda: job.times_hurried, self._stop)
            vote.hold(self._polling_of(self._model), self._emit)
            return
        reply = self._model.ask(job.prompt, job.turns, form=job.form, answer_now=lambda: job.times_hurried > 0)
        self._emit(Loaded(reply.load_s))
        for event in reply.events:
            if isinstance(event, Finished):
                self._prefill_tps = max(self._prefill_tps, event.timings.prefill_tps)
            self._emit(event)

    def _polling_of(self, model: LoadedModel) -> Polling:
        """One for all votes, so that the process that compares formulas is started once."""
        if self._polling is None:
            from r1.evaluate.polling import Polling  # here, because most chats hold no vote

            self._polling = Polling(model, self._stop)
        return self._polling

    def _close_model(self) -> None:
        if self._polling is not None:
            self._polling.close()
            self._polling = None
        if self._model is not None:
            self._model.close()
            self._model = None

    def _warm(self, job: _Warm) -> None:
        self._keep_of_another(job.owner)
        self._unkept = _Owned.of(job.turns, job.owner)
        if self._model is None or not self._jobs.empty():
            return
        self._configure(self._model, job.settings)
        turn_tokens = tuple(map(len, self._model.segments(job.turns)))
        self._emit(Warmed(0, turn_tokens))
        for done in self._model.warm(job.turns):
            self._emit(Warmed(done, turn_tokens))
            # a new question starts with the same tokens, so the chunk being decoded is finished
            if self._stop() or not self._jobs.empty():
                return

    def _configure(self, model: LoadedModel, settings: Settings) -> None:
        """Applies the settings; emits Ready if there is another KV cache then."""
        before = model.context_length, model.plan
        model.configure(replace(settings, ctx=settings.ctx or self._default_ctx), _at_once(settings))
        if (model.context_length, model.plan) != before:
            self._emit(self._ready(model))

    def _ready(self, model: LoadedModel) -> Ready:
        return Ready(self._reference, model.context_length, model.model.context_length, model.explain())


def _at_once(settings: Settings) -> int:
    """The most replies to one message; they share the KV cache."""
    return settings.votes or 1
