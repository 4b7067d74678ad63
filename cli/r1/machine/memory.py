"""Main memory: what the machine has, and how much of it this process may still take.

Knows: what the system counts as free, control groups, the limit on address space. Does not know: what it is for.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Limit = Literal["machine", "cgroup", "ulimit"]

_UNLIMITED = 1 << 60  # bytes; without a limit cgroup v1 says a number near 2⁶³
_CACHED = ("inactive_file", "active_file")  # a file becomes active at its second use


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `free` is what can be had without swapping; `limit` says what keeps it from being more. `address_space`:
    whether `ulimit -v` limits that, so that what is mapped counts, whether it is in memory or not."""

    total: int
    free: int
    limit: Limit = "machine"
    address_space: bool = False


def memory(root: Path = Path("/")) -> Memory:
    """What there is now. Below `root` lie `proc` and `sys`, on Linux."""
    import psutil

    machine = psutil.virtual_memory()
    found: list[tuple[int, int, Limit]] = [(int(machine.available), int(machine.total), "machine")]
    found += [(free, total, "cgroup") for free, total in _cgroups(root)]
    mappable: list[tuple[int, int, Limit]] = [(free, total, "ulimit") for free, total in _address_space(root)]
    free, _, limit = min(found + mappable)
    total = min(total for _, total, _ in found + mappable)
    return Memory(total, max(0, free), limit, bool(mappable))


def swap_used() -> int:
    """Bytes that were moved out of memory; 0 where the system does not say."""
    import psutil

    with warnings.catch_warnings(), suppress(OSError, RuntimeError):
        warnings.simplefilter("ignore")  # of counters that Android shows nobody, and that are not asked for
        return int(psutil.swap_memory().used)
    return 0


def _cgroups(root: Path) -> Iterator[tuple[int, int]]:
    """Free and allowed bytes of every control group around this process that has a limit.

    https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html.
    """
    for controllers, name in groups_of(root):
        if not controllers:
            yield from _limits(root / "sys/fs/cgroup", name, "memory.max", "memory.current", "")
        elif "memory" in controllers:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            yield from _limits(root / "sys/fs/cgroup/memory", name, *names)


def groups_of(root: Path) -> Iterator[tuple[list[str], str]]:
    """The control groups of this process, each with its controllers; version 2 names none."""
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, colon, rest = line.partition(":")
        controllers, second, name = rest.partition(":")
        if colon and second and "\0" not in name:
            yield [one for one in controllers.split(",") if one], name


def folders_of(mount: Path, name: str) -> Iterator[Path]:
    """The group's and those of the groups around it. In a container the mount may be the group itself, which its name
    does not say."""
    group = mount / name.lstrip("/")
    for folder in (group, *group.parents):
        yield folder
        if folder == mount:
            return


def _limits(mount: Path, name: str, limit: str, usage: str, prefix: str) -> Iterator[tuple[int, int]]:
    for folder in folders_of(mount, name):
        allowed, used = whole(read_text(folder / limit)), whole(read_text(folder / usage))
        if allowed is not None and used is not None and allowed < _UNLIMITED:
            # files in the cache count as used, and are given up when something else needs the room
            cached = sum(_statistic(folder / "memory.stat", f"{prefix}{kind}") for kind in _CACHED)
            yield allowed - used + min(cached, used), allowed


def _address_space(root: Path) -> Iterator[tuple[int, int]]:
    """What `ulimit -v` leaves and allows."""
    if sys.platform == "win32":
        return
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed not in {resource.RLIM_INFINITY, -1} and allowed < _UNLIMITED:
        pages = whole(read_text(root / "proc/self/statm").partition(" ")[0]) or 0
        yield allowed - pages * os.sysconf("SC_PAGE_SIZE"), allowed


def _statistic(file: Path, name: str) -> int:
    pairs = (line.partition(" ") for line in read_text(file).splitlines())
    return next((whole(value) or 0 for key, _, value in pairs if key == name), 0)


def whole(text: str) -> int | None:
    """The number that stands there; None when it is none, as `max` is, or one that no machine has."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def read_text(file: Path) -> str:
    """What proc and sys say; nothing where there is no such file, or it is not for us."""
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except (OSError, ValueError):  # a name with what no name can hold
        return ""


def peak_memory() -> int:
    """Bytes of main memory that this process has had at most, what it maps of files included."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    with suppress(OSError):  # on Linux getrusage would count what was there before this program was started, too
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
