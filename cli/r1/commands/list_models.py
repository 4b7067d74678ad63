"""`r1 list`: what is here, and what can be had.

Knows: the columns. Does not know: how models are stored.
"""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table
from rich.text import Text

from r1.console import Console
from r1.library import open_store
from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import ExitStatus
from r1_quantize.store.store import Holding, Store, StoredModel

_WIDE = 60  # columns, from which on licences fit beside the rest
_NUMBERS = {"size", "parameters", "AIME 2024"}


def list_models(console: Console, *, as_json: bool) -> ExitStatus:
    """A table for people; name, bytes and path, tabs between, for scripts; everything as JSON."""
    store = open_store(console.environ)
    if as_json:
        console.out(json.dumps(_facts(store), indent=2, ensure_ascii=False) + "\n")
    elif console.stdout_is_terminal:
        _print_tables(console, store)
    else:
        console.out("".join(f"{model.reference}\t{model.size}\t{model.path}\n" for model in store.models()))
    return ExitStatus.OK


def _facts(store: Store) -> dict[str, Any]:
    here = [
        {
            "reference": model.reference,
            "name": model.name,
            "quant": model.quant,
            "bytes": model.size,
            "path": str(model.path),
            "source": model.manifest.source if model.manifest else None,
        }
        for model in store.models()
    ]
    known = [
        {
            "name": checkpoint.name,
            "title": checkpoint.title,
            "repo": checkpoint.repo,
            "architecture": checkpoint.architecture,
            "parameters": checkpoint.parameters,
            "licences": list(checkpoint.licences),
            "default_quant": checkpoint.default_quant,
            "aime_pass1": checkpoint.aime_pass1,
            "aime_cons64": checkpoint.aime_cons64,
        }
        for checkpoint in store.catalogue.values()
    ]
    unfinished = [{"reference": item.reference, "bytes": item.size} for item in store.unfinished()]
    checkpoints = [{"repo": item.reference, "bytes": item.size, "whole": item.whole} for item in store.checkpoints()]
    return {"here": here, "unfinished": unfinished, "checkpoints": checkpoints, "known": known}


def _print_tables(console: Console, store: Store) -> None:
    from rich.console import Console as RichConsole

    rich = RichConsole(file=console.stdout, highlight=False)
    models, beside = store.models(), [*store.unfinished(), *store.checkpoints()]
    here = {model.name for model in models}
    missing = [checkpoint for checkpoint in store.catalogue.values() if checkpoint.name not in here]
    built_in = [checkpoint.name for checkpoint in missing if checkpoint.builtin]
    if models or built_in:
        rich.print(_here(models, built_in))
    if beside:
        rich.print(_beside(beside))
    rich.print(_known([checkpoint for checkpoint in missing if not checkpoint.builtin], wide=rich.width >= _WIDE))


def _here(models: list[StoredModel], built_in: list[str]) -> Table:
    table = _table("on this machine", "size", "from")
    for model in models:
        source = model.manifest.source if model.manifest else "?"
        table.add_row(model.reference, units.size(model.size), Text(source))
    for name in built_in:
        table.add_row(name, "", "built in")
    return table


def _beside(holdings: list[Holding]) -> Table:
    """What takes room and is no model: r1 rm removes it, r1 pull goes on with it."""
    table = _table("beside", "size", "what it is")
    for item in holdings:
        half_made = "half-made" if ":" in item.reference else "of a pull that was stopped"
        table.add_row(item.reference, units.size(item.size), "checkpoint, kept" if item.whole else half_made)
    return table


def _known(checkpoints: list[Checkpoint], *, wide: bool) -> Table:
    table = _table("to pull", "parameters", "AIME 2024", *(["base model's licence"] if wide else []))
    for checkpoint in checkpoints:
        score = f"{checkpoint.aime_pass1} %" if checkpoint.aime_pass1 else ""
        licence = [Text(checkpoint.licences[-1])] if wide else []
        table.add_row(checkpoint.name, units.parameters(checkpoint.parameters), score, *licence)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name in _NUMBERS)
    return table
