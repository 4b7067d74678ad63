"""`r1 list`: the models on this machine and the ones to pull."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from r1.console import Column, Console
from r1.library import full_name, open_store
from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import ExitStatus, ModelNotFound, UsageError
from r1_quantize.store.model import StoredModel
from r1_quantize.store.removable import Removable
from r1_quantize.store.store import Store

_WIDE = 60  # columns; from here on the table of models to pull has a column for licences
_WIDER = 100  # columns; from here on the table of models here has their scores

_SCORES = (Column("pass@1", number=True), Column("cons@64", number=True))
_SCORES_LEGEND = "pass@1, cons@64: AIME 2024 as published, one answer and the majority of 64."
_HERE = (Column("on this machine"), Column("size", number=True), Column("from"))
_LEFTOVERS = (Column("also on disk"), Column("size", number=True), Column("what it is"))
_TO_PULL = (Column("to pull"), Column("parameters", number=True), *_SCORES)


def list_models(console: Console, *, as_json: bool) -> ExitStatus:
    """Tables on a terminal; name, bytes and path of each model, tab-separated, in a pipe; everything as JSON."""
    store = open_store(console.environ)
    default = _default(console, store)
    if as_json:
        console.json(_facts(store, default))
    else:
        _print(console, store, default)
    return ExitStatus.OK


def _default(console: Console, store: Store) -> str | None:
    """The model that `r1 run` takes without -m; None, with a warning, when the settings name none that is here, or are
    at fault.
    """
    from r1 import settings

    try:
        return full_name(store, settings.load({}, console.environ).model)
    except ModelNotFound as exc:
        console.warn(f"no default model: {exc}")
    except UsageError as exc:
        console.warn(str(exc))
    return None


def _facts(store: Store, default: str | None) -> dict[str, Any]:
    """`here` has what is on the disk; the default can also be the built-in model before it is made."""
    return {
        "default": default,
        "here": [_model_facts(store, model, default) for model in store.models()],
        "unfinished": [{"reference": item.reference, "bytes": item.size} for item in store.unfinished()],
        "checkpoints": [
            {"repo": item.reference, "bytes": item.size, "whole": item.is_complete} for item in store.checkpoints()
        ],
        "known": [_checkpoint_facts(checkpoint) for checkpoint in store.catalogue.values()],
    }


def _model_facts(store: Store, model: StoredModel, default: str | None) -> dict[str, Any]:
    return {
        "reference": model.reference,
        "default": model.reference == default,
        "name": model.name,
        "quant": model.quant,
        "bytes": model.size,
        "path": str(model.path),
        "source": model.manifest.source if model.manifest else None,
        "missing_tokens": [*_missing_tokens(store, model)],
        **_scores(store.catalogue.get(model.name)),
    }


def _scores(checkpoint: Checkpoint | None) -> dict[str, float | None]:
    """AIME 2024 in percent, as published; None where nothing was."""
    return {
        "aime_pass1": checkpoint.aime_pass1 if checkpoint else None,
        "aime_cons64": checkpoint.aime_cons64 if checkpoint else None,
    }


def _missing_tokens(store: Store, model: StoredModel) -> tuple[str, ...]:
    """The control tokens without which r1 cannot run the model."""
    return () if store.is_checked(model) else model.missing_tokens


def _checkpoint_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "name": checkpoint.name,
        "built_in": checkpoint.builtin,
        "title": checkpoint.title,
        "repo": checkpoint.repo,
        "architecture": checkpoint.architecture,
        "parameters": checkpoint.parameters,
        "licences": list(checkpoint.licences),
        "default_quant": checkpoint.default_quant,
        **_scores(checkpoint),
    }


def _print(console: Console, store: Store, default: str | None) -> None:
    """Prints the models on this machine, other disk use, and the models to pull; a pipe gets only the first part."""
    models = store.models()
    if not console.stdout_is_terminal:
        console.table(_HERE, [(model.reference, model.size, model.path) for model in models])
        return
    present = {model.name for model in models}
    missing = [checkpoint for checkpoint in store.catalogue.values() if checkpoint.name not in present]
    has_scores = _print_here(console, store, models, missing, default)
    if leftovers := [*store.unfinished(), *store.checkpoints()]:
        console.out("\n")
        console.table(_LEFTOVERS, map(_leftover_row, leftovers))
    if to_pull := [checkpoint for checkpoint in missing if not checkpoint.builtin]:
        console.out("\n")
        _print_to_pull(console, to_pull)
    if has_scores or to_pull:
        _print_legend(console)


def _print_here(
    console: Console, store: Store, models: list[StoredModel], missing: list[Checkpoint], default: str | None
) -> bool:
    """Prints the models on this machine, the built-in one also before it is made. Returns whether it has their scores.

    `missing` are the checkpoints of the catalogue of which there is no model here.
    """
    not_made = [checkpoint for checkpoint in missing if checkpoint.builtin]
    rows = [_model_row(store, model, default) for model in models]
    rows += [_built_in_row(checkpoint, default) for checkpoint in not_made]
    scores = [_score_cells(store.catalogue.get(model.name)) for model in models] + [("", "")] * len(not_made)
    has_scores = any(map(any, scores)) and console.rich().width >= _WIDER
    if has_scores:
        rows = [(*row[:-1], *cells, row[-1]) for row, cells in zip(rows, scores, strict=True)]
    console.table((*_HERE[:-1], *_SCORES, _HERE[-1]) if has_scores else _HERE, rows)
    return has_scores


def _model_row(store: Store, model: StoredModel, default: str | None) -> tuple[str, ...]:
    source = model.manifest.source if model.manifest else "?"
    if _missing_tokens(store, model):
        source = f"{source} (r1 cannot run it: no DeepSeek-R1 distill)"
    return _marked(model.reference, default), units.size(model.size), source


def _built_in_row(checkpoint: Checkpoint, default: str | None) -> tuple[str, ...]:
    """The built-in model before its first use makes it."""
    return _marked(f"{checkpoint.name}:{checkpoint.default_quant}", default), "", "built in"


def _marked(reference: str, default: str | None) -> str:
    return f"{reference} (default)" if reference == default else reference


def _leftover_row(item: Removable) -> tuple[str, ...]:
    """A kept checkpoint or an unfinished download: r1 rm removes it, r1 pull resumes it."""
    interrupted = "unfinished" if ":" in item.reference else "from an interrupted pull"
    return item.reference, units.size(item.size), "kept checkpoint" if item.is_complete else interrupted


def _print_legend(console: Console) -> None:
    from rich.text import Text

    console.rich().print(Text(_SCORES_LEGEND, style="dim"))


def _print_to_pull(console: Console, checkpoints: Iterable[Checkpoint]) -> None:
    with_licence = console.rich().width >= _WIDE
    header = (*_TO_PULL, Column("base model's licence")) if with_licence else _TO_PULL
    console.table(header, (_checkpoint_row(checkpoint)[: len(header)] for checkpoint in checkpoints))


def _checkpoint_row(checkpoint: Checkpoint) -> tuple[str, ...]:
    licence = "".join(checkpoint.licences[-1:])
    return checkpoint.name, units.parameters(checkpoint.parameters), *_score_cells(checkpoint), licence


def _score_cells(checkpoint: Checkpoint | None) -> tuple[str, str]:
    """Empty where nothing was published."""
    pass1, cons64 = _scores(checkpoint).values()
    return _percent(pass1), _percent(cons64)


def _percent(score: float | None) -> str:
    return "" if score is None else f"{score:.1f} %"
