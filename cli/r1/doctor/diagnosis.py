"""The facts that `r1 doctor` gathers, as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r1.doctor.installation import Installation
from r1.doctor.terminal import Terminal
from r1.engine.build import Build
from r1.engine.devices import Device
from r1.fit.recommendation import Prospect, Recommendation
from r1.fit.votes import VotesInstead
from r1.machine.cores import Threads
from r1.machine.disk import Disk
from r1.machine.graphics import Unused
from r1.machine.memory import Memory
from r1.machine.power import Power
from r1.machine.processor import USEFUL, Processor


@dataclass(frozen=True, slots=True)
class Versions:
    """The programs' versions. `binding` is llama-cpp-python's, empty if it is not installed as a package."""

    r1: str
    python: str
    binding: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine. None: the fact could not be determined.

    `cores` is in words. `bandwidth` is in bytes per second; `busy` is the share of the cores that other programs used
    when it was measured.
    """

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
    """All facts. If llama.cpp cannot be loaded, `build` is None and `llama_cpp_error` says why and what to do.

    `stored` are the references of the models on this machine.
    """

    versions: Versions
    hardware: Hardware
    installation: Installation
    build: Build | None
    llama_cpp_error: str | None
    devices: Sequence[Device]
    unused: Sequence[Unused]
    prospects: Sequence[Prospect]
    recommendation: Recommendation | None
    votes: VotesInstead | None
    stored: frozenset[str]

    @property
    def missing_instructions(self) -> list[str]:
        """Useful instruction sets that the processor has but the build does not use."""
        if self.build is None:
            return []
        missing = self.hardware.processor.has - self.build.instructions
        return [name for name in USEFUL if name in missing]

    @property
    def unsupported_instructions(self) -> list[str]:
        """Instruction sets that the build uses but the processor does not have."""
        processor = self.hardware.processor
        if self.build is None or not processor.knows_all:
            return []
        unsupported = self.build.instructions - processor.has
        return [name for name in USEFUL if name in unsupported]
