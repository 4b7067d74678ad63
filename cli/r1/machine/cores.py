"""The processor's cores: which of them this process may use, and how many threads are worth having.

Knows: affinity, hyper-threads, fast and slow cores, quotas of control groups. Does not know: what is computed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from r1.machine.memory import folders_of, groups_of, read_text, whole

_MOST = 1 << 16  # processors; more are a mistake
_FAST = 0.6
"""A core with less than this share of the fastest one's capacity is a slow one: all others would wait for it."""


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads decode, and how many prefill."""

    decode: int
    prefill: int

    @classmethod
    def of(cls, count: int) -> Threads:
        """The same number for both."""
        return cls(count, count)


@dataclass(frozen=True, slots=True)
class Cores:
    """What this process may use. `physical` counts hyper-threads of one core once; `fast` are the physical ones that
    keep pace with the fastest. `quota`: how many of them at a time, where a control group says so."""

    logical: int
    physical: int
    fast: int
    quota: float | None = None

    @property
    def threads(self) -> Threads:
        """One a fast core: hyper-threads share the units that matrix products need, and a slow core holds up the rest.

        Within a quota, as whole threads that need not wait for one that was put to sleep.
        """
        count = self.fast if self.quota is None else min(self.fast, int(self.quota))
        return Threads.of(max(1, count))

    def __str__(self) -> str:
        said = f"{self.physical} cores" if self.physical > 1 else "one core"
        said += f", {self.fast} of them fast" if self.fast < self.physical else ""
        said += f", {self.logical} threads" if self.logical > self.physical else ""
        return said if self.quota is None else f"{said}, of which a control group leaves {self.quota:.3g}"


def default_threads() -> Threads:
    """As many as are worth having here, unless something was measured (`r1 bench --tune`)."""
    return cores().threads


def cores(root: Path = Path("/")) -> Cores:
    """What there is now. Below `root` lie `proc` and `sys`, on Linux."""
    if sys.platform == "darwin":
        return _apple()
    if sys.platform.startswith(("linux", "android")) and (found := _linux(root, _allowed())):
        return found
    import psutil

    logical = len(_allowed())
    physical = max(1, min(psutil.cpu_count(logical=False) or logical, logical))
    return Cores(logical, physical, physical)


def _allowed() -> list[int]:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _linux(root: Path, allowed: list[int]) -> Cores | None:
    """None where sysfs does not say which processors belong to one core.

    https://docs.kernel.org/admin-guide/cputopology.html
    """
    folder = root / "sys/devices/system/cpu"
    siblings = {cpu: _siblings(folder / f"cpu{cpu}/topology") for cpu in allowed}
    if not siblings or not all(siblings.values()):
        return None
    first_of_each = {tuple(sorted(_numbers(text) & set(allowed))): cpu for cpu, text in reversed(siblings.items())}
    capacity = {cpu: _capacity(root, cpu) for cpu in first_of_each.values()}
    best = max(capacity.values())
    fast = sum(value >= _FAST * best for value in capacity.values())
    return Cores(len(allowed), len(first_of_each), fast, _quota(root))


def _siblings(topology: Path) -> str:
    return read_text(topology / "core_cpus_list") or read_text(topology / "thread_siblings_list")


def _capacity(root: Path, cpu: int) -> float:
    """How much a processor does in comparison: what the scheduler goes by, else what kind it is, else its top speed."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}"
    if capacity := whole(read_text(folder / "cpu_capacity")):
        return capacity
    if slow := read_text(root / "sys/devices/cpu_atom/cpus"):  # Intel's efficient cores
        return 0.5 if cpu in _numbers(slow) else 1.0
    return whole(read_text(folder / "cpufreq/cpuinfo_max_freq")) or 1


def _numbers(text: str) -> set[int]:
    """`0-3,8` → {0, 1, 2, 3, 8}."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = whole(first), whole(last or first)
        if low is not None and high is not None and high < _MOST:
            found.update(range(low, high + 1))
    return found


def _quota(root: Path) -> float | None:
    """How many processors' time the control groups around this process leave it, at most.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max), scheduler/sched-bwc.html (version 1).
    """
    quotas: list[float | None] = []
    for controllers, name in groups_of(root):
        mount = root / "sys/fs/cgroup"
        if "cpu" in controllers:
            mount = next((m for m in (mount / "cpu", mount / "cpu,cpuacct") if m.is_dir()), mount / "cpu")
        elif controllers:
            continue
        quotas += map(_group_quota, folders_of(mount, name))
    return min((quota for quota in quotas if quota is not None), default=None)


def _group_quota(folder: Path) -> float | None:
    of_v1 = f"{read_text(folder / 'cpu.cfs_quota_us')} {read_text(folder / 'cpu.cfs_period_us')}"
    limit, _, period = (read_text(folder / "cpu.max") or of_v1).partition(" ")
    allowed, length = whole(limit), whole(period)
    return allowed / length if allowed is not None and length else None


def _apple() -> Cores:
    """Performance level 0 is that of the fast cores; Intel's have one level.

    https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_system_capabilities
    """
    logical = _sysctl("hw.logicalcpu") or os.cpu_count() or 1
    physical = _sysctl("hw.physicalcpu") or logical
    return Cores(logical, physical, _sysctl("hw.perflevel0.physicalcpu") or physical)


def _sysctl(name: str) -> int:
    """0 when it is not known."""
    import subprocess

    try:
        said = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return 0
    return int(said.stdout) if said.stdout.strip().isdigit() else 0


_MOMENT = 0.15  # seconds


def load() -> float | None:
    """The share of all cores that is at work, 0 to 1; None where the system tells nobody (Android)."""
    import psutil

    try:
        return float(psutil.cpu_percent(interval=_MOMENT)) / 100
    except (OSError, RuntimeError, NotImplementedError):
        return None
