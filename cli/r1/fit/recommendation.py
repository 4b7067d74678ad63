"""Chooses a model: how each checkpoint of the catalogue would run on this machine, and the one to recommend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from r1.engine.devices import Device
from r1.fit.plan import COMFORTABLE, SHORT, FitOptions, Machine, fit
from r1.fit.sequences import MEASURED_GPUS, Wanted, parallel_gain, paying_sequences, share
from r1.fit.shape import TRAINED, Shape, shape_of
from r1.fit.survey import alone, survey
from r1.machine.cores import Threads
from r1.machine.memory import Memory
from r1_quantize import catalog
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import R1Error

CONTEXTS = (4096, 16_384, 32_768)  # tokens
FAST = 4.5  # tokens per second: five, a common reading speed, minus the measurement's error
QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M")
"""The quant types that need no importance matrix, from the least loss to the most."""

_DEFAULT_QUANT = "Q4_K_M"
"""The type to recommend where it fits; more bits gain little and cost speed."""

_BANDWIDTH_SHARE = 0.85
"""The share of the memory bandwidth that decoding uses on a processor: 87 % measured with a 1.5B in Q4_K_M."""

_SHARD_BYTES = 9_000_000_000  # the checkpoints' largest shard; a pull keeps one on disk in addition to the result

Why = Literal["best", "slow", "short", "crowded"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine `now`, and `alone`, with other programs closed.

    `bandwidth` of main memory is in bytes per second, None when not measured. At most `threads` threads compute a
    batch. `gpus_measured`: what several sequences gain on GPUs like these was measured.
    """

    now: Machine
    alone: Machine
    bandwidth: float | None
    threads: int
    gpus_measured: bool = False

    @classmethod
    def of(cls, gpus: Sequence[Device], memory: Memory, bandwidth: float | None, threads: Threads) -> Surroundings:
        """From the GPUs to use, the memory now, its bandwidth, and the threads to compute with."""
        return cls(
            now=survey(gpus, memory, threads),
            alone=alone(gpus, memory),
            bandwidth=bandwidth,
            threads=threads.prefill,
            gpus_measured=all(gpu.backend in MEASURED_GPUS for gpu in gpus),
        )


@dataclass(frozen=True, slots=True)
class Prospect:
    """How a checkpoint in one quant type would run here. `needed` maps tokens of context to bytes.

    `fits_now` is the longest of CONTEXTS that fits, `fits_alone` the same with other programs closed; 0 for none.
    `tokens_per_second` is the expected speed on the processor, None when not measured; with `on_gpu` all layers are on
    a GPU, which is faster. Several samples of one question together decode `parallel_gain` times as many tokens per
    second.
    """

    name: str
    quant: str
    size: int
    needed: Mapping[int, int]
    fits_now: int
    fits_alone: int
    tokens_per_second: float | None
    on_gpu: bool = False
    parallel_gain: float = 1.0
    score: float = 0.0  # AIME 2024, pass@1, percent
    voted_score: float = 0.0  # AIME 2024, cons@64, percent
    disk_to_pull: int = 0  # bytes of disk that a pull needs

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.quant}"

    @property
    def is_fast(self) -> bool:
        """Whether it is fast enough to read along; assumed where the speed is not known."""
        return self.on_gpu or self.tokens_per_second is None or self.tokens_per_second >= FAST


@dataclass(frozen=True, slots=True)
class Recommendation:
    """`why` is the reason for the choice:

    best     the best of the models that are fast enough and have a comfortable context
    slow     no model is fast enough; this one is the fastest
    short    no model has a comfortable context; this one has the most
    crowded  no model fits now; this one would with other programs closed

    `here` is a model of that checkpoint already on this machine; `better` a model that only lacks disk space.
    """

    prospect: Prospect
    why: Why
    here: str | None = None
    better: str | None = None


def shape_of_checkpoint(checkpoint: Checkpoint, quant: str) -> Shape | None:
    """The shape of the GGUF that `r1 pull` would make; None when the catalogue does not say enough.

    Raises UsageError for an unknown quant type.
    """
    # imported here because running a model needs none of these modules
    from r1_quantize.checkpoint.checkpoint_source import outline
    from r1_quantize.plan import extents_of
    from r1_quantize.recipe import recipe_for

    source = outline(checkpoint)
    if source is None:
        return None
    return shape_of(extents_of(source, recipe_for(quant)), checkpoint.context_length or TRAINED)


def prospects(checkpoints: Iterable[Checkpoint], around: Surroundings) -> list[Prospect]:
    """Every checkpoint but the built-in one, in every type of QUANTS; the smallest checkpoint first."""
    downloadable = [checkpoint for checkpoint in checkpoints if not checkpoint.builtin]
    ordered = sorted(downloadable, key=lambda checkpoint: checkpoint.parameters)
    return [prospect for checkpoint in ordered for prospect in _prospects_of(checkpoint, around)]


def _prospects_of(checkpoint: Checkpoint, around: Surroundings) -> Iterator[Prospect]:
    for quant in QUANTS:
        try:
            shape = shape_of_checkpoint(checkpoint, quant)
        except R1Error:  # the user's own models.toml may contain anything
            return
        if shape is not None:
            yield _prospect(checkpoint, quant, shape, around)


