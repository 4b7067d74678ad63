"""A model ready to answer: keeps a scheduler over a KV cache that suits the conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Self

from r1.engine.context import Context, Stopped
from r1.engine.events import Event
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.engine.pace import ThreadPace
from r1.engine.prompt import Beginning, Turn
from r1.engine.request import Request
from r1.engine.scheduler import Occupancy, RequestEvent, Scheduler, generate
from r1.engine.sequence import Segments
from r1.fit.fitted_model import FittedModel, Listener, Workload
from r1.fit.plan import MemoryPlan
from r1.fit.planner import DraftFile, MemoryPlanner, Note, fixed_threads
from r1.request_maker import RequestMaker
from r1.settings import Settings
from r1_quantize.errors import R1Error

if TYPE_CHECKING:
    from r1.forms.form import Form
    from r1.kv_store.kv_folder import KvFolder
    from r1.kv_store.kv_states import KvStates


@dataclass(frozen=True, slots=True)
class PendingReply:
    """A reply to `prompt` that is generated as its events are read; `seed` is the one in use.

    `load_s` is the time it took to get ready, in seconds: a new context where one was needed, and for the first reply
    loading the model.
    """

    events: Iterator[Event]
    prompt: Segments
    seed: int
    load_s: float


class LoadedModel:
    """A loaded model and one KV cache, which grows when a prompt needs it to. Close it when done.

    `ask` answers one prompt alone. `request`, `submit` and `step` answer several at once.
    """

    def __init__(  # noqa: PLR0913
        self,
        path: Path,
        settings: Settings,
        stop: Stop | None = None,
        listener: Listener | None = None,
        *,
        name: str = "",
        workload: Workload | None = None,
        kv_folder: KvFolder | None = None,
        draft: DraftFile | None = None,
    ) -> None:
        """Loads the model. `name` is shown to the user; `stop` ends loading and replies. What is kept of a prompt in
        `kv_folder` need not be prefilled. `draft` is loaded, too, and drafts for the model.

        Raises BadGGUF, UsageError (no such device, `ctx` too long for the model, a draft model with another
        vocabulary), NotEnoughSpace, LoadCancelled.
        """
        began = perf_counter()
        self._pace = None if fixed_threads(settings, path) else ThreadPace()
        self._states = _kept_states(kv_folder, path) if kv_folder else None  # before the weights are loaded
        listening = listener or Listener()

        def fitted(draft: DraftFile | None) -> FittedModel:
            planner = MemoryPlanner.of(path, settings, name or path.name, draft)
            return FittedModel(path, planner, workload or Workload(), stop or Stop(), listening)

        self._fitted = _with_draft(fitted, draft, listening)
        self._scheduler: Scheduler | None = None
        self._load_s = perf_counter() - began

    @property
    def settings(self) -> Settings:
        """The settings in force; change them with `configure`."""
        return self._fitted.settings

    @property
    def plan(self) -> MemoryPlan:
        """The memory plan in force."""
        return self._fitted.plan

    @property
    def model(self) -> Model:
        """The weights. Raises as `__init__` when they had to be loaded again and that failed."""
        return self._fitted.model

    @property
    def context(self) -> Context:
        """The KV cache, created when there is none yet. Raises as `ask`."""
        return self._scheduler_for(0).context

    @property
    def context_length(self) -> int:
        """Tokens that fit a sequence of the KV cache; 0 before the first turn."""
        return self._scheduler.context.length if self._scheduler else 0

    @property
    def sequences(self) -> int:
        """How many prompts it answers at once."""
        return self.plan.sequences

    @property
    def occupancy(self) -> Occupancy:
        """What of the KV cache is in use now; all 0 where there is none yet."""
        return self._scheduler.occupancy if self._scheduler else Occupancy(0, 0, 0, 0)

    def configure(self, settings: Settings, at_once: int | None = None) -> None:
        """Applies new settings, and creates a KV cache for them unless the present one suits.

        The cache is for at most `at_once` prompts at the same time; None: for as many as before. Not while requests are
        under way; a number of threads stays as it is. Raises as `ask`.
        """
        began = perf_counter()
        self._fitted.configure(settings, at_once)
        self._scheduler_for(0)
        self._load_s += perf_counter() - began

    def ask(
        self,
        prompt: str,
        turns: Sequence[Turn] = (),
        *,
        settings: Settings | None = None,
        form: Form | None = None,
        answer_now: Callable[[], bool] = lambda: False,
        stop_after_thinking: bool = False,
    ) -> PendingReply:
        """A reply to `prompt` after `turns`.

        The same turns, prompt, seed and settings give the same events, regardless of earlier prompts. Raises
        UsageError when the settings' `ctx` is too long for the model, PromptTooLong for a prompt that is far too long,
        NotEnoughSpace.
        """
        request = self.request(prompt, turns, settings=settings, form=form, answer_now=answer_now)
        request.stop_after_thinking = stop_after_thinking
        scheduler, load_s = self._prepare(request)
        return PendingReply(generate(scheduler, request), request.prompt, request.sampling.seed, load_s)

    def request(
        self,
        prompt: str,
        turns: Sequence[Turn] = (),
        *,
        settings: Settings | None = None,
        form: Form | None = None,
        beginning: Beginning | None = None,
        answer_now: Callable[[], bool] = lambda: False,
    ) -> Request:
        """The request for a reply to `prompt` after `turns`, for `submit`.

        `settings` are those of this request alone, as far as they are about sampling and thinking; None: those in
        force. `form` is what the answer has to keep to. The reply is what comes after `beginning`, and a budget counts
        only that. Raises UsageError when the settings' `ctx` is too long for the model, llama.cpp cannot read the form,
        or a part of an answer in a form is given; PromptTooLong for a prompt that is far too long.
        """
        began = perf_counter()
        grammar = None if form is None else form.gbnf
        request = self._requests.reply(
            prompt, turns, settings or self.settings, grammar=grammar, beginning=beginning, answer_now=answer_now
        )
        self._load_s += perf_counter() - began
        return request

    def continuation(self, text: str, *, settings: Settings | None = None) -> Request:
        """The request for what follows `text`, without turns and thinking; its events are those of an answer.

        White space is kept at both ends. Control tokens in the text stay text. Otherwise as `request`.
        """
        began = perf_counter()
        request = self._requests.continuation(text, settings or self.settings)
        self._load_s += perf_counter() - began
        return request

    def has_room_for(self, request: Request) -> bool:
        """Whether the request can be submitted now; if not, a new context is needed, and the running replies must end
        before. Raises as `submit`.
        """
        return self._scheduler is None or self._scheduler.is_idle or self._fitted.suits(self._needed(request))

    def submit(self, request: Request) -> float:
        """Adds the request to those that `step` advances.

        Returns the seconds it took to get ready for it: a new context, and for the first one loading the model. Raises
        PromptTooLong, NotEnoughSpace.
        """
        scheduler, load_s = self._prepare(request)
        scheduler.submit(request)
        return load_s

    def step(self) -> list[RequestEvent]:
        """Advances all requests by one batch; the last event of each is Finished. Raises R1Error."""
        return self._scheduler.step() if self._scheduler else []

    def warm(self, turns: Sequence[Turn]) -> Iterator[int]:
        """Fills the KV cache with the start of the next prompt after `turns`; yields the tokens done.

        Stop iterating to end early. Ends silently when the engine's Stop is set.
        """
        segments, scheduler = self.segments(turns), self._scheduler_for(0)
        self._restore(scheduler, segments, sum(map(len, segments)))
        with suppress(Stopped):
            yield from scheduler.warm(segments)

    def segments(self, turns: Sequence[Turn]) -> Segments:
        """The tokens that the next prompt after `turns` begins with, by turns."""
        return self._requests.segments(turns)

    def keep(self, segments: Segments, owner: str = "", prefill_tps: float = 0.0) -> str:
        """Keeps on disk what the KV cache holds of a prompt, for its owner, such as a chat; says what prevented it.

        `prefill_tps` is how many tokens a second were prefilled. Nothing is said if that was too quick to be worth it.
        """
        if self._states is None or self._scheduler is None or not self._scheduler.is_idle:
            return ""
        return self._states.keep_prompt(self._scheduler.context, segments, owner, prefill_tps)

    def keep_all(self) -> str:
        """Keeps on disk all that the KV cache holds, unless a request is under way; says what prevented it."""
        if self._states is None or self._scheduler is None or not self._scheduler.is_idle:
            return ""
        return self._states.keep_all(self._scheduler.context)

    def give_notes(self) -> None:
        """Passes the notes about the plan to the listener; each note once."""
        self._fitted.give_notes()

    def explain(self) -> str:
        """The plan for this machine, in one line."""
        return self._fitted.explain()

    def close(self) -> None:
        self._close_scheduler()
        self._fitted.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _requests(self) -> RequestMaker:
        return RequestMaker(self.model, self.settings)

    def _needed(self, request: Request) -> int:
        """The tokens of context that are needed beside a reply of the settings' length."""
        return request.prompt_tokens + max(request.sampling.max_tokens - self.settings.max_tokens, 0)

    def _prepare(self, request: Request) -> tuple[Scheduler, float]:
        """A scheduler that can take the request, and the seconds it took to get ready since the last one."""
        began = perf_counter()
        scheduler = self._scheduler_for(self._needed(request))
        self._restore(scheduler, request.prompt, request.prompt_tokens - 1)
        load_s, self._load_s = self._load_s + perf_counter() - began, 0.0
        return scheduler, load_s

    def _scheduler_for(self, prompt_tokens: int) -> Scheduler:
        """A scheduler over a context for the prompt and its complete reply.

        Where the present context does not suit, its requests are dropped.
        """
        context = self._fitted.context_for(prompt_tokens, before_closing=self._close_scheduler)
        if self._scheduler is None:
            pace = self._pace if self._fitted.computes_on_cpu else None
            self._scheduler = Scheduler(context, pace, self._fitted.draft_model)
        return self._scheduler

    def _restore(self, scheduler: Scheduler, segments: Segments, most: int) -> None:
        if self._states is not None and scheduler.is_idle:
            self._states.restore_prompt(scheduler.context, segments, most)

    def _close_scheduler(self) -> None:
        if self._scheduler is not None:
            self._scheduler.close()
            self._scheduler = None


def _kept_states(folder: KvFolder, path: Path) -> KvStates | None:
    from r1.kv_store.kv_states import KvStates  # here, because few prompts are long enough for it

    return KvStates.of(folder, path)


def _with_draft(
    fitted: Callable[[DraftFile | None], FittedModel], draft: DraftFile | None, listener: Listener
) -> FittedModel:
    """The model with its draft model; without it where it cannot draft for this model, and need not."""
    try:
        return fitted(draft)
    except R1Error as exc:
        if draft is None or draft.is_required:
            raise
        without = fitted(None)  # raises the same if it was about the model itself
        listener.note(Note(f"{exc}; answering without a draft model", grave=True))
        return without
