"""What `r1 doctor` has found out: facts, and no words about them.

Knows: what belongs together. Does not know: how any of it is read, or shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r1.doctor.installation import Installation
from r1.doctor.terminal import Terminal
from r1.engine.build import Build
from r1.engine.devices import Device
from r1.fit.choice import Prospect, Recommendation
from r1.machine.cores import Threads
from r1.machine.disk import Disk
from r1.machine.graphics import Unused
from r1.machine.memory import Memory
from r1.machine.power import Power
from r1.machine.processor import USEFUL, Processor


@dataclass(frozen=True, slots=True)
class Versions:
    """Of the programs; `binding` is llama-cpp-python's, empty where it is not installed as a package."""

    r1: str
    python: str
    binding: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine. `cores` in words; `busy` is the share of them that other programs had when `bandwidth` (bytes a
    second) was measured. What could not be found out is None."""

    processor: Processor
    cores: str
    threads: Threads
    memory: Memory
    swap_used: int
    busy: float | None
    bandwidth: float | None
    power: Power | None
    home: Disk | None
    hub_cache: Disk | None
    terminal: Terminal


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of it. `build` is None and `trouble` says why, with its remedy, when llama.cpp cannot be loaded."""

    versions: Versions
    hardware: Hardware
    installation: Installation
    build: Build | None
    trouble: str | None
    devices: Sequence[Device]
    unused: Sequence[Unused]
    prospects: Sequence[Prospect]
    recommendation: Recommendation | None
    here: frozenset[str]

    @property
    def missing(self) -> list[str]:
        """Useful instruction sets that the processor has, and the build does not use."""
        if self.build is None:
            return []
        lacking = self.hardware.processor.has - self.build.instructions
        return [name for name in USEFUL if name in lacking]

    @property
    def impossible(self) -> list[str]:
        """Those that the build uses, and the processor does not have."""
        processor = self.hardware.processor
        if self.build is None or not processor.knows_all:
            return []
        beyond = self.build.instructions - processor.has
        return [name for name in USEFUL if name in beyond]
