"""How busy the processors are with other programs: the time those use, and how many tasks compete.

Linux counts the time of each processor, so only those count that this process may use; elsewhere all of them do.
Android keeps the counters from apps.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

from r1.machine.memory import parse_number, read_text

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # a second, in /proc/stat
_COUNTED = (0, 1, 2, 5, 6, 7)
"""Columns of /proc/stat: user, nice, system, irq, softirq, steal; not idle and iowait, nor guest, which is in user."""

_LEAST_SHARE = 0.5  # of our own time: counters that show less than this do not count all processes
_NOISE_S = 0.1  # counters move in steps of 10 to 16 ms on each processor


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment. The times are processor seconds since some start; differences between two samples count.

    `busy` is the time of all programs on `processors`, None where the system does not say; `own` that of this process.
    """

    moment: float
    processors: tuple[int, ...]
    busy: float | None
    own: float

    def others_since(self, earlier: Sample) -> float | None:
        """Processors that other programs kept busy since then, on average: 1.5 is one and a half.

        None when it is not known: no counters, or other processors than before.
        """
        elapsed = self.moment - earlier.moment
        if self.busy is None or earlier.busy is None or self.processors != earlier.processors or elapsed <= 0:
            return None
        busy, own = self.busy - earlier.busy, self.own - earlier.own
        if busy < _LEAST_SHARE * own - _NOISE_S:
            return None
        return max(0.0, busy - own) / elapsed


def sample(root: Path = Path("/")) -> Sample:
    """The counters now; takes less than a tenth of a millisecond on a small machine. `proc` is read below `root`."""
    processors = online()
    busy = _linux(root, processors) if sys.platform.startswith(("linux", "android")) else _psutil()
    return Sample(perf_counter(), processors, busy, process_time())


def online() -> tuple[int, ...]:
    """The processors that this process may use and that are switched on; a phone switches some off to save power."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def competing(root: Path = Path("/")) -> float | None:
    """Other tasks that run or wait for a processor at this moment, per the processors that this process may use.

    None where the system does not say. Source: https://man7.org/linux/man-pages/man5/proc_loadavg.5.html
    """
    fields = read_text(root / "proc/loadavg").split()
    tasks = parse_number(fields[3].partition("/")[0]) if len(fields) > 3 else None
    if tasks is None:
        return None
    return max(0, tasks - 1) * min(1.0, len(online()) / (os.cpu_count() or 1))  # this task is running, too


def preemptions() -> int | None:
    """How often the system took a processor from this process's threads, in all; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _linux(root: Path, processors: tuple[int, ...]) -> float | None:
    """https://man7.org/linux/man-pages/man5/proc_stat.5.html"""
    wanted = {f"cpu{number}" for number in processors}
    ticks = found = 0
    for line in read_text(root / "proc/stat").splitlines():
        name, *fields = line.split()[: max(_COUNTED) + 2] or [""]
        if name in wanted and len(fields) > max(_COUNTED) and all(map(str.isdigit, fields)):
            ticks += sum(int(fields[column]) for column in _COUNTED)
            found += 1
        elif not name.startswith("cpu"):
            break
    return ticks / _TICKS if found == len(wanted) else None


def _psutil() -> float | None:
    import psutil

    try:
        times = psutil.cpu_times()
    except (OSError, RuntimeError, NotImplementedError):
        return None
    return float(times.user + times.system + getattr(times, "nice", 0.0))
