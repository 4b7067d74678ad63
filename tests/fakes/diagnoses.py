"""A made-up machine, as `r1 doctor` would diagnose it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from r1.doctor.diagnosis import Diagnosis, Hardware, Versions
from r1.doctor.installation import Installation
from r1.doctor.terminal import Terminal
from r1.engine.build import Build
from r1.engine.devices import Device
from r1.fit.recommendation import Surroundings, comfortable, prospects, recommend
from r1.fit.votes import VotesInstead, votes_instead
from r1.machine.cores import Threads
from r1.machine.disk import Disk
from r1.machine.graphics import Graphics, Unused
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
    terminal=Terminal(
        is_terminal=True,
        columns=80,
        lines=24,
        colours="256",
        encoding="utf-8",
        unicode=True,
        tmux=True,
        ssh=False,
        termux=False,
    ),
)
CUDA = Unused(Graphics("NVIDIA", "GeForce RTX 4090"), "-DGGML_CUDA=on", "NVIDIA's CUDA toolkit")
"""A GPU that the made-up machine could have, and its build does not support."""


@cache
def diagnosis() -> Diagnosis:
    """A laptop a few years old, with nothing wrong."""
    candidates = prospects(catalog.load().values(), Surroundings.of((), MEMORY, HARDWARE.bandwidth, HARDWARE.threads))
    return Diagnosis(
        versions=Versions(r1="0.1.0", python="3.12.1", binding="0.3.36"),
        hardware=HARDWARE,
        installation=Installation(
            tool="pipx", python="/home/somebody/venvs/r1-local/bin/python", name="r1-local", version="0.3.36"
        ),
        build=Build(frozenset({"AVX", "AVX2", "FMA", "F16C"}), frozenset({"CPU"}), "0c1e570", "0.25.3"),
        llama_cpp_error=None,
        devices=[Device("CPU", "cpu", "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "CPU", 8 * GB, 16 * GB)],
        unused=[],
        prospects=candidates,
        recommendation=recommend(candidates, (), 100 * GB),
        votes=votes_instead(comfortable(candidates, (), 100 * GB)),
        stored=frozenset(),
    )


def votes() -> VotesInstead:
    """Advice that does not hold on that laptop."""
    by_name = {prospect.reference: prospect for prospect in diagnosis().prospects}
    return VotesInstead(by_name["qwen-7b:Q4_K_M"], by_name["qwen-32b:Q4_K_M"], votes=8, time_share=0.951)


def diagnosis_with(**changes: object) -> Diagnosis:
    """The same machine with other hardware."""
    return replace(diagnosis(), hardware=replace(HARDWARE, **changes))  # type: ignore[arg-type]
