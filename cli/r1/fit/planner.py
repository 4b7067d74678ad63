"""One model on this machine: its memory plan under the current settings, or a refusal that says what would fit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from r1.engine.devices import Device, Placement, connect, devices, select_devices
from r1.engine.draft_model import MOST_PADDING, other_vocabulary
from r1.engine.kv_types import rounded_up
from r1.fit import early_load
from r1.fit.needs import needs
from r1.fit.plan import (
    SHORT,
    FitOptions,
    Machine,
    MemoryPlan,
    explain,
    fit,
    too_large,
    with_less_on_gpu,
    without_full_gpus,
)
from r1.fit.sequences import Wanted, paying_sequences, share
from r1.fit.shape import Shape, shape_of_file
from r1.fit.survey import survey
from r1.machine.cores import Threads, default_threads
from r1.machine.memory import Limit, memory
from r1.settings import Settings
from r1.tuned import threads_for
from r1_quantize.errors import BadGGUF, NotEnoughSpace, UsageError
from r1_quantize.store.store import home

_ONE = Wanted()

_MORE_MEMORY: dict[Limit, str] = {
    "machine": "close other programs",
    "cgroup": "raise the container's memory limit",
    "ulimit": "raise ulimit -v",
}


@dataclass(frozen=True, slots=True)
class Note:
    """A fact about a plan for the user; a `grave` one is also shown when stderr is not a terminal."""

    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class DraftFile:
    """The GGUF of a draft model, and its name for the user.

    `is_required`: it was chosen for this model, and what keeps it from drafting is an error. Such errors begin with
    `named_in`, which says where it was named, if that was not the command line.
    """

    path: Path
    name: str
    is_required: bool = True
    named_in: str = ""


@dataclass(frozen=True, slots=True)
class MemoryPlanner:
    """A model's shape, the machine before the model was loaded, and the settings in force.

    At most `threads` threads compute a batch. `draft`, whose shape is in that of the model, is the draft model.

    `maps`: the file is memory-mapped, so that the system can drop its pages. False where address space is limited,
    because the mapping would use address space in addition to the copy that llama.cpp makes of most of the file.
    """

    name: str
    shape: Shape
    machine: Machine
    settings: Settings
    maps: bool = True
    limit: Limit = "machine"
    threads: int = 1
    draft: DraftFile | None = None

    @classmethod
    def of(cls, path: Path, settings: Settings, name: str, draft: DraftFile | None = None) -> MemoryPlanner:
        """Raises BadGGUF, UsageError (no such device), NetworkError (an RPC server does not answer)."""
        shape = shape_of_file(path)
        if draft:
            with named_in_errors(draft):
                shape = replace(shape, draft=shape_of_file(draft.path))
            if shape.draft and abs(shape.vocabulary - shape.draft.vocabulary) > MOST_PADDING:
                raise other_vocabulary(name, f"{draft.named_in}{draft.name}")  # now, not after both have been loaded
        begun = early_load.claim(path)
        available = begun.memory if begun else memory()
        threads = threads_of(settings, path)
        machine = survey(_devices(settings), available, threads)
        return cls(
            name=name,
            shape=shape,
            machine=without_full_gpus(shape, machine),
            settings=settings,
            maps=not available.address_space,
            limit=available.limit,
            threads=threads.prefill,
            draft=draft,
        )

    def without_draft(self) -> MemoryPlanner:
        """The same model alone."""
        return replace(self, shape=replace(self.shape, draft=None), draft=None)

    def with_settings(self, settings: Settings) -> MemoryPlanner:
        """The same model and machine under other settings. The GPUs stay those selected at first."""
        return replace(self, settings=settings)

    def plan(
        self,
        up_to: int | None = None,
        *,
        loaded: int | None = None,
        wanted: Wanted = _ONE,
    ) -> MemoryPlan:
        """The best plan; a context that the settings leave open is at most `up_to` tokens.

        `loaded` is the number of layers already on the GPU. Where memory is short, the plan is for fewer sequences than
        `wanted`; the settings say how long their replies are, and whether the user asked for so many. Raises UsageError
        when the settings' context exceeds what the model was trained for, NotEnoughSpace when nothing fits.
        """
        self._check_trained()
        options = self._options(up_to, loaded)
        alone = fit(self.shape, self.machine, options)
        if not alone.fits:
            return self._forced(alone)
        return self._shared(alone, options, wanted)

    def plan_for_prompt(self, prompt: int, *, loaded: int, wanted: Wanted = _ONE) -> MemoryPlan:
        """The plan for a prompt of `prompt` tokens and its complete reply, as far as it fits. Raises as `plan`.

        With several sequences `wanted`, others like it are answered at the same time.
        """
        wanted = replace(wanted, prompt=prompt)
        if self.settings.ctx is not None:
            return self.plan(loaded=loaded, wanted=wanted)
        ideal_context = self.context_for(prompt)
        plan = self.plan(ideal_context, loaded=loaded, wanted=wanted)
        if not plan.context <= prompt < self.shape.trained:
            return plan
        if self.settings.force:
            return self.with_settings(replace(self.settings, ctx=ideal_context)).plan(loaded=loaded)
        without = ", leave --draft out" if self.draft else ""
        raise NotEnoughSpace(
            f"the prompt has {prompt:,} tokens, and only {plan.context:,} tokens of context fit "
            f"({self.explain(plan)}); shorten the prompt{without}, or {_MORE_MEMORY[self.limit]}"
        )

    def plan_after_refusal(self, plan: MemoryPlan) -> MemoryPlan:
        """The next plan to try after the GPU has refused `plan`. Raises NotEnoughSpace."""
        options = self._options(plan.wanted, None)
        less = with_less_on_gpu(plan, self.shape, self.machine, options)
        return self._shared(less, options, Wanted(plan.wanted_sequences)) if less.fits else self._forced(less)

    def context_for(self, prompt: int) -> int:
        """Tokens for a prompt of `prompt` tokens and its complete reply, as far as the model was trained for."""
        reply = min(self.settings.max_tokens, self.machine.longest)
        return min(rounded_up(prompt + reply), self.shape.trained)

    def sequences(self) -> int:
        """How many of many prompts to answer at once, if memory allows: what the settings say, else what pays."""
        alone = fit(self.shape, self.machine, self._options(None, None))
        return self.settings.parallel or paying_sequences(self.shape, self.threads, alone.gpu_layers)

    def placement(self, plan: MemoryPlan) -> Placement:
        """Where llama.cpp should put the layers."""
        return self._placement(plan.gpu_layers)

    def draft_placement(self, plan: MemoryPlan) -> Placement:
        """Where it should put those of the draft model."""
        return self._placement(len(self.shape.draft.layers) + 1 if self.shape.draft and plan.draft_on_gpu else 0)

    def _placement(self, layers: int) -> Placement:
        if not layers:
            return Placement()
        gpus = self.machine.gpus
        return Placement(
            devices=tuple(gpu.name for gpu in gpus),
            gpu_layers=layers,
            shares=tuple(float(gpu.free) for gpu in gpus),
        )

    def explain(self, plan: MemoryPlan) -> str:
        """The plan in one line."""
        return explain(plan, self.shape, self.machine)

    def notes(self, plan: MemoryPlan) -> Iterator[Note]:
        """Notes for the user about a plan that gives less than the settings suggest."""
        settings = self.settings
        if self.machine.gpus and settings.device != "auto" and not plan.gpu_layers and settings.gpu_layers is None:
            yield Note(f"no layer fits on the GPU, so the model runs on the CPU: {self.explain(plan)}", grave=True)
        if not plan.fits:
            yield Note(f"{self._too_large(plan)}; trying anyway (--force)", grave=True)
        elif plan.is_short:
            text = f"only {plan.context:,} tokens of context fit, and thinking may need more: {self.explain(plan)}"
            yield Note(text, grave=True)
        elif settings.parallel is not None and plan.sequences < plan.wanted_sequences:
            text = f"memory holds only {plan.sequences} of {plan.wanted_sequences} prompts at once"
            yield Note(f"{text}: {self.explain(plan)}", grave=True)
        elif plan.sequences > 1 and plan.context < plan.wanted:
            text = f"only {plan.context:,} tokens of context fit for each of {plan.sequences} prompts at once"
            yield Note(f"{text}: {self.explain(plan)}")
        elif plan.kv_type == "q8_0" and settings.kv_type is None:
            text = f"{plan.cells:,} tokens of context do not fit in an F16 cache, so the cache is Q8_0"
            yield Note(f"{text}: {self.explain(plan)}")
        if self.draft and self.shape.draft and 2 * self.shape.draft.bytes_per_token > self.shape.bytes_per_token:
            text = f"the draft model {self.draft.name} is too large for {self.name}"
            yield Note(f"{text}: its guesses take longer than they save; choose a smaller one", grave=True)
        if self._drafts_slowly(plan):
            yield Note(f"the draft model does not fit on the GPU, too, and drafts slowly: {self.explain(plan)}")

    def _drafts_slowly(self, plan: MemoryPlan) -> bool:
        """Whether the draft model is in main memory, and the other one completely in faster memory."""
        is_beside = self.draft is not None and not plan.draft_on_gpu and not self.machine.is_one_memory
        return is_beside and plan.gpu_layers > len(self.shape.layers)

    def _options(self, up_to: int | None, loaded: int | None) -> FitOptions:
        settings = self.settings
        return FitOptions(
            context=settings.ctx,
            up_to=None if settings.ctx is not None or up_to is None else min(up_to, self.shape.trained),
            kv_type=settings.kv_type,
            gpu_layers=settings.gpu_layers if loaded is None else loaded,
        )

    def _shared(self, alone: MemoryPlan, options: FitOptions, wanted: Wanted) -> MemoryPlan:
        """The plan for up to as many sequences as `wanted`, where `alone` is the one for one."""
        if wanted.sequences == 1:
            return alone
        settings = self.settings
        wanted = replace(wanted, reply=settings.max_tokens, is_asked=settings.parallel is not None)
        return share(alone, self.shape, self.machine, options, wanted)

    def _too_large(self, plan: MemoryPlan) -> str:
        return too_large(self.name, plan, self.machine, self.draft.name if self.draft else None)

    def _forced(self, plan: MemoryPlan) -> MemoryPlan:
        """With --force, the plan although it does not fit, with a context that is not short; else NotEnoughSpace."""
        if not self.settings.force:
            named_in = self.draft.named_in if self.draft else ""
            raise NotEnoughSpace(f"{named_in}{self._too_large(plan)}; {self._remedy()}")
        context = self.settings.ctx or min(plan.wanted, SHORT)
        gpus = len(self.machine.gpus)
        needed = needs(self.shape, context, plan.kv_type, plan.gpu_layers, gpus, draft_on_gpu=plan.draft_on_gpu)
        return replace(plan, context=context, needs=needed)

    def _check_trained(self) -> None:
        ctx = self.settings.ctx
        if ctx is not None and ctx > self.shape.trained:
            raise UsageError(f"--ctx {ctx} is too long: the model was trained for at most {self.shape.trained} tokens")

    def _remedy(self) -> str:
        """A way to make it fit: no draft model, fewer layers on the GPU, a shorter context, or another model."""
        from r1.fit.recommendation import best_that_fits

        if self.draft and self.without_draft()._fit(self._options(None, None)).fits:
            return "without --draft it would fit"
        ctx, kv_type, gpu_layers = self.settings.ctx, self.settings.kv_type, self.settings.gpu_layers
        if gpu_layers and self._fit(FitOptions(context=ctx, kv_type=kv_type)).fits:
            return "without --gpu-layers r1 uses as many as fit"
        if ctx is not None:
            shorter = self._fit(FitOptions(up_to=ctx, kv_type=kv_type, gpu_layers=gpu_layers))
            if shorter.fits:
                return f"--ctx {shorter.context} --kv-type {shorter.kv_type} would fit"
        try:
            other = best_that_fits(self.machine)
        except (ImportError, MemoryError, OSError):  # it loads gguf and numpy, perhaps where memory is already short
            other = None
        alternative = f"{other} would fit (r1 pull {other}); or " if other else ""
        return f"{alternative}{_MORE_MEMORY[self.limit]}, or try anyway with --force"

    def _fit(self, options: FitOptions) -> MemoryPlan:
        return fit(self.shape, self.machine, options)


def threads_of(settings: Settings, path: Path) -> Threads:
    """The most threads to compute with: those of `fixed_threads`, else the default number."""
    return fixed_threads(settings, path) or default_threads()


def fixed_threads(settings: Settings, path: Path) -> Threads | None:
    """The threads that the settings name, else those tuned for this model on this machine; None lets them vary."""
    return Threads.of(settings.threads) if settings.threads else threads_for(home(os.environ), path)


def _devices(settings: Settings) -> tuple[Device, ...]:
    if settings.rpc:
        connect(settings.rpc)
    return select_devices(settings.device, settings.gpu_layers, devices())


@contextmanager
def named_in_errors(draft: DraftFile) -> Iterator[None]:
    """Errors say that they are about the draft model, which can be left out."""
    try:
        yield
    except BadGGUF as exc:
        text = str(exc).replace("choose another model with -m", "choose another one with --draft")
        raise BadGGUF(f"{draft.named_in}the draft model: {text}") from exc
    except NotEnoughSpace as exc:
        raise NotEnoughSpace(f"{draft.named_in}the draft model: {exc}; or leave --draft out") from exc
