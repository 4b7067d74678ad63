"""`r1 list`: the models on this machine and the ones to pull."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from r1.console import Column, Console
from r1.library import open_store
from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import ExitStatus
from r1_quantize.store.model import StoredModel
from r1_quantize.store.removable import Removable
from r1_quantize.store.store import Store

_WIDE = 60  # columns; from here on the table of models to pull has a column for licences

_HERE = (Column("on this machine"), Column("size", number=True), Column("from"))
_LEFTOVERS = (Column("also on disk"), Column("size", number=True), Column("what it is"))
_TO_PULL = (Column("to pull"), Column("parameters", number=True), Column("AIME 2024", number=True))


def list_models(console: Console, *, as_json: bool) -> ExitStatus:
    """Tables on a terminal; name, bytes and path of each model, tab-separated, in a pipe; everything as JSON."""
    store = open_store(console.environ)
    if as_json:
        console.json(_facts(store))
    else:
        _print(console, store)
    return ExitStatus.OK


def _facts(store: Store) -> dict[str, Any]:
    return {
        "here": [_model_facts(model) for model in store.models()],
        "unfinished": [{"reference": item.reference, "bytes": item.size} for item in store.unfinished()],
        "checkpoints": [
            {"repo": item.reference, "bytes": item.size, "whole": item.is_complete} for item in store.checkpoints()
        ],
        "known": [_checkpoint_facts(checkpoint) for checkpoint in store.catalogue.values()],
    }


def _model_facts(model: StoredModel) -> dict[str, Any]:
    return {
        "reference": model.reference,
        "name": model.name,
        "quant": model.quant,
        "bytes": model.size,
        "path": str(model.path),
        "source": model.manifest.source if model.manifest else None,
    }


def _checkpoint_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
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


def _print(console: Console, store: Store) -> None:
    """Prints the models on this machine, other disk use, and the models to pull; a pipe gets only the first part."""
    models = store.models()
    present = {model.name for model in models}
    missing = [checkpoint for checkpoint in store.catalogue.values() if checkpoint.name not in present]
    built_in = [(checkpoint.name, "", "built in") for checkpoint in missing if checkpoint.builtin]
    rows = [(model.reference, model.size, model.path) for model in models]
    console.table(_HERE, rows, shown=[*map(_model_row, models), *built_in])
    if not console.stdout_is_terminal:
        return
    console.table(_LEFTOVERS, map(_leftover_row, [*store.unfinished(), *store.checkpoints()]))
    _print_missing(console, (checkpoint for checkpoint in missing if not checkpoint.builtin))


def _model_row(model: StoredModel) -> tuple[str, ...]:
    return model.reference, units.size(model.size), model.manifest.source if model.manifest else "?"


def _leftover_row(item: Removable) -> tuple[str, ...]:
    """A kept checkpoint or an unfinished download: r1 rm removes it, r1 pull resumes it."""
    interrupted = "unfinished" if ":" in item.reference else "from an interrupted pull"
    return item.reference, units.size(item.size), "kept checkpoint" if item.is_complete else interrupted


def _print_missing(console: Console, checkpoints: Iterable[Checkpoint]) -> None:
    with_licence = console.rich().width >= _WIDE
    header = (*_TO_PULL, Column("base model's licence")) if with_licence else _TO_PULL
    console.table(header, (_checkpoint_row(checkpoint)[: len(header)] for checkpoint in checkpoints))


def _checkpoint_row(checkpoint: Checkpoint) -> tuple[str, ...]:
    score = f"{checkpoint.aime_pass1} %" if checkpoint.aime_pass1 else ""
    return checkpoint.name, units.parameters(checkpoint.parameters), score, "".join(checkpoint.licences[-1:])
