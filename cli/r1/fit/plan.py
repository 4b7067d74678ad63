"""What fits: a model and a machine → context, KV cache, layers on the GPU. Arithmetic over facts, and nothing else.

Knows: which of the plans that fit is the best. Does not know: how much a plan takes (`needs`), or how the facts were
found out (`r1.fit.shape`, `survey`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from r1.fit.needs import STEP, Needs, needs
from r1.fit.shape import Shape
from r1_quantize import units

LONGEST = 32_768
"""Tokens: what DeepSeek lets R1 generate at most, and the context that is taken where there is room for it."""

COMFORTABLE = 16_384
"""Tokens that are worth more than a few layers on the GPU: most replies of R1 end within them."""

SHORT = 4096
"""Tokens below which a context is said to be short: thinking alone often takes as many."""

_LEAST = 1024  # tokens; with less than that nothing worth having comes about
_KV_TYPES = ("f16", "q8_0")  # in the order in which they are tried


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes that a device has free. One that is `shared` lies in main memory, and what is on it takes room there."""

    name: str
    free: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is. `free` bytes of main memory, of which `margin` are left to others; `longest` tokens of context are
    taken unless more is asked for. `gpus` are those that are to be used."""

    free: int
    margin: int = 0
    gpus: tuple[DeviceMemory, ...] = ()
    longest: int = LONGEST

    @property
    def usable(self) -> int:
        return max(0, self.free - self.margin)

    @property
    def gpu_free(self) -> int:
        """On all GPUs; llama.cpp spreads layers over them as they have room."""
        return sum(gpu.free for gpu in self.gpus)

    @property
    def is_one_memory(self) -> bool:
        """Whether all that the GPUs have lies in main memory."""
        return bool(self.gpus) and all(gpu.shared for gpu in self.gpus)

    def in_main_memory(self, takes: Needs) -> int:
        """Bytes of what is taken that lie there: of that on the GPUs what exceeds those with memory of their own."""
        apart = sum(gpu.free for gpu in self.gpus if not gpu.shared)
        return takes.main + max(0, takes.gpu - apart) if any(gpu.shared for gpu in self.gpus) else takes.main

    def holds(self, takes: Needs) -> bool:
        """Whether there is room for it."""
        return self.in_main_memory(takes) <= self.usable and takes.gpu <= self.gpu_free


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What the person decides; None leaves it to the plan. `context` must be had, `up_to` may come to less."""

    context: int | None = None
    up_to: int | None = None
    kv_type: str | None = None
    gpu_layers: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """`context` tokens in a cache of `kv_type`, `gpu_layers` on the GPU (as llama.cpp counts: the output is one of
    them, and the first to go there). `wanted` is the context that was hoped for."""

    context: int
    kv_type: str
    gpu_layers: int
    needs: Needs
    wanted: int
    fits: bool

    @property
    def is_short(self) -> bool:
        """Whether the context is so short that it is to be said."""
        return self.context < min(SHORT, self.wanted)


def fit(shape: Shape, machine: Machine, wish: FitOptions) -> MemoryPlan:
    """The best that fits; else, with `fits` False, what takes least of what would do.

    Best is, in this order: every layer on the GPU with all of the context, in F16, then in Q8_0; with a comfortable
    context; as many layers on the GPU as leave a comfortable context; no GPU. A cache is made shorter only when Q8_0
    does not suffice.
    """
    plans = list(_Search(shape, machine, wish).plans())
    return next((plan for plan in plans if plan.fits), plans[-1])


def without_full_gpus(shape: Shape, machine: Machine) -> Machine:
    """Without GPUs that have no room for a layer and its buffers: llama.cpp would put something there all the same."""
    gpus = tuple(gpu for gpu in machine.gpus if gpu.free >= needs(shape, SHORT, _KV_TYPES[-1], 2, 1).gpu - shape.output)
    return replace(machine, gpus=gpus)


