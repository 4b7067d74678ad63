"""Thread settings that `r1 bench --tune` found the best, for a machine and a model: `tuned.json` in R1_HOME.

    {"AMD EPYC, 2 cores": {"/models/qwen-7b/Q4_K_M.gguf": {"bytes": 4683073184, "decode": 6, "prefill": 8}}}

A file that cannot be understood says nothing, and the next result replaces it.

Knows: that file. Does not know: how anything is measured, or which settings go before these.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from r1.machine.cores import Threads, cores

_MOST = 512  # GGML_MAX_N_THREADS


def file_in(home: Path) -> Path:
    """Where the settings are kept."""
    return home / "tuned.json"


def threads_for(home: Path, model: Path) -> Threads | None:
    """What was found for this model file on this machine; None when nothing was, or the file is another by now."""
    everything = _read(home)
    if not everything:
        return None
    try:
        entry = everything[fingerprint()][_key(model)]
        counts = (entry["decode"], entry["prefill"])
        known = entry["bytes"] == model.stat().st_size and all(type(n) is int and 1 <= n <= _MOST for n in counts)
    except (KeyError, TypeError, OSError):
        return None
    return Threads(*counts) if known else None


def remember(home: Path, model: Path, threads: Threads | None) -> None:
    """Keeps what was found; None: that nothing beats the usual setting. Raises R1Error when the disk fails."""
    from r1_quantize.files import write_atomically

    kept = {name: models for name, models in _read(home).items() if isinstance(models, dict)}
    here = kept.setdefault(fingerprint(), {})
    before = here.pop(_key(model), None)
    if threads is not None:
        size = model.stat().st_size
        here[_key(model)] = {"bytes": size, "decode": threads.decode, "prefill": threads.prefill}
    if threads is not None or before is not None:
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(file_in(home), json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def fingerprint() -> str:
    """A line that is another one where another number of threads could be the best."""
    from r1.machine.processor import processor

    return f"{processor().label}, {cores()}"


def _key(model: Path) -> str:
    return str(model.absolute())


def _read(home: Path) -> dict[str, Any]:
    try:
        known = json.loads(file_in(home).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
