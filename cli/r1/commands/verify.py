"""`r1 verify`: is a GGUF whole, and is it what was made?

Knows: how the checks are shown. Does not know: what is checked (`r1_quantize.verify`).
"""

from __future__ import annotations

import json
from dataclasses import asdict

from r1.console import Console
from r1.library import look_up, open_store
from r1_quantize.errors import ExitStatus
from r1_quantize.verify import Check
from r1_quantize.verify import verify as checks_of


def verify(console: Console, reference: str, *, as_json: bool) -> ExitStatus:
    """A line for each check as it is made, or one JSON object; BAD_FILE when one fails."""
    model = look_up(open_store(console.environ), reference)
    checks: list[Check] = []
    for check in checks_of(model.path, model.manifest):
        checks.append(check)
        if not as_json:
            console.out(f"{'ok ' if check.ok else 'BAD'}  {check.name:<10} {check.detail}\n")
    whole = all(check.ok for check in checks)
    if as_json:
        facts = {"model": model.reference, "file": str(model.path), "whole": whole, "checks": [*map(asdict, checks)]}
        console.out(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    if not whole:
        how = f"r1 quantize {model.name} -t {model.quant}, or delete it and pull it" if model.quant else "get it"
        console.warn(f"{model.reference} is damaged; {how} again")
    return ExitStatus.OK if whole else ExitStatus.BAD_FILE
