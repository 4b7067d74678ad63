"""The processor's cores: which ones this process may use, how many threads pay off, and how busy they are."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from r1.machine.load import online
from r1.machine.memory import control_groups, group_folders, parse_number, read_text

_MAX_CPUS = 1 << 16  # a larger number in a file is a mistake
_FAST_CAPACITY = 0.6
"""A core with less than this share of the fastest one's capacity is a slow core: all others would wait for it."""

_SAMPLE_S = 0.15


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
    """The cores this process may use.

    `physical` counts hyper-threads of one core once; `fast` counts the physical cores that keep pace with the fastest.
    `quota` is the processor time that a control group allows, as a number of processors; None for no limit.
    """

    logical: int
    physical: int
    fast: int
    quota: float | None = None

    @property
    def threads(self) -> Threads:
        """One per fast core: hyper-threads share the units that matrix products need, and a slow core delays the rest.

        A quota is rounded down to full threads, so that no thread waits for one that the scheduler put to sleep.
        """
        count = self.fast if self.quota is None else min(self.fast, int(self.quota))
        return Threads.of(max(1, count))

    def __str__(self) -> str:
        text = f"{self.physical} cores" if self.physical > 1 else "one core"
        text += f", {self.fast} of them fast" if self.fast < self.physical else ""
        text += f", {self.logical} threads" if self.logical > self.physical else ""
        return text if self.quota is None else f"{text}; a control group allows {self.quota:.3g}"


def default_threads() -> Threads:
    """The number of threads to use unless `r1 bench --tune` has found a better one."""
    return cores().threads


def cores(root: Path = Path("/")) -> Cores:
    """The cores available now. On Linux `proc` and `sys` are read below `root`."""
    if sys.platform == "darwin":
        return _apple()
    if sys.platform.startswith(("linux", "android")) and (linux_cores := _linux(root, online())):
        return linux_cores
    import psutil

    logical = len(online())
    physical = max(1, min(psutil.cpu_count(logical=False) or logical, logical))
    return Cores(logical, physical, physical)


def busy_share() -> float | None:
    """The share of all cores that is busy, 0 to 1; None where the system does not say (Android)."""
    import psutil

    try:
        return float(psutil.cpu_percent(interval=_SAMPLE_S)) / 100
    except (OSError, RuntimeError, NotImplementedError):
        return None


def _linux(root: Path, allowed: tuple[int, ...]) -> Cores | None:
    """None where sysfs does not say which processors belong to one core.

    https://docs.kernel.org/admin-guide/cputopology.html
    """
    folder = root / "sys/devices/system/cpu"
    siblings = {cpu: _siblings(folder / f"cpu{cpu}/topology") for cpu in allowed}
    if not siblings or not all(siblings.values()):
        return None
    first_of_each = {tuple(sorted(_cpu_list(text) & set(allowed))): cpu for cpu, text in reversed(siblings.items())}
    capacity = {cpu: _capacity(root, cpu) for cpu in first_of_each.values()}
    best = max(capacity.values())
    fast = sum(value >= _FAST_CAPACITY * best for value in capacity.values())
    return Cores(len(allowed), len(first_of_each), fast, _quota(root))


def _siblings(topology: Path) -> str:
    return read_text(topology / "core_cpus_list") or read_text(topology / "thread_siblings_list")


def _capacity(root: Path, cpu: int) -> float:
    """A processor's relative speed: the scheduler's capacity, else Intel's kind of core, else the top clock speed."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}"
    if capacity := parse_number(read_text(folder / "cpu_capacity")):
        return capacity
    if efficient := read_text(root / "sys/devices/cpu_atom/cpus"):  # Intel's efficient cores
        return 0.5 if cpu in _cpu_list(efficient) else 1.0
    return parse_number(read_text(folder / "cpufreq/cpuinfo_max_freq")) or 1


def _cpu_list(text: str) -> set[int]:
    """`0-3,8` → {0, 1, 2, 3, 8}."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = parse_number(first), parse_number(last or first)
        if low is not None and high is not None and high < _MAX_CPUS:
            cpus.update(range(low, high + 1))
    return cpus


def _quota(root: Path) -> float | None:
    """The processor time that the control groups around this process allow, as a number of processors.

    The smallest limit counts.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max), scheduler/sched-bwc.html (version 1).
    """
    quotas: list[float | None] = []
    for controllers, name in control_groups(root):
        mount = root / "sys/fs/cgroup"
        if "cpu" in controllers:
            mount = next((m for m in (mount / "cpu", mount / "cpu,cpuacct") if m.is_dir()), mount / "cpu")
        elif controllers:
            continue
        quotas += map(_group_quota, group_folders(mount, name))
    return min((quota for quota in quotas if quota is not None), default=None)


def _group_quota(folder: Path) -> float | None:
    version_1 = f"{read_text(folder / 'cpu.cfs_quota_us')} {read_text(folder / 'cpu.cfs_period_us')}"
    limit, _, period = (read_text(folder / "cpu.max") or version_1).partition(" ")
    allowed, length = parse_number(limit), parse_number(period)
    return allowed / length if allowed is not None and length else None


def _apple() -> Cores:
    """Performance level 0 holds the fast cores; Intel Macs have one level.

    https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_system_capabilities
    """
    logical = _sysctl("hw.logicalcpu") or os.cpu_count() or 1
    physical = _sysctl("hw.physicalcpu") or logical
    return Cores(logical, physical, _sysctl("hw.perflevel0.physicalcpu") or physical)


def _sysctl(name: str) -> int:
    """0 when sysctl does not know the name."""
    import subprocess

    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return 0
    return int(done.stdout) if done.stdout.strip().isdigit() else 0
