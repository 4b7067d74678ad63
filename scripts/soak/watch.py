"""Looks at the server while nobody asks it anything: what it holds then, it holds for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
import psutil

_QUIET_S = 30.0
_POLL_S = 0.05
_MORE_DESCRIPTORS = 4
_MORE_THREADS = 4

_GAUGES = ("active_requests", "replies_running", "replies_waiting", "leases", "sequences_busy")


@dataclass(frozen=True, slots=True)
class Sample:
    """The process, and those figures of /metrics that are 0 when nothing is to be done, by name."""

    cpu_s: float
    memory_mb: float
    descriptors: int
    threads: int
    gauges: dict[str, int]
    cells: int
    free_cells: int

    @property
    def is_quiet(self) -> bool:
        return not any(self.gauges.values())

    @property
    def row(self) -> str:
        busy = " ".join(f"{self.gauges[name]:>16}" for name in _GAUGES)
        cells = f"{self.free_cells} of {self.cells}"
        return f"{self.cpu_s:5.0f} {self.memory_mb:9.1f} {self.descriptors:11} {self.threads:7} {busy} {cells:>14}"


HEADER = "CPU s memory MB descriptors threads " + " ".join(f"{name:>16}" for name in _GAUGES) + f" {'free cells':>14}"


async def sample(client: httpx2.AsyncClient, process: psutil.Process, first: Sample | None) -> Sample:
    """The server when it is quiet and has no more descriptors than at first; after a while, as it is."""
    deadline = time.monotonic() + _QUIET_S
    while True:
        taken = await _look(client, process)
        has_settled = first is None or taken.descriptors <= first.descriptors + _MORE_DESCRIPTORS
        if (taken.is_quiet and has_settled) or time.monotonic() > deadline:
            return taken
        await asyncio.sleep(_POLL_S)


async def _look(client: httpx2.AsyncClient, process: psutil.Process) -> Sample:
    text = (await client.get("/metrics")).text
    health = (await client.get("/health")).json()
    lines = (line.split(" ") for line in text.splitlines() if not line.startswith("#") and "{" not in line)
    told = {name: int(float(value)) for name, value in lines}
    gauges = {name: told[f"r1_{name}"] for name in _GAUGES} | {"active_requests": health["active"]}
    cpu, memory, threads = process.cpu_times(), process.memory_info().rss / 1e6, process.num_threads()
    descriptors = process.num_handles() if psutil.WINDOWS else process.num_fds()
    cells = told["r1_cells"], told["r1_cells_free"]
    return Sample(cpu.user + cpu.system, memory, descriptors, threads, gauges, *cells)


def leaks(samples: Sequence[Sample], most_mb: float) -> list[str]:
    """What is wrong with the samples, and what has grown from the second to the last: the memory by `most_mb`.

    The first one is from before the first minute.
    """
    problems = [
        f"{name} is {number} although nobody asks anything (look {look})"
        for look, each in enumerate(samples, 1)
        for name, number in each.gauges.items()
        if number
    ]
    problems += [
        f"{each.cells - each.free_cells} cells are missing (look {look})"
        for look, each in enumerate(samples, 1)
        if each.free_cells != each.cells
    ]
    first, last = samples[1], samples[-1]
    for name, before, after, most in (
        ("descriptors", first.descriptors, last.descriptors, _MORE_DESCRIPTORS),
        ("threads", first.threads, last.threads, _MORE_THREADS),
        ("MB of memory", first.memory_mb, last.memory_mb, most_mb),
    ):
        if after > before + most:
            problems.append(f"{before:.0f} {name} have become {after:.0f}")
    return problems
