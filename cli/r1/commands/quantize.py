"""`r1 quantize`: a checkpoint or a GGUF on this disk → a GGUF.

Knows: how a source is named, where the result goes. Does not know: how a checkpoint is read or a tensor quantized,
what progress looks like (`render.progress`).
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from r1.console import Console
from r1.library import open_store
from r1.render.progress_line import Report, follow
from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.checkpoint.pretokenizer import check_pretokenizer
from r1_quantize.errors import ExitStatus, ModelNotFound, UsageError
from r1_quantize.events import Finished
from r1_quantize.file_provider import LocalFiles
from r1_quantize.files import SourceFile
from r1_quantize.gguf.split import joined_name
from r1_quantize.hub import hub, staging
from r1_quantize.hub.request import model_name
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import COPY, RECIPES, Override, recipe_or_copy
from r1_quantize.store.store import Store, StoredModel


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint folder or a GGUF (of one in parts, any) on this disk, and the name what is made of it goes by.

    `origin` is where it came from, as a hub repository or a file's name, and `revision` the hub's commit. `files` are
    those of which somebody says what they are.
    """

    path: Path
    name: str
    checkpoint: Checkpoint | None = None
    origin: str | None = None
    revision: str | None = None
    files: Mapping[str, SourceFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """What of a conversion can be asked for beside its type."""

    imatrix: Path | None = None
    tensor_types: tuple[str, ...] = field(default=())
    pretokenizer: str | None = None
    allow_requantize: bool = False
    threads: int | None = None


def report_of(*, as_json: bool, quiet: bool) -> Report:
    """What `--json` and `--quiet` ask for."""
    return "json" if as_json else "nothing" if quiet else "lines"


def run(
    console: Console, source: str, quant: str | None, output: Path | None, options: QuantizeOptions, report: Report
) -> ExitStatus:
    """Makes the GGUF and says where it is. Raises what `r1_quantize.pipeline.quantize` raises."""
    store = open_store(console.environ)
    found = find_source(store, source)
    wanted = recipe_or_copy(quant or (found.checkpoint.default_quant if found.checkpoint else "Q4_K_M")).name
    if wanted == COPY.name and output is None:
        raise UsageError("-t COPY needs -o FILE: models are kept by their type, and a copy's is its source's")
    convert(console, store, found, wanted, report, output, options)
    return ExitStatus.OK


def convert(  # noqa: PLR0913, PLR0917
    console: Console,
    store: Store,
    source: Source,
    quant: str,
    report: Report,
    output: Path | None = None,
    options: QuantizeOptions = QuantizeOptions(),
) -> None:
    """Quantizes into `output`, or into the store when that is None, and reports the result on stdout."""
    if output is None:
        target, manifest = store.path(source.name, quant), store.manifest_path(source.name, quant)
    else:
        target, manifest = _checked(store, output), None
    job = Job(
        source=source.path,
        quant=quant,
        target=target,
        name=source.name,
        checkpoint=source.checkpoint,
        origin=source.origin,
        revision=source.revision,
        manifest=manifest,
        imatrix=options.imatrix,
        overrides=tuple(map(Override.parse, options.tensor_types)),
        pretokenizer=check_pretokenizer(options.pretokenizer) if options.pretokenizer else None,
        allow_requantize=options.allow_requantize,
        threads=options.threads,
        provider=LocalFiles(source.files),
    )
    began = time.monotonic()
    with ExitStack() as held:
        held.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, end))
        events = held.enter_context(closing(quantize(job)))
        planned = next(events)  # what cannot be quantized leaves no trace in the store
        if output is None:
            held.enter_context(store.lock(source.name, quant))
        if report == "lines" and target.exists():
            console.warn(f"{target} is there already; the new one takes its place when it is whole")
        finished = follow(console, chain([planned], events), source.name, report)
    assert isinstance(finished, Finished), "a conversion ends with Finished"
    reference = f"{source.name}:{quant}" if output is None else str(output)
    announce(console, report, reference, finished.path, finished.size, seconds=time.monotonic() - began)


def end(_signal: int, _frame: object) -> None:
    """Being asked to end is like Ctrl-C, but for the exit code."""
    raise SystemExit(128 + signal.SIGTERM)


