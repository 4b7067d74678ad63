"""One conversion from start to end: `r1 quantize`, and `r1 pull` of the built-in model."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from r1.console import Console
from r1.library import LocalSource
from r1.render.progress_line import Report, follow
from r1_quantize import units
from r1_quantize.checkpoint.pretokenizer import check_pretokenizer
from r1_quantize.control_tokens import unusable
from r1_quantize.errors import UsageError
from r1_quantize.events import Finished
from r1_quantize.file_provider import LocalFiles
from r1_quantize.files import check_working_folder
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import Override
from r1_quantize.store.store import Store


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """How to quantize, besides the type. `threads` None: every core; `force`: replace an existing file or model."""

    imatrix: Path | None = None
    tensor_types: tuple[str, ...] = ()
    pretokenizer: str | None = None
    allow_requantize: bool = False
    threads: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A model that was made, or was here already. `missing_tokens`: r1 cannot run it, because it lacks these."""

    reference: str
    path: Path
    size: int
    seconds: float | None = None
    event: Literal["finished", "present"] = "finished"
    missing_tokens: tuple[str, ...] = ()


def convert(  # noqa: PLR0913, PLR0917
    console: Console,
    store: Store,
    source: LocalSource,
    quant: str,
    report: Report,
    output: Path | None = None,
    options: QuantizeOptions = QuantizeOptions(),
) -> None:
    """Quantizes into `output`, or into the store if that is None, and prints the result on stdout.

    Raises as `r1_quantize.pipeline.quantize`, and UsageError for an output that cannot be written, or exists already.
    """
    job = _job(store, source, quant, output, options)
    reference = f"{source.name}:{quant}" if output is None else str(output)
    began = time.monotonic()
    with closing(quantize(job)) as events:
        planned = next(events)  # before the lock: a source that cannot be quantized leaves no trace in the store
        with store.lock(source.name, quant) if output is None else nullcontext():
            if job.target.exists() and not options.force:
                raise UsageError(f"{reference} exists already; --force replaces it")
            finished = follow(console, chain([planned], events), source.name, report)
    assert isinstance(finished, Finished), "a conversion ends with Finished"
    seconds = time.monotonic() - began
    result = Result(reference, finished.path, finished.size, seconds, missing_tokens=finished.missing_tokens)
    print_result(console, report, result)


def _job(store: Store, source: LocalSource, quant: str, output: Path | None, options: QuantizeOptions) -> Job:
    return Job(
        source=source.path,
        quant=quant,
        target=store.path(source.name, quant) if output is None else _checked_output(store, output),
        name=source.name,
        checkpoint=source.checkpoint,
        origin=source.origin,
        revision=source.revision,
        manifest=store.manifest_path(source.name, quant) if output is None else None,
        imatrix=options.imatrix,
        overrides=tuple(map(Override.parse, options.tensor_types)),
        pretokenizer=check_pretokenizer(options.pretokenizer) if options.pretokenizer else None,
        allow_requantize=options.allow_requantize,
        threads=options.threads,
        provider=LocalFiles(source.files),
    )


def _checked_output(store: Store, output: Path) -> Path:
    """The file to write, with links resolved. Raises UsageError for anything but a regular file outside the store."""
    check_working_folder(output)
    target = Path(os.path.realpath(output))  # Path.resolve raises RuntimeError for a link to itself
    try:
        problem = _output_problem(store, output, target)
    except OSError as exc:  # a name that is too long, a folder without permission
        problem = exc.strerror
    if problem:
        raise UsageError(f"{output}: {problem}")
    return target


def _output_problem(store: Store, output: Path, target: Path) -> str | None:
    """Why a model cannot be written to `output`, which links to `target`; None if it can. Raises OSError."""
    if target.is_dir():
        return "a folder; -o takes the file to write"
    if target.is_symlink():
        return "a link that leads to itself; -o takes the file to write"
    if str(output) == "-" or (output.exists() and not output.is_file()):  # /dev/stdout is a link that has no target
        return "not a regular file; a model is not written front to back, so write a file and copy that"
    if target.is_relative_to(store.root.resolve() / "models"):
        return "in the store, which names its files itself; leave -o out"
    if not target.parent.is_dir():
        return f"{target.parent} is not a folder; create it first"
    return None


def print_result(console: Console, report: Report, result: Result) -> None:
    """Prints the model: an object, a line for scripts, or on a terminal how to run it. Warns if r1 cannot run it."""
    if report == "json":
        facts = {"event": result.event, "reference": result.reference, "path": str(result.path), "bytes": result.size}
        console.json({**facts, "missing_tokens": [*result.missing_tokens]}, one_line=True)
    elif console.stdout_is_terminal:
        took = f" in {units.duration(result.seconds)}" if result.seconds is not None else ""
        run = "" if result.missing_tokens else f"; r1 run -m {shlex.quote(result.reference)}"
        console.out(f"{result.reference}: {units.size(result.size)}{took}{run}\n")
    else:
        console.out(f"{result.reference}\t{result.size}\t{result.path}\n")
    if result.missing_tokens:
        console.warn(f"{result.reference}: {unusable(result.missing_tokens)}")
