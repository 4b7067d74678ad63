"""One model on this machine: settings → the plan that `fit` makes, a refusal that helps, what is to be said of it.

Knows: shapes, surveys, settings. Does not know: llama.cpp's models and contexts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from r1.engine.devices import Device, Placement, chosen, connect, devices
from r1.fit.needs import STEP, needs
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
from r1.fit.shape import Shape, shape_of_file
from r1.fit.survey import survey
from r1.machine.cores import Threads, default_threads
from r1.machine.memory import Limit, memory
from r1.settings import Settings
from r1.tuned import threads_for
from r1_quantize.errors import NotEnoughSpace, UsageError
from r1_quantize.store.store import home


@dataclass(frozen=True, slots=True)
class Note:
    """What of a plan the person should know; one that is `grave` concerns scripts too."""

    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Fitting:
    """A model's shape, and the machine as it was before the model was loaded.

    `maps`: whether the file is to be mapped, so that the system can give up its pages; where address space is limited,
    a mapping would take it up beside the copy that llama.cpp makes of most of it.
    """

    name: str
    shape: Shape
    machine: Machine
    maps: bool
    limit: Limit = "machine"

    @classmethod
    def of(cls, path: Path, settings: Settings, name: str) -> Fitting:
        """Raises BadGGUF, UsageError (no such device), NetworkError (a server that does not answer)."""
        shape = shape_of_file(path)
        now = memory()
        found = survey(_devices(settings), now, threads_of(settings, path))
        return cls(name, shape, without_full_gpus(shape, found), not now.address_space, now.limit)

    def plan(self, settings: Settings, up_to: int | None = None, *, loaded: int | None = None) -> MemoryPlan:
        """For at most `up_to` tokens of context where the settings leave it open, with `loaded` layers on the GPU.

        Raises UsageError when the model was trained for less than is asked for, NotEnoughSpace.
        """
        self._check_trained(settings.ctx)
        plan = fit(self.shape, self.machine, self._wish(settings, up_to, loaded))
        return plan if plan.fits else self._anyway(plan, settings)

    def _anyway(self, plan: MemoryPlan, settings: Settings) -> MemoryPlan:
        """What does not fit, with a context that is not short, if that was asked for. Raises NotEnoughSpace."""
        if not settings.force:
            raise NotEnoughSpace(f"{too_large(self.name, plan, self.machine)}; {self._remedy(settings)}")
        context = settings.ctx or min(plan.wanted, SHORT)
        takes = needs(self.shape, context, plan.kv_type, plan.gpu_layers, len(self.machine.gpus))
        return replace(plan, context=context, needs=takes)

    def with_less_on_gpu(self, plan: MemoryPlan, settings: Settings) -> MemoryPlan:
        """The next best after the GPU has refused `plan`. Raises NotEnoughSpace."""
        less = with_less_on_gpu(plan, self.shape, self.machine, self._wish(settings, plan.wanted, None))
        return less if less.fits else self._anyway(less, settings)

    def context_for(self, prompt: int, settings: Settings) -> int:
        """Tokens that a prompt and its whole reply can take, as far as the model was trained for."""
        reply = min(settings.max_tokens, self.machine.longest)
        return min(-(-(prompt + reply) // STEP) * STEP, self.shape.trained)

    def placement(self, plan: MemoryPlan) -> Placement:
        """Where llama.cpp is to put the layers."""
        if not plan.gpu_layers:
            return Placement()
        gpus = self.machine.gpus
        return Placement(tuple(gpu.name for gpu in gpus), plan.gpu_layers, tuple(float(gpu.free) for gpu in gpus))

    def explain(self, plan: MemoryPlan) -> str:
        """What was chosen, in one line."""
        return explain(plan, self.shape, self.machine)

    def notes(self, plan: MemoryPlan, settings: Settings) -> Iterator[Note]:
        """What of a plan changes what the person gets."""
        if settings.device not in {"auto", "cpu"} and not plan.gpu_layers and settings.gpu_layers is None:
            yield Note(
                f"the GPU has no room for a layer of it, so the processor computes: {self.explain(plan)}", grave=True
            )
        if not plan.fits:
            yield Note(f"{too_large(self.name, plan, self.machine)}; it is tried all the same (--force)", grave=True)
        elif plan.is_short:
            said = f"only {plan.context:,} tokens of context fit, and thinking can be longer: {self.explain(plan)}"
            yield Note(said, grave=True)
        elif plan.kv_type == "q8_0" and settings.kv_type is None:
            said = f"{plan.context:,} tokens of context do not fit in an F16 cache, so Q8_0 it is"
            yield Note(f"{said}: {self.explain(plan)}")

    def _wish(self, settings: Settings, up_to: int | None, loaded: int | None) -> FitOptions:
        layers = settings.gpu_layers if loaded is None else loaded
        up_to = None if settings.ctx is not None or up_to is None else min(up_to, self.shape.trained)
        return FitOptions(settings.ctx, up_to, settings.kv_type, layers)

    def _check_trained(self, ctx: int | None) -> None:
        if ctx is not None and ctx > self.shape.trained:
            raise UsageError(
                f"a context of {ctx} tokens (--ctx): this model was trained for at most {self.shape.trained}"
            )

    def _remedy(self, settings: Settings) -> str:
        """What would fit: less context, fewer layers on the GPU, another model."""
        from r1.fit.choice import best_that_fits

        if settings.gpu_layers and fit(self.shape, self.machine, FitOptions(settings.ctx, None, settings.kv_type)).fits:
            return "without --gpu-layers r1 takes as many as fit"
        if settings.ctx is not None:
            shorter = fit(
                self.shape, self.machine, FitOptions(None, settings.ctx, settings.kv_type, settings.gpu_layers)
            )
            if shorter.fits:
                return f"--ctx {shorter.context} would fit, in a cache of --kv-type {shorter.kv_type}"
        found = best_that_fits(self.machine)
        more = {"machine": "close something", "cgroup": "raise the container's limit", "ulimit": "raise ulimit -v"}
        instead = f"{found} would fit (r1 pull {found}); or " if found else ""
        return f"{instead}{more[self.limit]}, or try anyway with --force"


def threads_of(settings: Settings, path: Path) -> Threads:
    """What was asked for, else what was found to be best for this model here, else as many as are worth having."""
    if settings.threads:
        return Threads.of(settings.threads)
    return threads_for(home(os.environ), path) or default_threads()


def _devices(settings: Settings) -> tuple[Device, ...]:
    if settings.rpc:
        connect(settings.rpc)
    return chosen(settings.device, settings.gpu_layers, devices())
