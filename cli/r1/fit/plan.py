"""The plan that fits best: model and machine → context length, KV cache type, layers on the GPU. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from r1.engine.kv_types import CONTEXT_STEP
from r1.fit.needs import Needs, needs
from r1.fit.shape import Shape
from r1_quantize import units

LONGEST = 32_768
"""Tokens that DeepSeek lets R1 generate at most, and the default context where it fits."""

COMFORTABLE = 16_384
"""A context of this many tokens is worth more than a few layers on the GPU: most of R1's replies end within it."""

SHORT = 4096
"""Thinking alone often takes this many tokens, so the user is warned of a shorter context."""

_SHORTEST = 1024  # tokens; a shorter context is not useful
KV_TYPES = ("f16", "q8_0")
"""The types of a cache that a plan chooses from, in the order tried."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes free on a device. With `shared` the device uses main memory."""

    name: str
    free: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory available: `free` bytes of main memory; `margin` of them are reserved for other programs.

    `gpus` are the GPUs to use. `longest` is the default length of a context, in tokens.
    """

    free: int
    margin: int = 0
    gpus: tuple[DeviceMemory, ...] = ()
    longest: int = LONGEST

    @property
    def usable(self) -> int:
        return max(0, self.free - self.margin)

    @property
    def gpu_free(self) -> int:
        """Bytes free on all GPUs; llama.cpp spreads layers over them in proportion."""
        return sum(gpu.free for gpu in self.gpus)

    @property
    def is_one_memory(self) -> bool:
        """Whether all GPUs use main memory."""
        return bool(self.gpus) and all(gpu.shared for gpu in self.gpus)

    def in_main_memory(self, needs: Needs) -> int:
        """Bytes of `needs` in main memory, including what spills from separate GPUs to those that share it."""
        separate = sum(gpu.free for gpu in self.gpus if not gpu.shared)
        return needs.main + max(0, needs.gpu - separate) if any(gpu.shared for gpu in self.gpus) else needs.main

    def holds(self, needs: Needs) -> bool:
        return self.in_main_memory(needs) <= self.usable and needs.gpu <= self.gpu_free


@dataclass(frozen=True, slots=True)
class FitOptions:
    """The user's choices; None leaves one to the plan. `context` is a requirement, `up_to` only an upper limit."""

    context: int | None = None
    up_to: int | None = None
    kv_type: str | None = None
    gpu_layers: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """`context` tokens in a cache of `kv_type`, with `gpu_layers` layers on the GPU.

    Layers are counted as llama.cpp does: the output is one, and goes to the GPU first. `wanted` is the context that was
    aimed for.

    At most `sequences` sequences share the cache, of the `wanted_sequences` that were asked for. Each of them holds up
    to `context` tokens; the cache has room for that and for `shared` tokens more.

    A draft model, if there is one, has such a cache of its own. With `draft_on_gpu` all of it is on the GPU, else none.
    """

    context: int
    kv_type: str
    gpu_layers: int
    needs: Needs
    wanted: int
    fits: bool
    sequences: int = 1
    wanted_sequences: int = 1
    shared: int = 0
    draft_on_gpu: bool = False

    @property
    def cells(self) -> int:
        """Tokens in the cache."""
        return self.context + self.shared

    @property
    def is_short(self) -> bool:
        """Whether the user should be warned of a short context."""
        return self.context < min(SHORT, self.wanted)


def fit(shape: Shape, machine: Machine, options: FitOptions) -> MemoryPlan:
    """The best plan that fits; else, with `fits` False, the acceptable plan that needs the least memory.

    Best, in this order: every layer on the GPU with the complete context in F16, then in Q8_0; every layer with a
    comfortable context; as many layers as leave a comfortable context; no GPU. The context is shortened only when Q8_0
    is not enough. A draft model is on the GPU where it fits beside every layer, else in main memory.
    """
    plans = list(_Search(shape, machine, options).plans())
    return next((plan for plan in plans if plan.fits), plans[-1])