def announce(  # noqa: PLR0913, PLR0917
    console: Console,
    report: Report,
    reference: str,
    path: Path,
    size: int,
    seconds: float | None = None,
    event: Literal["finished", "present"] = "finished",
) -> None:
    """The line or object on stdout that says where a model is, and on a terminal what it took and what to do next."""
    if report == "json":
        facts = {"event": event, "reference": reference, "path": str(path), "bytes": size}
        console.out(json.dumps(facts, ensure_ascii=False) + "\n")
    elif report == "lines" and console.stdout_is_terminal:
        took = f" in {units.duration(seconds)}" if seconds is not None else ""
        console.out(f"{reference}: {units.size(size)}{took}; r1 run -m {shlex.quote(reference)}\n")
    elif report == "lines":
        console.out(f"{reference}\t{size}\t{path}\n")


def find_source(store: Store, source: str) -> Source:
    """What a name of the catalogue, a hub repository in it, a model's name or a path stands for on this disk.

    Raises ModelNotFound, or UsageError for what nothing can be made of.
    """
    for checkpoint in store.catalogue.values():
        if source in {checkpoint.name, checkpoint.repo}:
            return _checkpoint(store, checkpoint)
    path = Path(source).expanduser()
    if not source:
        raise UsageError("an empty SOURCE; it is a checkpoint's folder, a .gguf or a model's name")
    if path.is_dir():
        return _folder(store, path)
    if path.suffix == ".safetensors":
        raise UsageError(f"{source} is one file of a checkpoint; give its folder: {shlex.quote(str(path.parent))}")
    if path.is_file():
        return _model(store.find(str(path.absolute())))
    if ":" in source or any(model.name == source for model in store.models()):
        return _model(store.find(source))
    what = "is no file or folder" if path.exists() else "is neither a file, a folder nor a name of the catalogue"
    raise ModelNotFound(f"{source} {what}; a checkpoint is a folder with config.json and *.safetensors")


def _folder(store: Store, path: Path) -> Source:
    """A checkpoint's folder; one in the Hugging Face cache goes by its repository's name, and has a commit."""
    real = path.resolve()
    *_, cache, folder, commit = ("", "", *real.parts)
    if not (folder == "snapshots" and cache.startswith("models--")):
        return Source(path, _name_of(path, real.name))
    repo = cache.removeprefix("models--").replace("--", "/")
    known = next((checkpoint for checkpoint in store.catalogue.values() if checkpoint.repo == repo), None)
    if known:
        return Source(path, known.name, known, revision=commit)
    return Source(path, _name_of(path, repo.rpartition("/")[2]), origin=repo, revision=commit)


def _checkpoint(store: Store, checkpoint: Checkpoint) -> Source:
    if checkpoint.folder is not None:
        return Source(checkpoint.folder, checkpoint.name, checkpoint)
    if checkpoint.repo is None:
        raise ModelNotFound(f"{checkpoint.name} has no repo in models.toml, so there is nothing to quantize")
    if kept := store.kept_checkpoint(checkpoint.repo):
        files = staging.kept_files(kept)
        return Source(kept, checkpoint.name, checkpoint, revision=kept.name, files=files)
    try:
        folder = hub.cached_checkpoint(checkpoint.repo)
    except ModelNotFound as exc:
        raise ModelNotFound(f"{exc}; r1 pull {checkpoint.name} quantizes it while it downloads") from exc
    return Source(folder, checkpoint.name, checkpoint, revision=folder.name)


def _model(model: StoredModel) -> Source:
    """A GGUF that is to be quantized again; the name it goes by is without the type it has now."""
    if model.quant is not None:
        name = model.name
    else:
        quants = "|".join(sorted(RECIPES, key=len, reverse=True))
        stem = Path(joined_name(model.path.name)).stem
        stem = re.sub(rf"(^|[-._ ])({quants})$", "", stem, flags=re.IGNORECASE)
        name = _name_of(model.path, stem or model.path.resolve().parent.name)
    manifest = model.manifest
    if manifest is None:
        return Source(model.path, name, origin=model.path.name)
    return Source(model.path, name, origin=manifest.source, revision=manifest.revision)


def _name_of(path: Path, text: str) -> str:
    """A folder's or file's name as a model's name: `My Model` → `my-model`."""
    name = model_name(text)
    if not name:
        raise UsageError(f"{path}: its name makes no model's name; say where the result goes with -o FILE")
    return name


def _checked(store: Store, output: Path) -> Path:
    """Where to write: what a link leads to, never in place of a folder, a pipe or a device."""
    target = output.resolve()
    if target.is_dir():
        raise UsageError(f"{output} is a folder; -o takes the file to write")
    if target.exists() and not target.is_file():
        raise UsageError(f"{output} is no plain file; -o takes the file to write")
    if target.is_relative_to(store.root.resolve() / "models"):
        raise UsageError(f"{output} is in the store, which keeps its own names; leave -o out")
    if not target.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder; make it first")
    return target
