"""`r1 rm`: models, half-made ones and kept checkpoints off this disk.

Knows: what is said and asked before. Does not know: where anything lies (`r1_quantize.store.store`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from r1.console import Console
from r1.library import open_store
from r1_quantize import units
from r1_quantize.errors import ExitStatus, UsageError


def remove(console: Console, references: Sequence[str], *, yes: bool, as_json: bool) -> ExitStatus:
    """Says what goes and how much that frees, asks on a terminal, and removes it.

    Raises ModelNotFound, UsageError for what is not the store's or when nobody can be asked, Busy when it is in use.
    """
    store = open_store(console.environ)
    found = [*dict.fromkeys(map(store.removable, references))]  # one thing may have been named in two ways
    freed = sum(item.size for item in found)
    what = ", ".join(item.reference for item in found)
    if not yes and not (console.stdin_is_terminal and console.stderr_is_terminal):
        raise UsageError(f"removing {what} frees {units.size(freed)}; nobody can be asked here, so say -y to do it")
    if not yes and not console.confirm(f"Remove {what}? It frees {units.size(freed)}."):
        console.note("nothing was removed")
        return ExitStatus.OK
    for item in found:
        store.remove(item)
        if as_json:
            facts = {"removed": item.reference, "bytes": item.size, "paths": [str(path) for path in item.paths]}
            console.out(json.dumps(facts, ensure_ascii=False) + "\n")
        elif console.stdout_is_terminal:
            console.out(f"{item.reference} is gone; {units.size(item.size)} are free again\n")
        else:
            console.out(f"{item.reference}\t{item.size}\n")
    return ExitStatus.OK
