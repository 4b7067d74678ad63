"""The findings of `r1 doctor`: each problem or possible improvement, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from r1.doctor.diagnosis import Diagnosis
from r1.doctor.installation import Installation
from r1.engine.build import Build
from r1.machine.disk import Disk
from r1.machine.graphics import Graphics, Unused
from r1.machine.processor import DECISIVE
from r1_quantize import units

_NATIVE = "-DGGML_NATIVE=on"
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
_MIN_SWAP = 200_000_000  # bytes; systems swap out a little even when memory is not short
_MAX_BUSY = 0.25  # share of the cores; above it, other programs take so much bandwidth that speeds are underestimated


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` is a key for scripts. `command`, if there is one, can be typed unchanged; then `text` leads up to it."""

    about: str
    text: str
    command: str = ""


def findings(diagnosis: Diagnosis) -> list[Finding]:
    """The most serious first."""
    return [
        *_build(diagnosis),
        *_graphics(diagnosis),
        *_memory(diagnosis),
        *_power(diagnosis),
        *_busy(diagnosis),
        *_disks(diagnosis),
    ]


def _build(diagnosis: Diagnosis) -> Iterator[Finding]:
    if diagnosis.llama_cpp_error is not None:
        yield Finding("llama_cpp", diagnosis.llama_cpp_error)
    if diagnosis.build is not None and miscompiles_amx(diagnosis.build):
        text = (
            f"GCC {'.'.join(map(str, diagnosis.build.gcc or ()))} miscompiles llama.cpp's code for AMX "
            "(https://gcc.gnu.org/PR114098), so a prompt can end in a segmentation fault; run"
        )
        flags = f'CFLAGS="{_NO_AMX}" CXXFLAGS="{_NO_AMX}"'
        yield Finding("build", text, f"{flags} {diagnosis.installation.reinstall(_NATIVE)}")
    rebuild = diagnosis.installation.reinstall(_NATIVE)
    missing = diagnosis.missing_instructions
    if diagnosis.unsupported_instructions:
        names = ", ".join(diagnosis.unsupported_instructions)
        text = f"llama.cpp was compiled for {names}, which this processor lacks, so it can crash; run"
        yield Finding("build", text, rebuild)
    elif DECISIVE & set(missing):
        text = f"llama.cpp was compiled without {', '.join(missing)}, which this processor has; for more speed run"
        yield Finding("build", text, rebuild)


def miscompiles_amx(build: Build) -> bool:
    """Whether the build uses AMX and its GCC has bug 114098, which was fixed in 11.5, 12.4, 13.3 and 14.1."""
    if build.gcc is None or "AMX_INT8" not in build.instructions:
        return False
    major, minor = build.gcc
    return major < 11 or minor < {11: 5, 12: 4, 13: 3}.get(major, 0)


def _graphics(diagnosis: Diagnosis) -> Iterator[Finding]:
    compiled = diagnosis.build is not None
    return (unused_gpu(gpu, diagnosis.installation, compiled=compiled) for gpu in diagnosis.unused)


def unused_gpu(unused: Unused, installation: Installation, *, compiled: bool = True) -> Finding:
    """A GPU that llama.cpp does not use, and how to change that. `compiled`: whether llama.cpp can be loaded at all."""
    name = _name(unused.graphics)
    if unused.built:
        return Finding("gpu", f"llama.cpp was compiled for {name} but finds no device; check its driver")
    first = f"install {unused.first} first, then " if unused.first else ""
    if compiled:
        text = f"this build of llama.cpp cannot use {name}; {first}run"
    else:
        text = f"to use {name}, {first}compile llama.cpp for it with"
    return Finding("gpu", text, installation.reinstall(unused.flag))


def _name(gpu: Graphics) -> str:
    """The NVIDIA GeForce RTX 4090; an NVIDIA GPU, if its name is not known."""
    if gpu.name:
        return f"the {gpu.maker} {gpu.name}"
    article = "an" if gpu.maker[0] in "AN" else "a"
    return f"{article} {gpu.maker} GPU"


def _memory(diagnosis: Diagnosis) -> Iterator[Finding]:
    memory, swap = diagnosis.hardware.memory, diagnosis.hardware.swap_used
    if memory.limit == "cgroup":
        limited = f"a control group (a container or service) limits memory to {units.size(memory.total)}"
        yield Finding("memory", f"{limited}; raise its limit to run larger models")
    if memory.limit == "ulimit":
        limited = f"ulimit -v limits memory to {units.size(memory.total)}"
        yield Finding("memory", f"{limited}; to lift the limit run", "ulimit -v unlimited")
    if swap > _MIN_SWAP:
        yield Finding("swap", f"{units.size(swap)} of swap in use; close other programs, or answers come slowly")


def _power(diagnosis: Diagnosis) -> Iterator[Finding]:
    power = diagnosis.hardware.power
    if power is not None and power.on_battery:
        yield Finding("power", f"on battery ({power.percent} %), which slows the processor; plug it in")


def _busy(diagnosis: Diagnosis) -> Iterator[Finding]:
    busy = diagnosis.hardware.busy
    if busy is not None and busy > _MAX_BUSY:
        text = f"other programs used {100 * busy:.0f} % of the processor, so the speeds shown are too low"
        yield Finding("busy", f"{text}; run r1 doctor again when they are done")


def _disks(diagnosis: Diagnosis) -> Iterator[Finding]:
    home, cache = diagnosis.hardware.home, diagnosis.hardware.hub_cache
    if home is not None and home.is_nearly_full:
        text = f"{_left(home)}, where models are stored"
        yield Finding("disk", f"{text}; remove some with r1 rm, or set R1_HOME to another folder")
    if cache is not None and cache.is_nearly_full and (home is None or cache.device != home.device):
        text = f"{_left(cache)}, where the Hugging Face cache is"
        yield Finding("hub_cache", f"{text}; set HF_HOME to another folder")


def _left(disk: Disk) -> str:
    return f"{units.size(disk.free)} left on the disk of {disk.label}"
