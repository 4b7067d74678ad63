"""Does a pull fit on the disk, and if not, what would?

Knows: what has to lie on the disk at the same time. Does not know: how anything comes there.
"""

from __future__ import annotations

from collections.abc import Sequence

from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.errors import BadFile, NotEnoughRoom
from r1_quantize.events import FilePlan, PullPlan
from r1_quantize.plan import recipe_needs_imatrix, size_of
from r1_quantize.recipe import RECIPES
from r1_quantize.store.store import Store

_MARGIN = 1_000_000  # bytes for journals, manifests and what a file system needs itself
_TWO_SHARDS = 18_000_000_000  # bytes that two shards of a checkpoint take at most, before anybody asks the hub
_VOCABULARY = 8_000_000  # bytes that a vocabulary takes at most, of which the catalogue says nothing


def at_once_and_peak(files: Sequence[FilePlan], result: int, free: int, *, keep: bool) -> tuple[int, int]:
    """How many shards may lie on the disk together, and the bytes that with them and the result are taken at most."""
    to_come = sorted((file.size - file.here for file in files if file.here < file.size), reverse=True)
    if keep:
        return len(files), result + sum(to_come)
    at_once = 2 if result + sum(to_come[:2]) + _MARGIN <= free else 1
    return at_once, result + sum(to_come[:at_once])


def check_room(plan: PullPlan, checkpoint: Checkpoint | None, store: Store, *, made: bool) -> None:
    """Raises NotEnoughRoom, with what would fit; `made` says that the result is made here, not fetched."""
    if plan.peak + _MARGIN <= plan.free:
        return
    missing = units.size(plan.peak + _MARGIN - plan.free)
    raise NotEnoughRoom(
        f"{plan.reference} takes {units.size(plan.peak)} of the disk while it is made, {units.size(plan.free)} are "
        f"free in {store.root}: {missing} are missing; {_what_fits(plan, checkpoint, store, made=made)}"
    )


def _what_fits(plan: PullPlan, checkpoint: Checkpoint | None, store: Store, *, made: bool) -> str:
    """Another type, or a smaller checkpoint."""
    if checkpoint and (quant := _largest(checkpoint, plan.free - (plan.peak - plan.result))):
        return f"{checkpoint.name}:{quant} would fit"
    if checkpoint and checkpoint.prebuilt and made and plan.result + _MARGIN <= plan.free:
        return "--prebuilt would fit, which takes a GGUF that others made"
    for smaller in sorted(store.catalogue.values(), key=lambda known: -known.parameters):
        is_smaller = checkpoint is None or smaller.parameters < checkpoint.parameters
        if is_smaller and (quant := _largest(smaller, plan.free - min(_TWO_SHARDS, smaller.bf16_bytes))):
            return f"{smaller.name}:{quant} would fit"
    return "no checkpoint of the catalogue would fit"


def _largest(checkpoint: Checkpoint, room: int) -> str | None:
    """The type with which a checkpoint of the catalogue takes as much of the room as it can."""
    try:
        source = outline(checkpoint)
    except BadFile:  # a catalogue of one's own may say anything
        return None
    if source is None:
        return None
    quants = (recipe for recipe in RECIPES.values() if recipe.quantized and not recipe_needs_imatrix(source, recipe))
    sizes = [(size_of(source, recipe)[0] + _VOCABULARY + _MARGIN, recipe.name) for recipe in quants]
    return max(((size, name) for size, name in sizes if size <= room), default=(0, None))[1]
