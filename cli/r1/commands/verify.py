"""`r1 verify`: is a GGUF whole, and is it what was made?

Knows: how the checks are shown. Does not know: what is checked (`r1_quantize.verify`).
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict

from r1.console import Console
from r1.library import look_up, open_store
from r1.render.progress_line import follow
from r1_quantize import units
from r1_quantize.errors import ExitStatus
from r1_quantize.hub.repair import repair
from r1_quantize.store.store import Store, StoredModel
from r1_quantize.verify import Check
from r1_quantize.verify import verify as checks_of

_LARGE = 1_000_000_000  # bytes, from which on reading takes long enough to say so


def verify(console: Console, reference: str, *, repairing: bool, as_json: bool) -> ExitStatus:
    """A line for each check as it is made, or one JSON object; BAD_FILE when one fails.

    With `repairing` what is damaged is fetched and made again, and then looked at again.
    """
    store = open_store(console.environ)
    model = store.interrupted_repair(reference) if repairing else None
    if model is None:
        model = look_up(store, reference)
        status = _check(console, store, model, as_json=as_json, last=not repairing)
        if status is ExitStatus.OK or not repairing:
            return status
    with closing(repair(store, model)) as events:
        follow(console, events, model.reference, "nothing" if as_json else "lines")
    return _check(console, store, look_up(store, reference), as_json=as_json, last=True)


def _check(console: Console, store: Store, model: StoredModel, *, as_json: bool, last: bool) -> ExitStatus:
    checks: list[Check] = []
    if model.size > _LARGE:
        console.note(f"reading {units.size(model.size)}")
    for check in checks_of(model.path):
        checks.append(check)
        if not as_json:
            console.out(f"{'ok ' if check.ok else 'BAD'}  {check.name:<10} {' '.join(check.detail.split())}\n")
    whole = all(check.ok for check in checks)
    if as_json and (whole or last):
        facts = {"model": model.reference, "file": str(model.path), "whole": whole, "checks": [*map(asdict, checks)]}
        console.out(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    if not whole and last:
        console.warn(f"{model.reference} is damaged; {_remedy(store, model)}")
    return ExitStatus.OK if whole else ExitStatus.BAD_FILE


def _remedy(store: Store, model: StoredModel) -> str:
    """How to get it back."""
    known = store.catalogue.get(model.name)
    if model.quant is None:
        return "get it or make it again"
    if known is None:
        source = model.manifest.source if model.manifest else "what it was made of"
        if model.manifest and model.manifest.revision:
            return f"r1 verify --repair {model.reference} fetches what is bad"
        return f"make it again from {source}: r1 quantize PATH -t {model.quant}"
    if known.builtin:
        return f"r1 quantize {model.name} -t {model.quant} makes it again"
    if model.manifest is None:
        return f"r1 rm {model.reference}, then r1 pull {model.reference} gets it again"
    return f"r1 verify --repair {model.reference} fetches what is bad"
