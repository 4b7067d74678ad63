"""The disk space that a pull needs, and suggestions when there is too little."""

from __future__ import annotations

from collections.abc import Sequence

from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.errors import BadFile, NotEnoughSpace
from r1_quantize.events import FilePlan, PullPlan
from r1_quantize.plan import recipe_needs_imatrix, size_of
from r1_quantize.recipe import RECIPES
from r1_quantize.store.store import Store

_MARGIN_BYTES = 1_000_000  # for journals, manifests and the file system itself
_MAX_TWO_SHARDS_BYTES = 18_000_000_000  # of any checkpoint in the catalogue, before its listing is known
_MAX_VOCABULARY_BYTES = 8_000_000  # the catalogue does not list the size of a vocabulary


def shards_and_peak(files: Sequence[FilePlan], result: int, free: int, *, keep: bool) -> tuple[int, int]:
    """How many shards may be on the disk at once, and the peak disk use in bytes with these and the result."""
    missing = sorted((file.size - file.here for file in files if file.here < file.size), reverse=True)
    if keep:
        return len(files), result + sum(missing)
    at_once = 2 if result + sum(missing[:2]) + _MARGIN_BYTES <= free else 1
    return at_once, result + sum(missing[:at_once])


def check_disk_space(plan: PullPlan, checkpoint: Checkpoint | None, store: Store, *, quantizing: bool) -> None:
    """Raises NotEnoughSpace, with a suggestion. `quantizing`: the result is made here rather than downloaded."""
    needed = plan.peak + _MARGIN_BYTES
    if needed <= plan.free:
        return
    raise NotEnoughSpace(
        f"{plan.reference} needs {units.size(plan.peak)} of disk space while it is made, {units.size(plan.free)} are "
        f"free in {store.root}, {units.size(needed - plan.free)} are missing; "
        f"{_suggestion(plan, checkpoint, store, quantizing=quantizing)}"
    )


def _suggestion(plan: PullPlan, checkpoint: Checkpoint | None, store: Store, *, quantizing: bool) -> str:
    """Another type, the ready-made GGUF, or a smaller checkpoint."""
    if checkpoint and (quant := _largest_type(checkpoint, plan.free - (plan.peak - plan.result))):
        return f"{checkpoint.name}:{quant} would fit"
    if checkpoint and checkpoint.prebuilt and quantizing and plan.result + _MARGIN_BYTES <= plan.free:
        return f"r1 pull {checkpoint.name} --prebuilt, which downloads a ready-made GGUF, would fit"
    for smaller in sorted(store.catalogue.values(), key=lambda known: -known.parameters):
        is_smaller = checkpoint is None or smaller.parameters < checkpoint.parameters
        if is_smaller and (quant := _largest_type(smaller, plan.free - min(_MAX_TWO_SHARDS_BYTES, smaller.bf16_bytes))):
            return f"{smaller.name}:{quant} would fit"
    return "no checkpoint of the catalogue would fit"


def _largest_type(checkpoint: Checkpoint, available: int) -> str | None:
    """The largest type of a catalogue's checkpoint that fits in `available` bytes."""
    try:
        source = outline(checkpoint)
    except BadFile:  # a user's own catalogue may be wrong
        return None
    if source is None:
        return None
    recipes = (recipe for recipe in RECIPES.values() if recipe.quantized and not recipe_needs_imatrix(source, recipe))
    overhead = _MAX_VOCABULARY_BYTES + _MARGIN_BYTES
    sizes = [(size_of(source, recipe)[0] + overhead, recipe.name) for recipe in recipes]
    return max(((size, name) for size, name in sizes if size <= available), default=(0, None))[1]
