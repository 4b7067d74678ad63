"""What this machine has to offer a model right now: facts for `fit`, gathered from `memory`, `cores` and `devices`.

Knows: how much is left to others. Does not know: models.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from r1.engine.devices import Device
from r1.fit.plan import COMFORTABLE, LONGEST, DeviceMemory, Machine
from r1.machine.cores import Threads, default_threads
from r1.machine.memory import Memory

_MARGIN = 256_000_000  # bytes that stay free: what the system says is free is an estimate, and others want some too
_SHARE, _TENTH = 1 / 16, 1 / 10  # of all memory; Android ends programs long before the last byte is taken
_SYSTEM = 1_000_000_000  # bytes that an operating system has for itself, or a tenth of them
_THREAD = 9 << 20  # bytes of address space a thread: its stack, of which next to nothing is used
_DRIVER = 384 << 20  # bytes on a card: what its driver and libraries take for themselves once they compute
_UNKNOWN = 1 << 60  # bytes, where a device does not say; it will refuse what it cannot hold


def survey(gpus: Sequence[Device], now: Memory, threads: Threads | None = None) -> Machine:
    """The machine, with the devices that are to be used and the memory that there is `now`.

    `threads` None: as many as are worth having.
    """
    rooms = tuple(DeviceMemory(gpu.name, _usable(gpu), gpu.shares_memory) for gpu in gpus)
    longest = COMFORTABLE if is_phone(os.environ) else LONGEST
    return Machine(now.free, _margin(now, threads or default_threads()), rooms, longest)


def alone(gpus: Sequence[Device], now: Memory) -> Machine:
    """The machine when other programs are closed: what the system itself needs stays taken.

    Within a limit there is no system, only this program.
    """
    kept = max(_SYSTEM, int(_TENTH * now.total)) if now.limit == "machine" else 0
    emptied = max(now.free, now.total - kept)
    return survey([replace(gpu, free=gpu.total) for gpu in gpus], replace(now, free=emptied))


def is_phone(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether this is Android, where Python runs in Termux; `platform` is as `sys.platform`, which says so since 3.13.

    https://wiki.termux.com/wiki/Differences_from_Linux
    """
    in_termux = "TERMUX_VERSION" in environ or environ.get("PREFIX", "").startswith("/data/data/com.termux")
    return in_termux or platform == "android"


def _margin(now: Memory, threads: Threads) -> int:
    if is_phone(os.environ):
        return int(_TENTH * now.total)
    margin = min(_MARGIN, int(_SHARE * now.total))
    return margin + (max(threads.decode, threads.prefill) * _THREAD if now.address_space else 0)


def _usable(gpu: Device) -> int:
    if not gpu.total:
        return _UNKNOWN
    return max(0, gpu.free - (0 if gpu.shares_memory else _DRIVER))
