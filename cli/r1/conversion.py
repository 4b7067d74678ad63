"""One conversion from start to end: `r1 quantize`, and `r1 pull` of the built-in model."""

from __future__ import annotations

import shlex
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from r1.console import Console
from r1.interrupt import exit_on_sigterm
from r1.library import LocalSource
from r1.render.progress_line import Report, follow
from r1_quantize import units
from r1_quantize.checkpoint.pretokenizer import check_pretokenizer
from r1_quantize.errors import UsageError
from r1_quantize.events import Finished
from r1_quantize.file_provider import LocalFiles
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import Override
from r1_quantize.store.store import Store


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """How to quantize, besides the type. `threads` None: every core."""

    imatrix: Path | None = None
    tensor_types: tuple[str, ...] = ()
    pretokenizer: str | None = None
    allow_requantize: bool = False
    threads: int | None = None


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

    Raises as `r1_quantize.pipeline.quantize`, and UsageError for an output that cannot be written.
    """
    job = _job(store, source, quant, output, options)
    began = time.monotonic()
    with exit_on_sigterm(), closing(quantize(job)) as events:
        planned = next(events)  # before the lock: a source that cannot be quantized leaves no trace in the store
        with store.lock(source.name, quant) if output is None else nullcontext():
            if report == "lines" and job.target.exists():
                console.warn(f"{job.target} exists; it is replaced when the new file is complete")
            finished = follow(console, chain([planned], events), source.name, report)
    assert isinstance(finished, Finished), "a conversion ends with Finished"
    reference = f"{source.name}:{quant}" if output is None else str(output)
    print_result(console, report, reference, finished.path, finished.size, seconds=time.monotonic() - began)


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
    """The file to write, with links resolved. Raises UsageError for a folder, pipe or device, or one in the store."""
    target = output.resolve()
    if target.is_dir():
        raise UsageError(f"{output} is a folder; -o takes the file to write")
    if target.exists() and not target.is_file():
        raise UsageError(f"{output} is not a regular file; -o takes the file to write")
    if target.is_relative_to(store.root.resolve() / "models"):
        raise UsageError(f"{output} is in the store, which names its files itself; leave -o out")
    if not target.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder; create it first")
    return target


def print_result(  # noqa: PLR0913, PLR0917
    console: Console,
    report: Report,
    reference: str,
    path: Path,
    size: int,
    seconds: float | None = None,
    event: Literal["finished", "present"] = "finished",
) -> None:
    """Prints where the model is: an object, a line for scripts, or on a terminal how to run it."""
    if report == "json":
        console.json({"event": event, "reference": reference, "path": str(path), "bytes": size}, one_line=True)
    elif report == "lines" and console.stdout_is_terminal:
        took = f" in {units.duration(seconds)}" if seconds is not None else ""
        console.out(f"{reference}: {units.size(size)}{took}; r1 run -m {shlex.quote(reference)}\n")
    elif report == "lines":
        console.out(f"{reference}\t{size}\t{path}\n")
