"""`r1 quantize`: a checkpoint or a GGUF on this disk → a GGUF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from r1.console import Console
from r1.conversion import QuantizeOptions, convert
from r1.library import LocalSource, find_source, named_source, open_store
from r1.render.progress_line import Report
from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.recipe import COPY, recipe_or_copy
from r1_quantize.store.store import Store


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the result goes: to the file `output`, or into the store, under the source's name or `name`."""

    output: Path | None = None
    name: str | None = None


def run(
    console: Console, source: str, quant: str | None, destination: Destination, options: QuantizeOptions, report: Report
) -> ExitStatus:
    """Quantizes, and prints where the result is. Raises as `r1.library.find_source` and `r1.conversion.convert`."""
    store, output = open_store(console.environ), destination.output
    local = find_source(store, source)
    default = local.checkpoint.default_quant if local.checkpoint else "Q4_K_M"
    recipe_name = recipe_or_copy(quant or default).name
    if recipe_name == COPY.name and output is None:
        raise UsageError("-t COPY cannot write to the store, which names each model by its type; add -o FILE")
    if output is not None and destination.name is not None:
        raise UsageError("--name is for a model in the store and -o for a file elsewhere; leave one of them out")
    local = _named(store, local, destination)
    _note_ambiguity(console, source, local)
    convert(console, store, local, recipe_name, report, output, options)
    return ExitStatus.OK


def _named(store: Store, local: LocalSource, destination: Destination) -> LocalSource:
    """The source with the name of the model. In a file elsewhere, any name will do."""
    if destination.output is not None:
        return replace(local, name=local.name or local.path.resolve().name)
    try:
        return named_source(store, local, destination.name)
    except UsageError as exc:
        if destination.name is not None:
            raise
        raise UsageError(f"{exc}, or write a file with -o FILE") from exc


def _note_ambiguity(console: Console, source: str, local: LocalSource) -> None:
    """A name of the catalogue wins over a folder of that name, which a person may have meant."""
    path = Path(source)
    if local.checkpoint and source in {local.checkpoint.name, local.checkpoint.repo} and path.is_dir():
        console.warn(f"{source} is the name of {local.checkpoint.title}; for the folder of that name, type ./{source}")
