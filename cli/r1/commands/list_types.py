"""`r1 quantize --list-types`: what each type would make of a model, before anything large is read.

Knows: the columns. Does not know: how sizes follow from types (`r1_quantize.plan`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from r1.commands.quantize import find_source
from r1.console import Console
from r1.library import open_store
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
    """What one type makes of a model. `bytes` is the size of the file."""

    type: str
    bits_per_weight: float
    bytes: int
    needs_imatrix: bool


def list_types(console: Console, name: str, *, as_json: bool) -> ExitStatus:
    """A table for people; type, bits a weight, bytes and `imatrix` or nothing, tabs between, for scripts; or JSON."""
    store = open_store(console.environ)
    source, whole = _source(store, name)
    facts = [_facts(source, type_) for type_ in RECIPES]
    if as_json:
        known = {"source": name, "includes_vocabulary": whole, "types": [asdict(fact) for fact in facts]}
        console.out(json.dumps(known, indent=2) + "\n")
    elif console.stdout_is_terminal:
        _print_table(console, name, facts, whole=whole)
    else:
        console.out("".join(map(_line, facts)))
    return ExitStatus.OK


def _source(store: Store, name: str) -> tuple[Source, bool]:
    """What is on this disk; else, with False, what the catalogue says, which knows no vocabularies."""
    try:
        found = find_source(store, name)
    except ModelNotFound:
        known = store.catalogue.get(name)
        sketched = outline(known) if known else None
        if sketched is None:
            raise
        return sketched, False
    return open_source(found.path, found.name, found.checkpoint), True


def _facts(source: Source, name: str) -> TypeFacts:
    size, bits = size_of(source, RECIPES[name])
    return TypeFacts(name, round(bits, 2), size, recipe_needs_imatrix(source, RECIPES[name]))


def _line(fact: TypeFacts) -> str:
    return f"{fact.type}\t{fact.bits_per_weight}\t{fact.bytes}\t{'imatrix' if fact.needs_imatrix else ''}\n"


def _print_table(console: Console, name: str, facts: list[TypeFacts], *, whole: bool) -> None:
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("type", no_wrap=True)
    table.add_column("bits/weight", justify="right", no_wrap=True)
    table.add_column("size" if whole else "about", justify="right", no_wrap=True)
    table.add_column("needs", no_wrap=True)
    for fact in facts:
        needs = "--imatrix" if fact.needs_imatrix else ""
        table.add_row(fact.type, f"{fact.bits_per_weight:.2f}", units.size(fact.bytes), needs)
    console.out(f"{name}\n")
    RichConsole(file=console.stdout, highlight=False).print(table)
