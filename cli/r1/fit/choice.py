"""What each checkpoint of the catalogue would be like on this machine, type by type.

Knows: which types are worth naming, how decoding speed follows from memory bandwidth. Does not know: how much memory a
model takes (`engine.fit`), or what is recommended (`recommendation`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from r1.engine.devices import Device
from r1.fit.plan import COMFORTABLE, SHORT, FitOptions, Machine, fit
from r1.fit.shape import Shape, shape_of_checkpoint
from r1.fit.survey import alone, survey
from r1.machine.memory import Memory
from r1_quantize import catalog
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import R1Error

CONTEXTS = (4096, 16_384, 32_768)  # tokens
FAST = 4.5  # tokens a second: five, at which many people read, less what a measurement may be off by
QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M")
"""Types that need no importance matrix, each with less loss than the next."""

_REACHED = 0.85
"""The share of the memory bandwidth that decoding reaches on a processor: 87 % of it with a 1.5B in Q4_K_M."""

_SHARD = 9_000_000_000  # bytes: the largest of the checkpoints' shards, one of which lies beside what is made of it


@dataclass(frozen=True, slots=True)
class Prospect:
    """A checkpoint in one type. Bytes and tokens; `needed` is by tokens of context.

    `fits_now` is the longest of CONTEXTS for which there is memory, `fits_alone` the same if other programs were
    closed; 0 for none. `tokens_per_second` is what the processor would come to, None where that was not measured; with
    `on_gpu` all layers go to a GPU, which is faster.
    """

    name: str
    quant: str
    size: int
    needed: Mapping[int, int]
    fits_now: int
    fits_alone: int
    tokens_per_second: float | None
    on_gpu: bool = False
    score: float = 0.0  # AIME 2024, pass@1, percent
    room_to_pull: int = 0  # bytes of the disk, while it is made

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.quant}"

    @property
    def is_fast(self) -> bool:
        """Whether waiting for it is no pain; what nobody measured is given the benefit of the doubt."""
        return self.on_gpu or self.tokens_per_second is None or self.tokens_per_second >= FAST


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What it is to run on: the machine as it is `now`, and `alone`, when other programs are closed. `bandwidth` in
    bytes a second, None when it was not measured."""

    now: Machine
    alone: Machine
    bandwidth: float | None

    @classmethod
    def of(cls, gpus: Sequence[Device], memory: Memory, bandwidth: float | None) -> Surroundings:
        """With the GPUs that are to be used."""
        return cls(survey(gpus, memory), alone(gpus, memory), bandwidth)


def prospects(known: Iterable[Checkpoint], around: Surroundings) -> list[Prospect]:
    """Every checkpoint in every type of QUANTS, the smallest checkpoint first; the built-in one is not asked about."""
    ordered = sorted((one for one in known if not one.builtin), key=lambda checkpoint: checkpoint.parameters)
    return [found for checkpoint in ordered for found in _of(checkpoint, around)]


def _of(checkpoint: Checkpoint, around: Surroundings) -> Iterator[Prospect]:
    for quant in QUANTS:
        try:
            shape = shape_of_checkpoint(checkpoint, quant)
        except R1Error:  # a catalogue of one's own may say anything
            return
        if shape is not None:
            yield _prospect(checkpoint, quant, shape, around)


def _prospect(checkpoint: Checkpoint, quant: str, shape: Shape, around: Surroundings) -> Prospect:
    plans = {tokens: fit(shape, around.now, FitOptions(context=tokens)) for tokens in CONTEXTS}
    alone = (tokens for tokens in CONTEXTS if fit(shape, around.alone, FitOptions(context=tokens)).fits)
    speed = _REACHED * around.bandwidth / shape.bytes_per_token if around.bandwidth else None
    return Prospect(
        name=checkpoint.name,
        quant=quant,
        size=shape.weights,
        needed={tokens: plan.needs.total for tokens, plan in plans.items()},
        fits_now=max((tokens for tokens, plan in plans.items() if plan.fits), default=0),
        fits_alone=max(alone, default=0),
        tokens_per_second=speed,
        on_gpu=plans[CONTEXTS[0]].gpu_layers > len(shape.layers) and not around.now.is_one_memory,
        score=checkpoint.aime_pass1 or 0.0,
        room_to_pull=shape.weights + min(_SHARD, checkpoint.bf16_bytes),
    )


Why = Literal["best", "slow", "short", "crowded"]

_USUAL = "Q4_K_M"
"""The type to take where there is room for it; more bits gain little, and cost speed."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """`why` says in what respect it is the choice:

    best     the best of those with room for a comfortable context that are fast enough
    slow     none of those is fast enough; it is the fastest
    short    no model has room for a comfortable context; this one has the most
    crowded  none fits now; it would if other programs were closed

    `here` is a model of that checkpoint that is on this machine already; `better` one that only the disk has no room
    for.
    """

    prospect: Prospect
    why: Why
    here: str | None = None
    better: str | None = None


def recommend(found: Iterable[Prospect], here: Collection[str], disk_free: int | None) -> Recommendation | None:
    """None when no model would fit even if all other programs were closed.

    `here` are the references of models on this machine; for any other there must be `disk_free` bytes (None: unknown).
    """
    usual = [prospect for prospect in found if QUANTS.index(prospect.quant) >= QUANTS.index(_USUAL)]
    have = {reference.partition(":")[0]: reference for reference in sorted(here, reverse=True)}
    able = [p for p in usual if p.name in have or disk_free is None or p.room_to_pull <= disk_free]
    chosen, ideal = _choose(able), _choose(usual)
    if chosen is None:
        return None
    prospect, why = chosen
    better = ideal[0].reference if ideal and ideal[0].name != prospect.name else None
    return Recommendation(prospect, why, have.get(prospect.name), better)


def _choose(among: Sequence[Prospect]) -> tuple[Prospect, Why] | None:
    """The first of these that there is."""
    comfortable = _one_each(prospect for prospect in among if prospect.fits_now >= COMFORTABLE)
    choices: list[tuple[Why, Sequence[Prospect], Callable[[Prospect], float]]] = [
        ("best", [p for p in comfortable if p.is_fast], lambda p: p.score),
        ("slow", comfortable, lambda p: p.tokens_per_second or FAST),
        ("short", [p for p in among if p.fits_now], lambda p: -p.needed[p.fits_now]),
        ("crowded", [p for p in among if p.fits_alone], lambda p: -p.size),
    ]
    return next(((max(those, key=worth), why) for why, those, worth in choices if those), None)


def _one_each(those: Iterable[Prospect]) -> list[Prospect]:
    """Each checkpoint in the first of its types. Smaller ones are for want of memory; they are little faster."""
    return list({prospect.name: prospect for prospect in reversed(list(those))}.values())


def best_that_fits(machine: Machine) -> str | None:
    """The best checkpoint, by its score, of which some type has room for a context that is not short, and that type."""
    known = sorted(catalog.load().values(), key=lambda checkpoint: -(checkpoint.aime_pass1 or 0.0))
    for checkpoint in known:
        for quant in QUANTS:
            shape = shape_of_checkpoint(checkpoint, quant)
            if shape and (plan := fit(shape, machine, FitOptions())).fits and plan.context >= SHORT:
                return f"{checkpoint.name}:{quant}"
    return None
