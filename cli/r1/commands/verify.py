"""`r1 verify`: checks that a GGUF is complete and has not changed since it was made, and repairs it."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import asdict

from r1.console import Console
from r1.library import look_up, open_store
from r1.markdown.wrap import wrap
from r1.render.progress_line import follow
from r1_quantize import units
from r1_quantize.errors import ExitStatus
from r1_quantize.hub.repair import repair
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store
from r1_quantize.verify import Check
from r1_quantize.verify import verify as run_checks

_LARGE_BYTES = 1_000_000_000  # a file of this size takes so long to read that a note says so


def verify(console: Console, reference: str, *, repairing: bool, as_json: bool) -> ExitStatus:
    """Prints a line for each check as it is done, or one JSON object at the end; BAD_FILE if a check failed.

    With `repairing`, downloads and rebuilds what is damaged, and checks again.
    """
    store = open_store(console.environ)
    model = store.interrupted_repair(reference) if repairing else None
    if model is None:
        model = look_up(store, reference)
        status = _check(console, store, model, as_json=as_json, last=not repairing)
        if status is ExitStatus.OK or not repairing:
            return status
    with closing(repair(store, model)) as events:
        follow(console, events, model.reference, "nothing" if as_json or console.quiet else "lines")
    return _check(console, store, look_up(store, reference), as_json=as_json, last=True)


def _check(console: Console, store: Store, model: StoredModel, *, as_json: bool, last: bool) -> ExitStatus:
    """Runs the checks and prints them. `last`: no repair follows, so this is the final result."""
    if model.size > _LARGE_BYTES:
        console.note(f"reading {units.size(model.size)}")
    checks: list[Check] = []
    for check in run_checks(model.path):
        checks.append(check)
        if not as_json:
            console.out(_lines(check, shutil.get_terminal_size().columns if console.stdout_is_terminal else None))
    intact = all(check.ok for check in checks)
    if as_json and (intact or last):
        facts = [asdict(check) for check in checks]
        console.json({"model": model.reference, "file": str(model.path), "whole": intact, "checks": facts})
    if not intact and last:
        console.warn(f"{model.reference} is {_finding(store, model, checks)}")
    return ExitStatus.OK if intact else ExitStatus.BAD_FILE


def _lines(check: Check, columns: int | None) -> str:
    """One line, or in a terminal of so many columns as many as it needs."""
    label, text = f"{'ok ' if check.ok else 'BAD'}  {check.name:<10} ", " ".join(check.detail.split())
    lines = wrap(text, max(columns - len(label) - 1, 8)) if columns else [text]
    return label + f"\n{' ' * len(label)}".join(lines) + "\n"


def _finding(store: Store, model: StoredModel, checks: list[Check]) -> str:
    """What is wrong with a model that failed some check, and what to do."""
    if {check.name for check in checks if not check.ok} == {"tokens"}:
        return "not damaged, but r1 cannot run it; choose another model, `r1 list` shows them"
    return f"damaged; {_remedy(store, model)}"


def _remedy(store: Store, model: StoredModel) -> str:
    """How to replace a damaged model."""
    known, manifest = store.catalogue.get(model.name), model.manifest
    if model.quant is None:
        return "download or make it again"
    if known is not None and known.builtin:
        return f"r1 quantize {model.name} -t {model.quant} --force makes it again"
    if manifest is not None and (known is not None or manifest.revision):
        return f"r1 verify --repair {model.reference} replaces the damaged parts"
    if known is not None:
        return f"r1 rm {model.reference}, then r1 pull {model.reference} gets it again"
    source = manifest.source if manifest else "its source"
    return f"make it again from {source}: r1 quantize PATH -t {model.quant} --name {model.name} --force"
