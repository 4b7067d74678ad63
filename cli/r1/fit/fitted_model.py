"""Loads a model and makes its KV cache, as the memory plan says; makes a smaller plan when llama.cpp refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from r1.engine.context import Context, ContextParams
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.fit.early_load import take_context
from r1.fit.plan import MemoryPlan
from r1.fit.planner import DraftFile, MemoryPlanner, Note, threads_of
from r1.fit.sequences import Wanted
from r1.fit.weights import Progress, load_weights
from r1.settings import Settings
from r1_quantize.errors import NotEnoughSpace

if TYPE_CHECKING:
    from r1.engine.draft_model import DraftModel
    from r1.fit.fitted_draft import FittedDraft

_SHARED_PROMPT = 2048  # tokens, the least that several prompts at once have room for


@dataclass(frozen=True, slots=True)
class Listener:
    """`progress` is called with the share of the weights that is loaded, the draft model's included; `note` with each
    note about the plan.
    """

    progress: Progress = lambda _: None
    note: Callable[[Note], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Workload:
    """What a model is loaded for.

    `prompt_tokens` estimates the length of the prompt when there will be only one (0: unknown). With `is_parallel`,
    several prompts are answered at once: as many as the settings say, or as pay, if they fit; at most `most`. `further`
    is the tokens of the cache for each prompt after the first, with its reply; None: for a usual one. `shares_prompt`:
    all are the same prompt, as in a vote; its cells are used by all replies.
    """

    prompt_tokens: int = 0
    is_parallel: bool = False
    most: int | None = None
    further: int | None = None
    shares_prompt: bool = False


class FittedModel:
    """The weights, the settings in force, and at most one context at a time; the draft model, if the planner has one,
    with a context like that. Close it when done.
    """

    def __init__(self, path: Path, planner: MemoryPlanner, workload: Workload, stop: Stop, listener: Listener) -> None:
        """Loads the weights; `stop` ends it. Raises BadGGUF, UsageError, NotEnoughSpace, LoadCancelled."""
        self.draft_model: DraftModel | None = None  # for the present context
        self._path = path
        self._planner = planner
        self._workload = workload
        self._stop = stop
        self._listener = listener
        self._notes_given: set[Note] = set()
        self._refused_layers = 0  # by the GPU; reset to 0 after the user was told
        tokens = workload.prompt_tokens
        self.plan = planner.plan(planner.context_for(tokens) if tokens else None, wanted=self._wanted)
        self._context: Context | None = None
        self._draft = _fitted_draft(planner.draft, planner, stop) if planner.draft else None
        self._model: Model | None = self._load()
        if self._draft is not None:
            self._load_draft(self._draft, self._model)

    @property
    def settings(self) -> Settings:
        return self._planner.settings

    def configure(self, settings: Settings, at_once: int | None = None) -> None:
        """Applies new settings to the contexts to come, which are for at most `at_once` prompts at the same time; None:
        for as many as before.
        """
        self._planner = self._planner.with_settings(settings)
        if at_once is not None:
            self._workload = replace(self._workload, is_parallel=at_once > 1, most=at_once)

    @property
    def model(self) -> Model:
        """The weights. When reloading them with fewer layers on the GPU has failed, this tries again and may raise as
        `__init__` does.
        """
        if self._model is None:
            self._model = self._load()
        return self._model

    @property
    def computes_on_cpu(self) -> bool:
        """Whether some layers are on the CPU, so that its threads matter."""
        return self.plan.gpu_layers <= len(self._planner.shape.layers)

    def suits(self, prompt_tokens: int) -> bool:
        """Whether the present context suits a prompt and its reply under the settings. Raises as `context_for`."""
        return self._context is not None and self._suffices(self._context, self._plan_for(prompt_tokens))

    def context_for(self, prompt_tokens: int, before_closing: Callable[[], None] = lambda: None) -> Context:
        """A context for a prompt and its complete reply, as far as the model was trained for and memory allows.

        Keeps the present one if it suits, else closes it, after `before_closing`. Raises UsageError when the settings'
        `ctx` is too long for the model, NotEnoughSpace.
        """
        plan = self._plan_for(prompt_tokens)
        if self._context and self._suffices(self._context, plan):
            return self._context
        before_closing()
        self._close_context()
        self._context = self._create_context(plan)
        return self._context

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
        if self._draft is not None:
            self._draft.close()
        if self._model is not None:
            self._model.close()

    @property
    def _wanted(self) -> Wanted:
        """What should be answered at once."""
        workload = self._workload
        if not workload.is_parallel:
            return Wanted()
        sequences = self._planner.sequences()
        sequences = min(sequences, workload.most or sequences)
        return Wanted(sequences, further=workload.further, shares_prompt=workload.shares_prompt)

    def _plan_for(self, prompt_tokens: int) -> MemoryPlan:
        """The plan for a prompt and its reply; for several at once, with room for longer ones, too, where that fits.

        A new context for one of those would have to wait until all running replies are done.
        """
        wanted, loaded = self._wanted, self.plan.gpu_layers
        if wanted.sequences > 1:
            longer = max(_SHARED_PROMPT, 1 << (prompt_tokens - 1).bit_length())
            up_to = self._planner.context_for(longer)
            plan = self._planner.plan(up_to, loaded=loaded, wanted=replace(wanted, prompt=longer))
            if plan.context > prompt_tokens:
                return plan
        return self._planner.plan_for_prompt(prompt_tokens, loaded=loaded, wanted=wanted)

    def _load(self) -> Model:
        """Loads the weights, with as many layers on the GPU as it accepts."""
        share = self._own_share
        while True:
            placement = self._planner.placement(self.plan)
            try:
                return load_weights(
                    self._path, placement, self._planner, self._stop, lambda done: self._listener.progress(share * done)
                )
            except NotEnoughSpace as exc:
                self._step_down(exc)

    def _load_draft(self, draft: FittedDraft, model: Model) -> None:
        share = self._own_share
        try:
            draft.load(self.plan, model, lambda done: self._listener.progress(share + (1 - share) * done))
        except BaseException:
            self.close()
            raise

    @property
    def _own_share(self) -> float:
        """The model's share of all weights, those of its draft model included."""
        shape = self._planner.shape
        return shape.weights / (shape.weights + (shape.draft.weights if shape.draft else 0))

    def _suffices(self, context: Context, plan: MemoryPlan) -> bool:
        """A context length that the user chose is exact; otherwise a longer one will do."""
        if context.kv_type != plan.kv_type or len(context.sequences) < plan.sequences or context.cells < plan.cells:
            return False
        return context.length == plan.context or (self.settings.ctx is None and context.length > plan.context)

    def _create_context(self, plan: MemoryPlan) -> Context:
        while True:
            params = context_params(plan, self.settings, self._path)
            try:
                context = take_context(self.model, params, self._stop) or Context(self.model, params, self._stop)
            except NotEnoughSpace as exc:
                self._step_down(exc)
                self.model.close()
                self._model = None
                plan = self._planner.plan(plan.context, loaded=self.plan.gpu_layers, wanted=self._wanted)
                continue
            self._make_draft_model(context, plan)
            self.plan = plan
            self._note_refused_layers()
            self.give_notes()
            return context

    def _make_draft_model(self, context: Context, plan: MemoryPlan) -> None:
        if self._draft is None:
            return
        try:
            self.draft_model = self._draft.context_like(context, plan)
        except NotEnoughSpace as exc:
            if self._planner.draft is None or self._planner.draft.is_required:
                context.close()
                raise
            self._draft.close()
            self._draft = None
            self._listener.note(Note(f"{exc}; answering without a draft model", grave=True))
        except BaseException:
            context.close()
            raise

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
        self.draft_model = None
        if self._draft is not None:
            self._draft.close_context()
        if self._context is not None:
            self._context.close()
            self._context = None


def context_params(plan: MemoryPlan, settings: Settings, path: Path) -> ContextParams:
    """What the plan and the settings say about the context of the model at `path`."""
    return ContextParams(
        length=plan.context,
        threads=threads_of(settings, path),
        kv_type=plan.kv_type,
        sequences=plan.sequences,
        cells=plan.cells,
    )


def _fitted_draft(file: DraftFile, planner: MemoryPlanner, stop: Stop) -> FittedDraft:
    from r1.fit.fitted_draft import FittedDraft  # here, because few models have one

    return FittedDraft(file, planner, stop)
