"""Main memory: how much the machine has, how much this process can still use, and its peak use so far."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

Limit = Literal["machine", "cgroup", "ulimit"]

_UNLIMITED = 1 << 60  # bytes; cgroup v1 reports a number near 2⁶³ when there is no limit
_CACHED = ("inactive_file", "active_file")  # a file becomes active at its second use


class Memory(NamedTuple):
    """Bytes. `free` can be used without swapping; `limit` names the cause of the limit.

    `address_space`: `ulimit -v` limits the address space, so a mapped file counts even while it is not in memory.
    """

    total: int
    free: int
    limit: Limit = "machine"
    address_space: bool = False


def memory(root: Path = Path("/")) -> Memory:
    """The memory available now. On Linux `proc` and `sys` are read below `root`."""
    available, installed = _linux(root) or _psutil()
    physical: list[tuple[int, int, Limit]] = [(available, installed, "machine")]
    physical += [(free, total, "cgroup") for free, total in _cgroups(root)]
    mappable: list[tuple[int, int, Limit]] = [(free, total, "ulimit") for free, total in _address_space(root)]
    free, _, limit = min(physical + mappable)
    total = min(total for _, total, _ in physical + mappable)
    return Memory(total=total, free=max(0, free), limit=limit, address_space=bool(mappable))


def _linux(root: Path) -> tuple[int, int] | None:
    """Available and installed bytes. Saves `r1 run` the import of psutil, which reads the same file."""
    lines = (line.split() for line in read_text(root / "proc/meminfo").splitlines())
    kilobytes = {fields[0]: int(fields[1]) for fields in lines if len(fields) > 1 and fields[1].isdecimal()}
    available, total = kilobytes.get("MemAvailable:", 0), kilobytes.get("MemTotal:", 0)
    return (available * 1024, total * 1024) if 0 < available <= total else None  # else an old kernel, or a container


def _psutil() -> tuple[int, int]:
    import psutil

    machine = psutil.virtual_memory()
    return int(machine.available), int(machine.total)


def swap_used() -> int:
    """Bytes in swap; 0 where the system does not say."""
    import psutil

    with warnings.catch_warnings(), suppress(OSError, RuntimeError):
        warnings.simplefilter("ignore")  # psutil warns of counters that Android hides and r1 does not read
        return int(psutil.swap_memory().used)
    return 0


def peak_memory() -> int:
    """The peak of this process's main memory so far, in bytes, mapped files included."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    with suppress(OSError):  # on Linux, getrusage would also count the process that started this program
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def control_groups(root: Path) -> Iterator[tuple[list[str], str]]:
    """This process's control groups: the controllers (none for version 2) and the name of each."""
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, colon, rest = line.partition(":")
        controllers, second, name = rest.partition(":")
        if colon and second and "\0" not in name:
            yield [one for one in controllers.split(",") if one], name


def group_folders(mount: Path, name: str) -> Iterator[Path]:
    """The folders of a group and of its parents. In a container the mount may be the group itself."""
    group = mount / name.lstrip("/")
    for folder in (group, *group.parents):
        yield folder
        if folder == mount:
            return


def parse_number(text: str) -> int | None:
    """A non-negative integer; None for anything else, such as `max`, or for a number too large for any machine."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def read_text(file: Path) -> str:
    """The contents of a file of proc or sys; empty when it is missing or unreadable."""
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except (OSError, ValueError):  # ValueError: a path with a null character
        return ""


def _cgroups(root: Path) -> Iterator[tuple[int, int]]:
    """Free and allowed bytes of every control group around this process that has a limit.

    https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html.
    """
    for controllers, name in control_groups(root):
        if not controllers:
            yield from _limits(root / "sys/fs/cgroup", name, limit="memory.max", usage="memory.current")
        elif "memory" in controllers:
            mount = root / "sys/fs/cgroup/memory"
            files = {"limit": "memory.limit_in_bytes", "usage": "memory.usage_in_bytes"}
            yield from _limits(mount, name, **files, prefix="total_")


def _limits(mount: Path, name: str, *, limit: str, usage: str, prefix: str = "") -> Iterator[tuple[int, int]]:
    for folder in group_folders(mount, name):
        allowed, used = parse_number(read_text(folder / limit)), parse_number(read_text(folder / usage))
        if allowed is not None and used is not None and allowed < _UNLIMITED:
            # cached files count as used, but the kernel drops them when memory is needed
            cached = sum(_statistic(folder / "memory.stat", f"{prefix}{kind}") for kind in _CACHED)
            yield allowed - used + min(cached, used), allowed


def _address_space(root: Path) -> Iterator[tuple[int, int]]:
    """Free and allowed bytes under `ulimit -v`; nothing if there is no limit."""
    if sys.platform == "win32":
        return
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed not in {resource.RLIM_INFINITY, -1} and allowed < _UNLIMITED:
        pages = parse_number(read_text(root / "proc/self/statm").partition(" ")[0]) or 0
        yield allowed - pages * os.sysconf("SC_PAGE_SIZE"), allowed


def _statistic(file: Path, name: str) -> int:
    pairs = (line.partition(" ") for line in read_text(file).splitlines())
    return next((parse_number(value) or 0 for key, _, value in pairs if key == name), 0)