def without_full_gpus(shape: Shape, machine: Machine) -> Machine:
    """Removes the GPUs that cannot hold a layer and its buffers, because llama.cpp would use them anyway."""
    least = needs(shape, SHORT, KV_TYPES[-1], gpu_layers=2, gpus=1).gpu - shape.output
    return replace(machine, gpus=tuple(gpu for gpu in machine.gpus if gpu.free >= least))


def with_less_on_gpu(plan: MemoryPlan, shape: Shape, machine: Machine, options: FitOptions) -> MemoryPlan:
    """The next plan to try after a GPU has refused `plan`: half as many layers, in the end none."""
    return fit(shape, machine, replace(options, gpu_layers=plan.gpu_layers // 2))


@dataclass(frozen=True, slots=True)
class _Search:
    """The plans worth trying, best first."""

    shape: Shape
    machine: Machine
    options: FitOptions
    draft_on_gpu: bool = False

    @property
    def _wanted(self) -> int:
        return self.options.context or min(self.options.up_to or self.machine.longest, self.shape.trained)

    @property
    def _types(self) -> tuple[str, ...]:
        return (self.options.kv_type,) if self.options.kv_type else KV_TYPES

    @property
    def _every_layer(self) -> int:
        return len(self.shape.layers) + 1

    @property
    def _comfortable(self) -> int:
        """Tokens of context without which not every layer should be on the GPU."""
        return min(self._wanted, SHORT if self.machine.is_one_memory else COMFORTABLE)

    def plans(self) -> Iterator[MemoryPlan]:
        drafting = replace(self, draft_on_gpu=True) if self.shape.draft and self.machine.gpus else None
        if self.options.gpu_layers is not None:
            layers = min(self.options.gpu_layers, self._every_layer)
            if drafting and layers == self._every_layer:
                yield from (plan for plan in drafting._with_layers(layers) if plan.context >= self._comfortable)
            yield from self._with_layers(layers)
            return
        if self.machine.gpus:
            if drafting:
                yield from drafting._with_every_layer()
            yield from self._with_every_layer()
            if not self.machine.is_one_memory:  # there, fewer layers on the GPU would free nothing
                yield from self._with_some_layers()
            if longest := self._longest(self._types[-1], self._every_layer):  # main memory is short, not the GPU's
                yield self._plan(longest, self._types[-1], self._every_layer)
        yield from self._with_layers(0)

    def _with_every_layer(self) -> Iterator[MemoryPlan]:
        """Every layer on the GPU, if the context is then comfortable; with one memory, if it is not short."""
        yield from (self._plan(self._wanted, kv_type, self._every_layer) for kv_type in self._types)
        longest = self._longest(self._types[-1], self._every_layer)
        if longest >= self._comfortable:
            yield self._plan(longest, self._types[-1], self._every_layer)

    def _with_some_layers(self) -> Iterator[MemoryPlan]:
        """As many layers on the GPU as leave a comfortable context; where that does not fit, a short one."""
        lengths = (self.options.context,) if self.options.context else (COMFORTABLE, SHORT, _SHORTEST)
        for context in (min(length, self._wanted) for length in lengths):
            counts = ((self._max_layers(context, kv_type), kv_type) for kv_type in self._types)
            plans = [self._plan(self._longest(kv_type, count), kv_type, count) for count, kv_type in counts if count]
            if plans:  # of equals, max returns the first: the one in F16
                yield max(plans, key=lambda plan: (plan.gpu_layers, plan.context))

    def _with_layers(self, layers: int) -> Iterator[MemoryPlan]:
        """Exactly `layers` layers on the GPU: with the complete context, else as much of it as fits."""
        yield from (self._plan(self._wanted, kv_type, layers) for kv_type in self._types)
        if self.options.context is None:
            longest = max(min(_SHORTEST, self._wanted), self._longest(self._types[-1], layers))
            yield self._plan(longest, self._types[-1], layers)

    def _longest(self, kv_type: str, layers: int) -> int:
        """Tokens of the longest context that fits; 0 when none does. A context the user chose is kept."""
        if self.options.context:
            return self.options.context
        low, high = 0, -(-self._wanted // CONTEXT_STEP)  # memory grows with the context, so bisect
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._plan(min(middle * CONTEXT_STEP, self._wanted), kv_type, layers).fits
            low, high = (middle, high) if fits else (low, middle - 1)
        return min(low * CONTEXT_STEP, self._wanted)

    def _max_layers(self, context: int, kv_type: str) -> int:
        """The largest number of layers on the GPU, fewer than all, that fits; 0 for none."""
        counts = range(len(self.shape.layers), 0, -1)
        return next((count for count in counts if self._plan(context, kv_type, count).fits), 0)

    def _plan(self, context: int, kv_type: str, layers: int) -> MemoryPlan:
        gpus = len(self.machine.gpus)
        needed = needs(self.shape, context, kv_type, layers, gpus, draft_on_gpu=self.draft_on_gpu)
        return MemoryPlan(
            context=context,
            kv_type=kv_type,
            gpu_layers=layers,
            needs=needed,
            wanted=self._wanted,
            fits=self.machine.holds(needed),
            draft_on_gpu=self.draft_on_gpu,
        )


def explain(plan: MemoryPlan, shape: Shape, machine: Machine) -> str:
    """The plan in one line: what it is, how much memory it needs, and how much is free."""
    cache = f"{plan.context:,} tokens of context in {_article(plan.kv_type)} cache"
    if plan.sequences > 1:
        each = f"up to {plan.context:,} tokens for each of {plan.sequences} prompts"
        cache = f"{each}, in {_article(plan.kv_type)} cache of {plan.cells:,}"
    if shape.draft:
        cache += ", and a draft model with the same"
    if not plan.gpu_layers:
        return f"{cache}: {units.size(plan.needs.main)} of {units.size(machine.free)} free memory"
    total = len(shape.layers) + 1
    layers = "every layer" if plan.gpu_layers >= total else f"{plan.gpu_layers} of {total} layers"
    if shape.draft:
        layers = f"{layers} of both" if plan.draft_on_gpu else f"{layers} of the model"
    names = ", ".join(gpu.name for gpu in machine.gpus)
    gpu = f"{units.size(plan.needs.gpu)} of {units.size(machine.gpu_free)} free GPU memory"
    main = f"{units.size(plan.needs.main)} of {units.size(machine.free)} free main memory"
    return f"{cache}, {layers} on {names}: {gpu}, {main}"


def too_large(name: str, plan: MemoryPlan, machine: Machine, draft: str | None = None) -> str:
    """How much memory the plan needs and how much is free; the caller adds what to do about it. `name` is that of the
    model, `draft` that of its draft model.
    """
    beside = "" if draft is None else f" and the draft model {draft}"
    subject = f"{name} with {plan.context:,} tokens of context ({plan.kv_type}){beside} needs"
    gpu_free = machine.gpu_free
    if plan.gpu_layers and plan.needs.gpu > gpu_free:
        names = ", ".join(gpu.name for gpu in machine.gpus)
        needed = f"{units.size(plan.needs.gpu)} on {names} for {plan.gpu_layers} layers"
        return f"{subject} {needed}, and {units.size(gpu_free)} are free"
    margin = f", {units.size(machine.margin)} of them reserved for other programs" if machine.margin else ""
    if machine.margin >= machine.free:
        margin = f", less than the {units.size(machine.margin)} that threads and other programs need"
    needed = units.size(machine.in_main_memory(plan.needs))
    return f"{subject} {needed} of memory, and {units.size(machine.free)} are free{margin}"


def _article(kv_type: str) -> str:
    """`an F16`, `a Q8_0`."""
    return f"{'an' if kv_type[0] in 'fi' else 'a'} {kv_type.upper()}"
