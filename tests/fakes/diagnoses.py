"""A made-up machine, as `r1 doctor` would have found it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from r1.doctor.diagnosis import Diagnosis, Hardware, Versions
from r1.doctor.installation import Installation
from r1.doctor.terminal import Terminal
from r1.engine.build import Build
from r1.engine.devices import Device
from r1.fit.choice import Surroundings, prospects, recommend
from r1.machine.cores import Threads
from r1.machine.disk import Disk
from r1.machine.memory import Memory
from r1.machine.processor import Processor
from r1_quantize import catalog

GB = 1_000_000_000

MEMORY = Memory(total=16 * GB, free=8 * GB)
HARDWARE = Hardware(
    processor=Processor(
        "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "x86_64", frozenset({"AVX", "AVX2", "FMA", "F16C"})
    ),
    cores="4 cores, 8 threads",
    threads=Threads(4, 4),
    memory=MEMORY,
    swap_used=0,
    busy=0.02,
    bandwidth=20e9,
    power=None,
    home=Disk(Path("/home/somebody/.local/share/r1"), 100 * GB, 500 * GB, 1),
    hub_cache=Disk(Path("/home/somebody/.cache/huggingface/hub"), 100 * GB, 500 * GB, 1),
    terminal=Terminal(True, 80, 24, "256", "utf-8", unicode=True, tmux=True, ssh=False, termux=False),
)


@cache
def diagnosis() -> Diagnosis:
    """A laptop of some years ago, with which nothing is wrong."""
    found = prospects(catalog.load().values(), Surroundings.of((), MEMORY, HARDWARE.bandwidth))
    return Diagnosis(
        versions=Versions("0.1.0", "3.12.1", "0.3.36"),
        hardware=HARDWARE,
        installation=Installation("pipx", "/home/somebody/venvs/r1-local/bin/python", "r1-local", "0.3.36"),
        build=Build(frozenset({"AVX", "AVX2", "FMA", "F16C"}), frozenset({"CPU"}), "0c1e570", "0.25.3"),
        trouble=None,
        devices=[Device("CPU", "cpu", "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "CPU", 8 * GB, 16 * GB)],
        unused=[],
        prospects=found,
        recommendation=recommend(found, (), 100 * GB),
        here=frozenset(),
    )
