"""Which model to take on this machine: one, and why.

Knows: what makes a model worth waiting for. Does not know: how its memory and speed were found out (`prospects`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from r1.fit.plan import COMFORTABLE
from r1.prospects import FAST, QUANTS, Prospect

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
