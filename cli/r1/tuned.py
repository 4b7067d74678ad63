"""The thread settings that `r1 bench --tune` found, by machine and model: `tuned.json` in R1_HOME.

    {"AMD EPYC, 2 cores": {"/models/qwen-7b/Q4_K_M.gguf": {"bytes": 4683073184, "decode": 6, "prefill": 8}}}

A file that cannot be read counts as empty, and the next result replaces it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from r1.machine.cores import Threads, cores

_MAX_THREADS = 512  # GGML_MAX_N_THREADS


def file_in(home: Path) -> Path:
    """The file with the settings."""
    return home / "tuned.json"


def threads_for(home: Path, model: Path) -> Threads | None:
    """The setting found for this model file on this machine; None when there is none, or the file has changed size."""
    machines = _read(home)
    if not machines:
        return None
    try:
        entry = machines[fingerprint()][_key(model)]
        decode, prefill = entry["decode"], entry["prefill"]
        same_size = entry["bytes"] == model.stat().st_size
    except (KeyError, TypeError, OSError):
        return None
    valid = all(type(count) is int and 1 <= count <= _MAX_THREADS for count in (decode, prefill))
    return Threads(decode=decode, prefill=prefill) if same_size and valid else None


def remember(home: Path, model: Path, threads: Threads | None) -> None:
    """Saves a setting; None removes it, because the default is the fastest.

    Raises UsageError when `home` cannot be written, R1Error when the disk fails.
    """
    from r1_quantize.files import disk_error, write_atomically

    machines = {name: entries for name, entries in _read(home).items() if isinstance(entries, dict)}
    models = machines.setdefault(fingerprint(), {})
    before = models.pop(_key(model), None)
    if threads is not None:
        size = model.stat().st_size
        models[_key(model)] = {"bytes": size, "decode": threads.decode, "prefill": threads.prefill}
    if threads is not None or before is not None:
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise disk_error(home, exc) from exc
        write_atomically(file_in(home), json.dumps(machines, indent=2, ensure_ascii=False) + "\n")


def fingerprint() -> str:
    """Names this machine; it changes whenever a different number of threads could be fastest."""
    from r1.machine.processor import processor

    return f"{processor().label}, {cores()}"


def _key(model: Path) -> str:
    return str(model.absolute())


def _read(home: Path) -> dict[str, Any]:
    try:
        machines = json.loads(file_in(home).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return machines if isinstance(machines, dict) else {}
