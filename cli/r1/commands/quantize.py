"""`r1 quantize`: a checkpoint on this disk → a GGUF.

Knows: how a source is named, where the result goes, what progress looks like.
Does not know: how a checkpoint is read or a tensor quantized.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r1.console import Console
from r1.library import open_store
from r1.render import units
from r1_quantize import hub
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import ExitStatus, ModelNotFound, UsageError
from r1_quantize.pipeline import Event, Finished, Job, Planned, TensorDone, quantize
from r1_quantize.recipe import recipe_for
from r1_quantize.store import Store


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint on this disk, and the name its GGUF goes by; `revision` is the hub's commit."""

    folder: Path
    name: str
    checkpoint: Checkpoint | None = None
    revision: str | None = None


Report = Literal["lines", "json", "nothing"]
"""What is said: progress and a line about the result, an object about the result, or nothing."""


def report_of(*, as_json: bool, quiet: bool) -> Report:
    """What `--json` and `--quiet` ask for."""
    return "json" if as_json else "nothing" if quiet else "lines"


def run(console: Console, source: str, quant: str | None, output: Path | None, report: Report) -> ExitStatus:
    """Makes the GGUF and says where it is. Raises what `r1_quantize.pipeline.quantize` raises."""
    store = open_store(console.environ)
    found = _find_source(store, source)
    wanted = recipe_for(quant or (found.checkpoint.default_quant if found.checkpoint else "Q4_K_M")).name
    convert(console, store, found, wanted, report, output)
    return ExitStatus.OK


def convert(
    console: Console, store: Store, source: Source, quant: str, report: Report, output: Path | None = None
) -> None:
    """Quantizes into `output`, or into the store when that is None, and reports the result on stdout."""
    with ExitStack() as held:
        if output is None:
            held.enter_context(store.lock(source.name, quant))
            target, manifest = store.path(source.name, quant), store.manifest_path(source.name, quant)
        else:
            target, manifest = _checked(output), None
        job = Job(source.folder, quant, target, source.name, source.checkpoint, source.revision, manifest)
        events = held.enter_context(closing(quantize(job)))
        finished = _follow(console, events, source.name, quiet=report != "lines")
    reference = f"{source.name}:{quant}" if output is None else str(output)
    announce(console, report, reference, finished.path, finished.size)


def announce(console: Console, report: Report, reference: str, path: Path, size: int) -> None:
    """The line or object on stdout that says where a model is."""
    if report == "json":
        facts = {"reference": reference, "path": str(path), "bytes": size}
        console.out(json.dumps(facts, ensure_ascii=False) + "\n")
    elif report == "lines":
        console.out(f"{reference}\t{size}\t{path}\n")


def _find_source(store: Store, source: str) -> Source:
    """What a name of the catalogue or a path stands for on this disk."""
    checkpoint = store.catalogue.get(source)
    if checkpoint is None:
        folder = Path(source).expanduser()
        if folder.is_dir():
            return Source(folder, _name_of(folder))
        what = "is not a folder" if folder.exists() else "is neither a folder nor a name of the catalogue"
        raise ModelNotFound(f"{source} {what}; a checkpoint is a folder with config.json and *.safetensors")
    if checkpoint.folder is not None:
        return Source(checkpoint.folder, checkpoint.name, checkpoint)
    if checkpoint.repo is None:
        raise ModelNotFound(f"{source} has no repo in models.toml, so there is nothing to quantize")
    try:
        folder = hub.cached_checkpoint(checkpoint.repo)
    except ModelNotFound as exc:
        raise ModelNotFound(f"{exc}; get it with: r1 pull {checkpoint.name}") from exc
    return Source(folder, checkpoint.name, checkpoint, revision=folder.name)


def _name_of(folder: Path) -> str:
    """A folder's name as a model's name: `My Model` → `my-model`."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")
    if not name:
        raise UsageError(f"{folder}: its name makes no model's name; say where the result goes with -o FILE")
    return name


def _checked(output: Path) -> Path:
    """Where to write: what a link leads to, never in place of a folder, a pipe or a device."""
    target = output.resolve()
    if target.exists() and not target.is_file():
        raise UsageError(f"{output} is no plain file; -o takes the file to write")
    if not target.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder; make it first")
    return target


def _follow(console: Console, events: Iterator[Event], name: str, *, quiet: bool) -> Finished:
    if console.stderr_is_terminal and not quiet:
        return _follow_with_a_bar(console, events, name)
    for event in events:
        if isinstance(event, Planned) and not quiet:
            console.err(
                f"r1: {event.source} → {event.quant}: {event.tensors} tensors, {units.size(event.bytes_in)} in, "
                f"{units.size(event.bytes_out)} out\n"
            )
        if isinstance(event, Finished):
            return event
    raise AssertionError("a conversion always ends with Finished")


def _follow_with_a_bar(console: Console, events: Iterator[Event], name: str) -> Finished:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=RichConsole(file=console.stderr), transient=True) as progress:
        task = progress.add_task(name)
        for event in events:
            if isinstance(event, Planned):
                progress.update(task, total=event.bytes_in, description=f"{name} → {event.quant}")
            elif isinstance(event, TensorDone):
                progress.update(task, advance=event.bytes_in)
            else:
                return event
    raise AssertionError("a conversion always ends with Finished")