def _prospect(checkpoint: Checkpoint, quant: str, shape: Shape, around: Surroundings) -> Prospect:
    plans = {tokens: fit(shape, around.now, FitOptions(context=tokens)) for tokens in CONTEXTS}
    alone = (tokens for tokens in CONTEXTS if fit(shape, around.alone, FitOptions(context=tokens)).fits)
    speed = _BANDWIDTH_SHARE * around.bandwidth / shape.bytes_per_token if around.bandwidth else None
    return Prospect(
        name=checkpoint.name,
        quant=quant,
        size=shape.weights,
        needed={tokens: plan.needs.total for tokens, plan in plans.items()},
        fits_now=max((tokens for tokens, plan in plans.items() if plan.fits), default=0),
        fits_alone=max(alone, default=0),
        tokens_per_second=speed,
        on_gpu=plans[CONTEXTS[0]].gpu_layers > len(shape.layers) and not around.now.is_one_memory,
        parallel_gain=_parallel_gain(shape, around),
        score=checkpoint.aime_pass1 or 0.0,
        voted_score=checkpoint.aime_cons64 or 0.0,
        disk_to_pull=shape.weights + min(_SHARD_BYTES, checkpoint.bf16_bytes),
    )


def _parallel_gain(shape: Shape, around: Surroundings) -> float:
    """Of as many sequences as pay, if they fit; 1 where one alone does not.

    On GPUs of other kinds they count as if on a processor, which gains less.
    """
    options = FitOptions()
    plan = fit(shape, around.now, options)
    if not plan.fits:
        return 1.0
    paying = paying_sequences(shape, around.threads, plan.gpu_layers)
    fitting = share(plan, shape, around.now, options, Wanted(paying)).sequences
    return parallel_gain(fitting, on_gpu=around.gpus_measured and plan.gpu_layers > len(shape.layers))


def recommend(candidates: Iterable[Prospect], here: Collection[str], disk_free: int | None) -> Recommendation | None:
    """The model to use; None when none would fit even with other programs closed.

    `here` are the references of models on this machine; any other needs `disk_free` bytes of disk (None: unknown).
    """
    usual = _usual(candidates)
    stored = {reference.partition(":")[0]: reference for reference in sorted(here, reverse=True)}
    chosen, ideal = _choose(_obtainable(usual, here, disk_free)), _choose(usual)
    if chosen is None:
        return None
    prospect, why = chosen
    better = ideal[0].reference if ideal and ideal[0].name != prospect.name else None
    return Recommendation(prospect, why, here=stored.get(prospect.name), better=better)


def comfortable(candidates: Iterable[Prospect], here: Collection[str], disk_free: int | None) -> list[Prospect]:
    """Each checkpoint that fits now with a comfortable context, once, in the type to recommend; see `recommend`."""
    return _comfortable(_obtainable(_usual(candidates), here, disk_free))


def _usual(candidates: Iterable[Prospect]) -> list[Prospect]:
    """Those in the default type or a smaller one."""
    return [prospect for prospect in candidates if QUANTS.index(prospect.quant) >= QUANTS.index(_DEFAULT_QUANT)]


def _obtainable(candidates: Iterable[Prospect], here: Collection[str], disk_free: int | None) -> list[Prospect]:
    """Those of checkpoints that are here in some type, or can be pulled."""
    names = {reference.partition(":")[0] for reference in here}
    return [p for p in candidates if p.name in names or disk_free is None or p.disk_to_pull <= disk_free]


def _comfortable(candidates: Iterable[Prospect]) -> list[Prospect]:
    return _one_of_each(prospect for prospect in candidates if prospect.fits_now >= COMFORTABLE)


def best_that_fits(machine: Machine) -> str | None:
    """The checkpoint with the best score that fits in some quant type without a short context, as `NAME:QUANT`."""
    for checkpoint in sorted(catalog.load().values(), key=lambda checkpoint: -(checkpoint.aime_pass1 or 0.0)):
        for quant in QUANTS:
            shape = shape_of_checkpoint(checkpoint, quant)
            if shape and (plan := fit(shape, machine, FitOptions())).fits and plan.context >= SHORT:
                return f"{checkpoint.name}:{quant}"
    return None


def _choose(candidates: Sequence[Prospect]) -> tuple[Prospect, Why] | None:
    """The best candidate for the first reason that any candidate meets, and the reason."""
    with_room = _comfortable(candidates)
    choices: list[tuple[Why, Sequence[Prospect], Callable[[Prospect], float]]] = [
        ("best", [p for p in with_room if p.is_fast], lambda p: p.score),
        ("slow", with_room, lambda p: p.tokens_per_second or FAST),
        ("short", [p for p in candidates if p.fits_now], lambda p: -p.needed[p.fits_now]),
        ("crowded", [p for p in candidates if p.fits_alone], lambda p: -p.size),
    ]
    return next(((max(group, key=value), why) for why, group, value in choices if group), None)


def _one_of_each(candidates: Iterable[Prospect]) -> list[Prospect]:
    """Each checkpoint once, in the largest of its types: a smaller type would gain little speed."""
    return list({prospect.name: prospect for prospect in reversed(list(candidates))}.values())
