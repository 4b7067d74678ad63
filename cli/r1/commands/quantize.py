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
    local = find_source(store, source)
    default = local.checkpoint.default_quant if local.checkpoint else "Q4_K_M"
    recipe_name = recipe_or_copy(quant or default).name
    if recipe_name == COPY.name and output is None:
        raise UsageError("-t COPY cannot write to the store, which names each model by its type; add -o FILE")
    convert(console, store, local, recipe_name, report, output, options)
    return ExitStatus.OK
