"""`r1 quantize --list-types`: the size of a model in each quantization type, before anything large is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from r1.console import Column, Console
from r1.library import find_source, open_store
from r1_quantize import units
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.errors import ExitStatus, ModelNotFound
from r1_quantize.pipeline import open_source
from r1_quantize.plan import recipe_needs_imatrix, size_of
from r1_quantize.recipe import RECIPES
from r1_quantize.source import Source
from r1_quantize.store.store import Store


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """A model in one quantization type. `bytes` is the size of the file."""

    type: str
    bits_per_weight: float
    bytes: int
    needs_imatrix: bool


def list_types(console: Console, name: str, *, as_json: bool) -> ExitStatus:
    """A table on a terminal; type, bits per weight, bytes and `imatrix` or nothing, tab-separated, in a pipe; or JSON.

    Raises as `find_source`, unless the catalogue knows enough about the model.
    """
    source, has_vocabulary = _source(open_store(console.environ), name)
    facts = [_facts(source, quant) for quant in RECIPES]
    if as_json:
        types = [asdict(fact) for fact in facts]
        console.json({"source": name, "includes_vocabulary": has_vocabulary, "types": types})
    else:
        _print(console, name, facts, exact=has_vocabulary)
    return ExitStatus.OK


def _source(store: Store, name: str) -> tuple[Source, bool]:
    """The source on this disk and True; else an outline from the catalogue, without a vocabulary, and False."""
    try:
        local = find_source(store, name)
    except ModelNotFound:
        known = store.catalogue.get(name)
        from_catalogue = outline(known) if known else None
        if from_catalogue is None:
            raise
        return from_catalogue, False
    return open_source(local.path, local.name, local.checkpoint), True


def _facts(source: Source, quant: str) -> TypeFacts:
    recipe = RECIPES[quant]
    size, bits = size_of(source, recipe)
    return TypeFacts(
        type=quant,
        bits_per_weight=round(bits, 2),
        bytes=size,
        needs_imatrix=recipe_needs_imatrix(source, recipe),
    )


def _print(console: Console, name: str, facts: list[TypeFacts], *, exact: bool) -> None:
    if console.stdout_is_terminal:
        console.out(f"{name}\n")
    header = (
        Column("type", wrap=False),
        Column("bits/weight", number=True),
        Column("size" if exact else "about", number=True),
        Column("needs", wrap=False),
    )
    console.table(header, map(_row, facts), shown=map(_shown_row, facts))


def _row(fact: TypeFacts) -> tuple[object, ...]:
    return fact.type, fact.bits_per_weight, fact.bytes, "imatrix" if fact.needs_imatrix else ""


def _shown_row(fact: TypeFacts) -> tuple[str, ...]:
    needs = "--imatrix" if fact.needs_imatrix else ""
    return fact.type, f"{fact.bits_per_weight:.2f}", units.size(fact.bytes), needs
