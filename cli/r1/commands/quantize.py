"""`r1 quantize`: a checkpoint or a GGUF on this disk → a GGUF."""

from __future__ import annotations

from pathlib import Path

from r1.console import Console
from r1.conversion import QuantizeOptions, convert
from r1.library import find_source, open_store
from r1.render.progress_line import Report
from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.recipe import COPY, recipe_or_copy


def run(
    console: Console, source: str, quant: str | None, output: Path | None, options: QuantizeOptions, report: Report
) -> ExitStatus:
    """Quantizes, and prints where the result is. Raises as `r1.library.find_source` and `r1.conversion.convert`."""
    store = open_store(console.environ)
    found = find_source(store, source)
    default = found.checkpoint.default_quant if found.checkpoint else "Q4_K_M"
    wanted = recipe_or_copy(quant or default).name
    if wanted == COPY.name and output is None:
        raise UsageError("-t COPY needs -o FILE: the store names a model by its type, and a copy keeps its source's")
    convert(console, store, found, wanted, report, output, options)
    return ExitStatus.OK
