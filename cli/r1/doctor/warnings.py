"""What is wrong with a machine, or could be better → a line each, which says what to do.

Knows: the words. Does not know: how any of it was found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from r1.doctor.diagnosis import Diagnosis
from r1.doctor.installation import Installation
from r1.machine.disk import Disk
from r1.machine.graphics import Graphics, Unused
from r1.machine.processor import DECISIVE
from r1_quantize import units

_NATIVE = "-DGGML_NATIVE=on"
_SWAP = 200_000_000  # bytes; systems put a little there even when nothing is short

_BUSY = 0.25  # of the processor; with more, what is left of the memory's bandwidth is told too low


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` names it for scripts. `command`, if there is one, is to be typed as it stands."""

    about: str
    text: str
    command: str = ""


def findings(found: Diagnosis) -> list[Finding]:
    """The gravest first."""
    return [*_build(found), *_graphics(found), *_memory(found), *_power(found), *_busy(found), *_disks(found)]


def _build(found: Diagnosis) -> Iterator[Finding]:
    if found.trouble is not None:
        yield Finding("llama_cpp", found.trouble)
    again = found.installation.reinstall(_NATIVE)
    if found.impossible:
        names = ", ".join(found.impossible)
        yield Finding(
            "build", f"llama.cpp was compiled for {names}, which this processor lacks: it can crash; run", again
        )
    elif DECISIVE & set(found.missing):
        names = ", ".join(found.missing)
        yield Finding("build", f"llama.cpp was compiled without {names}, which this processor has: run", again)


def _graphics(found: Diagnosis) -> Iterator[Finding]:
    return (unused_gpu(gpu, found.installation, compiled=found.build is not None) for gpu in found.unused)


def unused_gpu(unused: Unused, installation: Installation, *, compiled: bool = True) -> Finding:
    """A GPU that goes unused, and what changes that; `compiled`: whether llama.cpp can be loaded at all."""
    name = name_of(unused.graphics)
    if unused.built:
        said = f"{name} is here, and llama.cpp was compiled for it but finds no device: look to its driver"
        return Finding("gpu", said)
    if compiled:
        said = f"{name} is here, and this build of llama.cpp cannot use it{_after(unused)}: run"
    else:
        said = f"{name} is here: compile llama.cpp for it{_after(unused)}, with"
    return Finding("gpu", said, installation.reinstall(unused.flag))


def _after(unused: Unused) -> str:
    return f" (install {unused.first} first)" if unused.first else ""


def name_of(gpu: Graphics) -> str:
    """NVIDIA GeForce RTX 4090; an NVIDIA GPU."""
    article = "a" if gpu.maker[0] not in "AN" else "an"
    return f"{gpu.maker} {gpu.name}" if gpu.name else f"{article} {gpu.maker} GPU"


def _memory(found: Diagnosis) -> Iterator[Finding]:
    memory = found.hardware.memory
    if memory.limit == "cgroup":
        yield Finding(
            "memory",
            f"a control group (a container, a service) limits memory to {units.size(memory.total)}: "
            "raise its limit for larger models",
        )
    if memory.limit == "ulimit":
        yield Finding(
            "memory", f"ulimit -v limits memory to {units.size(memory.total)}: lift it with", "ulimit -v unlimited"
        )
    if found.hardware.swap_used > _SWAP:
        yield Finding(
            "swap",
            f"{units.size(found.hardware.swap_used)} of swap are in use: close other programs, or answers come slowly",
        )


def _power(found: Diagnosis) -> Iterator[Finding]:
    power = found.hardware.power
    if power is not None and power.on_battery:
        yield Finding("power", f"on battery ({power.percent} %), which slows the processor: plug it in")


def _busy(found: Diagnosis) -> Iterator[Finding]:
    busy = found.hardware.busy
    if busy is not None and busy > _BUSY:
        kept = f"other programs kept {100 * busy:.0f} % of the processor busy"
        yield Finding("busy", f"{kept}, so speeds are told too low: run r1 doctor again when they are done")


def _disks(found: Diagnosis) -> Iterator[Finding]:
    home, cache = found.hardware.home, found.hardware.hub_cache
    if home is not None and home.is_nearly_full:
        yield Finding("disk", f"{_left(home)}, where models go: r1 rm removes some, R1_HOME sets another folder")
    if cache is not None and cache.is_nearly_full and (home is None or cache.device != home.device):
        yield Finding("hub_cache", f"{_left(cache)}, where the Hugging Face cache is: HF_HOME sets another folder")


def _left(disk: Disk) -> str:
    return f"{units.size(disk.free)} are left on the disk of {disk.label}"
