"""Hints that are shown once: so far, that llama.cpp was built without support for a GPU of this machine.

A file in R1_HOME, `told`, has the name of each hint that was shown, one per line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from r1.doctor.installation import installation
from r1.doctor.warnings import unused_gpu
from r1.engine.build import build
from r1.engine.devices import devices
from r1.machine.graphics import graphics, unused
from r1_quantize.store.store import home

_FILE = "told"
_MAX_FILE_BYTES = 100_000  # read no more, in case the file is not ours
_GPU = "gpu"


def unused_gpus(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each GPU that another build of llama.cpp could use; nothing once this was shown."""
    folder = home(environ)
    if was_shown(folder, _GPU):
        return
    usable = {device.backend for device in devices() if device.is_gpu}
    if usable:
        return
    unused_ones = unused(graphics(), usable, build().backends, environ)
    for gpu in unused_ones:
        finding = unused_gpu(gpu, installation())
        yield f"{finding.text} {finding.command}"
    if unused_ones:
        remember(folder, _GPU)


def was_shown(home: Path, hint: str) -> bool:
    """Whether `hint`, the name of a hint, was shown before."""
    with suppress(OSError), (home / _FILE).open(encoding="utf-8", errors="replace") as file:
        return hint in file.read(_MAX_FILE_BYTES).splitlines()
    return False


def remember(home: Path, hint: str) -> None:
    """Records that `hint` was shown. If that fails, the hint is shown again, which only costs a line."""
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        with (home / _FILE).open("a", encoding="utf-8") as file:
            file.write(f"{hint}\n")
