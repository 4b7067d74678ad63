"""A model ready to answer: settings → a plan for this machine, weights, a KV cache of the right length, sampling.

Knows: how settings become the engine's parameters. Does not know: prompts' origin, where answers go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Self

from r1.engine.context import Context, ContextParams, Stopped
from r1.engine.events import Event
from r1.engine.generate import generate
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled, Model
from r1.engine.prefetch import prefetch
from r1.engine.prompt import Conversation, Turn, conversation_segments, prompt_segments
from r1.engine.sampling import SamplingParams
from r1.fit.fitting import Fitting, Note, threads_of
from r1.fit.plan import MemoryPlan
from r1.settings import Settings
from r1_quantize.errors import NotEnoughSpace

_READING = 0.8
"""The share of the progress that is reading the file from its disk, where that comes first."""


@dataclass(frozen=True, slots=True)
class PendingReply:
    """A reply about to be made: its events, the seed they follow from, and the seconds it took to get ready.

    `load_s` has the loading of the model in it for the first turn, and a new context where one was needed.
    """

    events: Iterator[Event]
    seed: int
    load_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    """`progress` is told the share of the model that is loaded, `note` what of the plan a person should know."""

    progress: Callable[[float], None] = lambda _: None
    note: Callable[[Note], None] = lambda _: None


class LoadedModel:
    """A loaded model and one KV cache, which grows when a prompt needs it to. Close it when done."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        stop: Stop | None = None,
        listener: Listener | None = None,
        *,
        name: str = "",
        prompt: int = 0,
    ) -> None:
        """`name` is what people call the model; `prompt` about how many tokens it is to answer, where that is all it is
        for (0: not known). `stop` ends whatever is going on.

        Raises BadGGUF, UsageError (no such device, `ctx` too long for the model), NotEnoughSpace, LoadCancelled.
        """
        began = perf_counter()
        self._stop = stop or Stop()
        self._listener = listener or Listener()
        self._told: set[Note] = set()
        self._path = path
        self._fitting = Fitting.of(path, settings, name or path.name)
        self._refused = 0  # layers, by the GPU, until that is said
        self.settings = settings
        self.plan = self._fitting.plan(settings, self._fitting.context_for(prompt, settings) if prompt else None)
        self._model: Model | None = self._load()
        self._context: Context | None = None
        self._load_s = perf_counter() - began

    @property
    def context(self) -> Context:
        """The KV cache as it is now. Raises as `ask`, when there is none yet."""
        return self._context_for(0)

    @property
    def context_length(self) -> int:
        """Tokens that fit the KV cache as it is now; 0 before the first turn."""
        return self._context.length if self._context else 0

    def ask(
        self,
        prompt: str,
        turns: Sequence[Turn] = (),
        *,
        answer_now: Callable[[], bool] = lambda: False,
        stop_after_thinking: bool = False,
    ) -> PendingReply:
        """A reply to `prompt` that follows `turns`.

        The same turns, prompt, seed and settings give the same events, whatever else was asked before. Raises
        UsageError when the settings' `ctx` is too long for the model, NotEnoughSpace.
        """
        began = perf_counter()
        segments = prompt_segments(self.model, self._conversation(turns), prompt)
        sampling = self._sampling()
        context = self._context_for(sum(map(len, segments)))
        load_s, self._load_s = self._load_s + perf_counter() - began, 0.0
        events = generate(
            context,
            segments,
            sampling,
            cancelled=self._stop,
            answer_now=answer_now,
            stop_after_thinking=stop_after_thinking,
        )
        return PendingReply(events, sampling.seed, load_s)

    def warm(self, turns: Sequence[Turn]) -> Iterator[int]:
        """Makes the KV cache hold what the next prompt after `turns` begins with; yields the tokens done.

        Stop iterating to leave it at that. Ends early, without a word, when the engine's Stop is set.
        """
        segments = conversation_segments(self.model, self._conversation(turns))
        with suppress(Stopped):
            yield from self.context.warm(segments)

    def lengths(self, turns: Sequence[Turn]) -> list[int]:
        """The tokens of each turn in a prompt."""
        return [len(segment) for segment in conversation_segments(self.model, self._conversation(turns))]

    def prepare(self) -> None:
        """Brings the KV cache about that the settings ask for, so that the first prompt need not. Raises as `ask`."""
        began = perf_counter()
        self._context_for(0)
        self._load_s += perf_counter() - began

    def note(self, plan: MemoryPlan) -> None:
        """Tells what of a plan the person should know, once."""
        for said in self._fitting.notes(plan, self.settings):
            if said not in self._told:
                self._told.add(said)
                self._listener.note(said)

    def explain(self) -> str:
        """The plan for this machine, in one line."""
        return self._fitting.explain(self.plan)

    def _conversation(self, turns: Sequence[Turn]) -> Conversation:
        return Conversation(self.settings.system, list(turns))

    def _sampling(self) -> SamplingParams:
        settings = self.settings
        params = SamplingParams(settings.temp, settings.top_p, max_tokens=settings.max_tokens)
        return params if settings.seed is None else replace(params, seed=settings.seed)

    @property
    def model(self) -> Model:
        """The loaded one. Raises as `__init__` when it was given up to have less of it on the GPU, and that failed."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def _load(self) -> Model:
        """With as many layers on the GPU as it really takes."""
        read_first = False

        def reading(share: float) -> bool:
            nonlocal read_first
            read_first = True
            self._listener.progress(_READING * share)
            return not self._stop()

        def loading(share: float) -> bool:
            self._listener.progress(_READING + (1 - _READING) * share if read_first else share)
            return not self._stop()

        if not prefetch(self._path, self._fitting.machine.usable, reading):
            raise LoadCancelled
        while True:
            placement = self._fitting.placement(self.plan)
            try:
                return Model(self._path, placement, mapped=self._fitting.maps, on_progress=loading)
            except NotEnoughSpace as exc:
                self._step_down(exc)

    def _context_for(self, prompt_length: int) -> Context:
        """A cache for the prompt and its whole reply, as far as the model was trained for and the memory goes."""
        plan = self._plan_for(prompt_length)
        held = self._context
        if held and held.kv_type == plan.kv_type and self._is_enough(held, plan):
            return held
        self._close_context()
        self._context = self._create(plan)
        return self._context

    def _plan_for(self, prompt_length: int) -> MemoryPlan:
        """Raises NotEnoughSpace when the prompt alone is too long for the memory."""
        if self.settings.ctx is not None:
            return self._fitting.plan(self.settings, loaded=self.plan.gpu_layers)
        wanted = self._fitting.context_for(prompt_length, self.settings)
        plan = self._fitting.plan(self.settings, wanted, loaded=self.plan.gpu_layers)
        if plan.context <= prompt_length < self._fitting.shape.trained:
            if self.settings.force:
                return self._fitting.plan(replace(self.settings, ctx=wanted), loaded=self.plan.gpu_layers)
            raise NotEnoughSpace(
                f"the prompt is {prompt_length:,} tokens long, and a context of {plan.context:,} is what fits the "
                f"memory ({self._fitting.explain(plan)}); shorten it, or close something"
            )
        return plan

    def _is_enough(self, held: Context, plan: MemoryPlan) -> bool:
        """A length that was asked for is to be that; another may be more than this prompt needs."""
        return held.length == plan.context or (self.settings.ctx is None and held.length > plan.context)

    def _create(self, plan: MemoryPlan) -> Context:
        while True:
            params = ContextParams(plan.context, threads_of(self.settings, self._path), plan.kv_type)
            try:
                context = Context(self.model, params, self._stop)
            except NotEnoughSpace as exc:
                self._step_down(exc)
                self.model.close()
                self._model = None
                plan = self._fitting.plan(self.settings, plan.context, loaded=self.plan.gpu_layers)
                continue
            self.plan = plan
            self._say_what_the_gpu_took()
            self.note(plan)
            return context

    def _step_down(self, refusal: NotEnoughSpace) -> None:
        """Fewer layers on the GPU, which has refused so many. Raises the refusal when that is not what it is about."""
        if not self.plan.gpu_layers:
            raise refusal
        if self.settings.gpu_layers is not None:
            refused = f"the GPU refused {self.settings.gpu_layers} layers ({refusal})"
            raise NotEnoughSpace(f"{refused}; without --gpu-layers r1 takes as many as fit") from refusal
        self._refused = self._refused or self.plan.gpu_layers
        self.plan = self._fitting.with_less_on_gpu(self.plan, self.settings)

    def _say_what_the_gpu_took(self) -> None:
        if self._refused:
            left = self.plan.gpu_layers
            self._listener.note(
                Note(f"the GPU refused {self._refused} layers; {left or 'none'} went there", grave=not left)
            )
            self._refused = 0

    def _close_context(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None

    def close(self) -> None:
        self._close_context()
        if self._model is not None:
            self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