def with_less_on_gpu(plan: MemoryPlan, shape: Shape, machine: Machine, wish: FitOptions) -> MemoryPlan:
    """The next best after a GPU has refused what should have fitted: half as many layers, in the end none."""
    return fit(shape, machine, replace(wish, gpu_layers=plan.gpu_layers // 2))


@dataclass(frozen=True, slots=True)
class _Search:
    """The plans that are worth trying, the best first."""

    shape: Shape
    machine: Machine
    wish: FitOptions

    @property
    def _wanted(self) -> int:
        return self.wish.context or min(self.wish.up_to or self.machine.longest, self.shape.trained)

    @property
    def _types(self) -> tuple[str, ...]:
        return (self.wish.kv_type,) if self.wish.kv_type else _KV_TYPES

    @property
    def _every_layer(self) -> int:
        return len(self.shape.layers) + 1

    def plans(self) -> Iterator[MemoryPlan]:
        if self.wish.gpu_layers is not None:
            yield from self._with_layers(min(self.wish.gpu_layers, self._every_layer))
            return
        if self.machine.gpus:
            yield from self._with_every_layer()
            if not self.machine.is_one_memory:  # where it is, nothing is gained by leaving layers out
                yield from self._with_some_layers()
        yield from self._with_layers(0)

    def _with_every_layer(self) -> Iterator[MemoryPlan]:
        """On the GPU, if there the context is comfortable; where it is one memory, if it is not short."""
        yield from (self._plan(self._wanted, kv_type, self._every_layer) for kv_type in self._types)
        longest = self._longest(self._types[-1], self._every_layer)
        if longest >= min(self._wanted, SHORT if self.machine.is_one_memory else COMFORTABLE):
            yield self._plan(longest, self._types[-1], self._every_layer)

    def _with_some_layers(self) -> Iterator[MemoryPlan]:
        """As many on the GPU as leave room for a comfortable context; for a short one, where nothing else fits."""
        lengths = (self.wish.context,) if self.wish.context else (COMFORTABLE, SHORT, _LEAST)
        for context in (min(length, self._wanted) for length in lengths):
            most = ((self._most_layers(context, kv_type), kv_type) for kv_type in self._types)
            found = [self._plan(self._longest(kv_type, layers), kv_type, layers) for layers, kv_type in most if layers]
            if found:  # the first of equals is the one in F16
                yield max(found, key=lambda plan: (plan.gpu_layers, plan.context))

    def _with_layers(self, layers: int) -> Iterator[MemoryPlan]:
        """Exactly so many on the GPU: all of the context, else as much as there is room for."""
        yield from (self._plan(self._wanted, kv_type, layers) for kv_type in self._types)
        if self.wish.context is None:
            longest = max(min(_LEAST, self._wanted), self._longest(self._types[-1], layers))
            yield self._plan(longest, self._types[-1], layers)

    def _longest(self, kv_type: str, layers: int) -> int:
        """Tokens of the longest context that fits; 0 when none does. One that was asked for stays as it is."""
        if self.wish.context:
            return self.wish.context
        low, high = 0, -(-self._wanted // STEP)  # what a context takes grows with it: the place is found by halving
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._plan(min(middle * STEP, self._wanted), kv_type, layers).fits
            low, high = (middle, high) if fits else (low, middle - 1)
        return min(low * STEP, self._wanted)

    def _most_layers(self, context: int, kv_type: str) -> int:
        """The most on the GPU, but not all, with which both memories suffice; 0 when there are none."""
        counts = range(len(self.shape.layers), 0, -1)
        return next((count for count in counts if self._plan(context, kv_type, count).fits), 0)

    def _plan(self, context: int, kv_type: str, layers: int) -> MemoryPlan:
        takes = needs(self.shape, context, kv_type, layers, len(self.machine.gpus))
        return MemoryPlan(context, kv_type, layers, takes, self._wanted, self.machine.holds(takes))


def explain(plan: MemoryPlan, shape: Shape, machine: Machine) -> str:
    """What was chosen, what it takes and of how much."""
    chosen = f"{plan.context:,} tokens of context in {_article(plan.kv_type)} cache"
    if not plan.gpu_layers:
        return f"{chosen}: {units.size(plan.needs.main)} of {units.size(machine.free)} free memory"
    every = len(shape.layers) + 1
    layers = "every layer" if plan.gpu_layers >= every else f"{plan.gpu_layers} of {every} layers"
    names = ", ".join(gpu.name for gpu in machine.gpus)
    takes = f"{units.size(plan.needs.gpu)} of {units.size(machine.gpu_free)} free there"
    main = f"{units.size(plan.needs.main)} of {units.size(machine.free)} main memory"
    return f"{chosen}, {layers} on {names}: {takes}, and {main}"


def too_large(name: str, plan: MemoryPlan, machine: Machine) -> str:
    """What is lacking. What to do about it follows, by whoever knows."""
    what = f"{name} with {plan.context:,} tokens of context ({plan.kv_type}) needs"
    room = machine.gpu_free
    if plan.gpu_layers and plan.needs.gpu > room:
        where = f"on {', '.join(gpu.name for gpu in machine.gpus)} for {plan.gpu_layers} layers"
        return f"{what} {units.size(plan.needs.gpu)} {where}, and {units.size(room)} are free"
    needed = machine.in_main_memory(plan.needs)
    kept = f", of which {units.size(machine.margin)} are left to the system" if machine.margin else ""
    if machine.margin >= machine.free:
        kept = f", less than the {units.size(machine.margin)} that threads and the system need beside it"
    return f"{what} {units.size(needed)} of memory, and {units.size(machine.free)} are free{kept}"


def _article(kv_type: str) -> str:
    """`an F16`, `a Q8_0`."""
    return f"{'an' if kv_type[0] in 'fi' else 'a'} {kv_type.upper()}"
