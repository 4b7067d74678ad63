"""What a person is told once: that a GPU of this machine goes unused, and what would change that.

Knows: when to look, and where it is remembered. Does not know: how it is found out, or said.
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


def unused_gpus(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each that llama.cpp could use if it was compiled for it; from then on none."""
    folder = home(environ)
    if is_told(folder, "gpu"):
        return
    usable = {device.backend for device in devices() if device.is_gpu}
    if usable:
        return
    found = unused(graphics(), usable, build().backends, environ)
    for gpu in found:
        concern = unused_gpu(gpu, installation())
        yield f"{concern.text} {concern.command}"
    if found:
        tell(folder, "gpu")


_FILE = "told"
_LONGEST = 100_000  # bytes; a file that is not ours is not read whole


def is_told(home: Path, what: str) -> bool:
    """Whether the person was told of `what`, one line that names it."""
    with suppress(OSError), (home / _FILE).open(encoding="utf-8", errors="replace") as known:
        return what in known.read(_LONGEST).splitlines()
    return False


def tell(home: Path, what: str) -> None:
    """Remembers it. Where nothing can be remembered, the person is told again: that costs a line."""
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        with (home / _FILE).open("a", encoding="utf-8") as known:
            known.write(f"{what}\n")
