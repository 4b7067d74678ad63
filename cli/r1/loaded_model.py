"""A model ready to answer: its weights, a KV cache of the right size, and the settings in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Self

from r1.engine.context import Context, ContextParams, PromptTooLong, Stopped
from r1.engine.events import Event
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled, Model
from r1.engine.prompt import Conversation, Turn, conversation_segments, prompt_segments, tokens_if_longer
from r1.engine.read_ahead import read_ahead
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import RequestEvent, Scheduler, generate
from r1.fit.plan import MemoryPlan
from r1.fit.planner import MemoryPlanner, Note, threads_of
from r1.settings import Settings
from r1_quantize.errors import NotEnoughSpace

_SHARED_PROMPT = 2048  # tokens, the least that several prompts at once have room for
_READING_SHARE = 0.8  # of the progress, if the file has to be read from disk first


@dataclass(frozen=True, slots=True)
class PendingReply:
    """A reply that is generated as its events are read; `seed` is the one in use.

    `load_s` is the time it took to get ready, in seconds: a new context where one was needed, and for the first reply
    loading the model.
    """

    events: Iterator[Event]
    seed: int
    load_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    """`progress` is called with the share of the model that is loaded, `note` with each note about the plan."""

    progress: Callable[[float], None] = lambda _: None
    note: Callable[[Note], None] = lambda _: None


class LoadedModel:
    """A loaded model and one KV cache, which grows when a prompt needs it to. Close it when done.

    `ask` answers one prompt alone. `request`, `submit` and `step` answer several at once.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings,
        stop: Stop | None = None,
        listener: Listener | None = None,
        *,
        name: str = "",
        prompt_tokens: int = 0,
        answers_many: bool = False,
    ) -> None:
        """Loads the model. `name` is shown to the user; `stop` ends loading and replies.

        `prompt_tokens` estimates the length of the prompt when there will be only one (0: unknown). With
        `answers_many`, several prompts are answered at once, as many as the settings say or as pay and fit. Raises
        BadGGUF, UsageError (no such device, `ctx` too long for the model), NotEnoughSpace, LoadCancelled.
        """
        began = perf_counter()
        self._stop = stop or Stop()
        self._listener = listener or Listener()
        self._notes_given: set[Note] = set()
        self._path = path
        self._planner = MemoryPlanner.of(path, settings, name or path.name)
        self._refused_layers = 0  # by the GPU; reset to 0 after the user was told
        self._answers_many = answers_many
        up_to = self._planner.context_for(prompt_tokens) if prompt_tokens else None
        self.plan = self._planner.plan(up_to, sequences=self._wanted_sequences)
        self._model: Model | None = self._load()
        self._scheduler: Scheduler | None = None
        self._load_s = perf_counter() - began

    @property
    def settings(self) -> Settings:
        """The settings in force; change them with `configure`."""
        return self._planner.settings

    @property
    def model(self) -> Model:
        """The weights. When reloading them with fewer layers on the GPU has failed, this tries again and may raise as
        `__init__` does.
        """
        if self._model is None:
            self._model = self._load()
        return self._model

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

    def configure(self, settings: Settings) -> None:
        """Applies new settings, and creates a KV cache for them unless the present one suits. Raises as `ask`."""
        began = perf_counter()
        self._planner = self._planner.with_settings(settings)
        self._scheduler_for(0)
        self._load_s += perf_counter() - began

    def ask(
        self,
        prompt: str,
        turns: Sequence[Turn] = (),
        *,
        answer_now: Callable[[], bool] = lambda: False,
        stop_after_thinking: bool = False,
    ) -> PendingReply:
        """A reply to `prompt` after `turns`.

        The same turns, prompt, seed and settings give the same events, regardless of earlier prompts. Raises
        UsageError when the settings' `ctx` is too long for the model, PromptTooLong for a prompt that is far too long,
        NotEnoughSpace.
        """
        request = self.request(prompt, turns, answer_now=answer_now, stop_after_thinking=stop_after_thinking)
        scheduler, load_s = self._prepare(request)
        return PendingReply(generate(scheduler, request), request.sampling.seed, load_s)

    def request(
        self,
        prompt: str,
        turns: Sequence[Turn] = (),
        *,
        answer_now: Callable[[], bool] = lambda: False,
        stop_after_thinking: bool = False,
    ) -> Request:
        """The request for a reply to `prompt` after `turns`, for `submit`.

        Raises UsageError when the settings' `ctx` is too long for the model, PromptTooLong for a prompt that is far too
        long.
        """
        began = perf_counter()
        self._require_possible(prompt)
        request = Request(
            prompt_segments(self.model, self._conversation(turns), prompt),
            self._sampling(),
            answer_now=answer_now,
            stop_after_thinking=stop_after_thinking,
            keeps_threads=self.settings.seed is not None,
        )
        self._load_s += perf_counter() - began
        return request

    def has_room_for(self, request: Request) -> bool:
        """Whether the request can be submitted now; if not, a new context is needed, and the running replies must end
        before. Raises as `submit`.
        """
        plan = self._plan_for(request.prompt_tokens)
        return self._scheduler is None or self._scheduler.is_idle or self._suffices(self._scheduler.context, plan)

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
        segments = conversation_segments(self.model, self._conversation(turns))
        with suppress(Stopped):
            yield from self._scheduler_for(0).warm(segments)

    def lengths(self, turns: Sequence[Turn]) -> list[int]:
        """The tokens of each turn in a prompt."""
        return [len(segment) for segment in conversation_segments(self.model, self._conversation(turns))]

    def give_notes(self) -> None:
        """Passes the notes about the plan to the listener; each note once."""
        for note in self._planner.notes(self.plan):
            if note not in self._notes_given:
                self._notes_given.add(note)
                self._listener.note(note)

    def explain(self) -> str:
        """The plan for this machine, in one line."""
        return self._planner.explain(self.plan)

    def close(self) -> None:
        self._close_context()
        if self._model is not None:
            self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_possible(self, prompt: str) -> None:
        """Raises PromptTooLong for a prompt that would only take memory before it turned out not to fit."""
        trained = self.model.context_length
        longest = min(self.settings.ctx or trained, trained)
        tokens = tokens_if_longer(self.model, prompt, longest)
        if tokens is not None:
            raise PromptTooLong(tokens, longest, trained, is_estimate=True)

    def _conversation(self, turns: Sequence[Turn]) -> Conversation:
        return Conversation(self.settings.system, list(turns))

    def _sampling(self) -> SamplingParams:
        settings = self.settings
        params = SamplingParams(temperature=settings.temp, top_p=settings.top_p, max_tokens=settings.max_tokens)
        return params if settings.seed is None else replace(params, seed=settings.seed)

    def _load(self) -> Model:
        """Loads the weights, with as many layers on the GPU as it accepts."""
        reads_first = False

        def reading(share: float) -> bool:
            nonlocal reads_first
            reads_first = True
            self._listener.progress(_READING_SHARE * share)
            return not self._stop()

        def loading(share: float) -> bool:
            self._listener.progress(_READING_SHARE + (1 - _READING_SHARE) * share if reads_first else share)
            return not self._stop()

        if not read_ahead(self._path, self._planner.machine.usable, reading):
            raise LoadCancelled
        while True:
            placement = self._planner.placement(self.plan)
            try:
                return Model(self._path, placement, mapped=self._planner.maps, on_progress=loading)
            except NotEnoughSpace as exc:
                self._step_down(exc)

    def _prepare(self, request: Request) -> tuple[Scheduler, float]:
        """A scheduler that can take the request, and the seconds it took to get ready since the last one."""
        began = perf_counter()
        scheduler = self._scheduler_for(request.prompt_tokens)
        load_s, self._load_s = self._load_s + perf_counter() - began, 0.0
        return scheduler, load_s

    def _plan_for(self, prompt_tokens: int) -> MemoryPlan:
        """The plan for a prompt and its reply; for several at once, with room for other prompts that may be longer.

        A new context for a longer one would have to wait until all running replies are done.
        """
        sequences = self._wanted_sequences
        if sequences > 1:
            prompt_tokens = max(_SHARED_PROMPT, 1 << (prompt_tokens - 1).bit_length())
        return self._planner.plan_for_prompt(prompt_tokens, loaded=self.plan.gpu_layers, sequences=sequences)

    @property
    def _wanted_sequences(self) -> int:
        return self.settings.parallel or 1 if self._answers_many else 1

    def _scheduler_for(self, prompt_tokens: int) -> Scheduler:
        """A cache for the prompt and its complete reply, as far as the model was trained for and memory allows."""
        plan = self._plan_for(prompt_tokens)
        current = self._scheduler
        if current and self._suffices(current.context, plan):
            return current
        self._close_context()
        self._scheduler = Scheduler(self._create_context(plan))
        return self._scheduler

    def _suffices(self, context: Context, plan: MemoryPlan) -> bool:
        """A context length that the user chose is exact; otherwise a longer one will do."""
        if context.kv_type != plan.kv_type or len(context.sequences) < plan.sequences or context.cells < plan.cells:
            return False
        return context.length == plan.context or (self.settings.ctx is None and context.length > plan.context)

    def _create_context(self, plan: MemoryPlan) -> Context:
        while True:
            params = ContextParams(
                length=plan.context,
                threads=threads_of(self.settings, self._path),
                kv_type=plan.kv_type,
                sequences=plan.sequences,
                cells=plan.cells,
            )
            try:
                context = Context(self.model, params, self._stop)
            except NotEnoughSpace as exc:
                self._step_down(exc)
                self.model.close()
                self._model = None
                plan = self._planner.plan(plan.context, loaded=self.plan.gpu_layers, sequences=self._wanted_sequences)
                continue
            self.plan = plan
            self._note_refused_layers()
            self.give_notes()
            return context

    def _step_down(self, refusal: NotEnoughSpace) -> None:
        """Plans fewer layers on the GPU, after it refused the planned number. Raises `refusal` when there are none."""
        if not self.plan.gpu_layers:
            raise refusal
        if self.settings.gpu_layers is not None:
            refused = f"the GPU refused {self.settings.gpu_layers} layers ({refusal})"
            raise NotEnoughSpace(f"{refused}; without --gpu-layers r1 uses as many as fit") from refusal
        self._refused_layers = self._refused_layers or self.plan.gpu_layers
        self.plan = self._planner.plan_after_refusal(self.plan)

    def _note_refused_layers(self) -> None:
        if self._refused_layers:
            accepted = self.plan.gpu_layers
            text = f"the GPU refused {self._refused_layers} layers, and holds {accepted or 'none'}"
            self._listener.note(Note(text, grave=not accepted))
            self._refused_layers = 0

    def _close_context(self) -> None:
        if self._scheduler is not None:
            self._scheduler.context.close()
            self._scheduler = None
