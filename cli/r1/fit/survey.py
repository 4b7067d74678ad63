"""The memory this machine offers a model, now and with other programs closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from r1.engine.devices import Device
from r1.fit.plan import COMFORTABLE, LONGEST, DeviceMemory, Machine
from r1.machine.cores import Threads, default_threads
from r1.machine.memory import Memory

_MARGIN = 256_000_000  # bytes to keep free: the system's number is an estimate, and other programs need some too
_MARGIN_SHARE = 1 / 16  # of all memory, where that is less
_PHONE_SHARE = 1 / 10  # of all memory; Android ends programs long before memory is full
_SYSTEM = 1_000_000_000  # bytes that the operating system needs,
_SYSTEM_SHARE = 1 / 10  # or this share of all memory, if that is more
_STACK = 9 << 20  # bytes of address space per thread, nearly all of it unused
_DRIVER = 384 << 20  # bytes on a card that its driver and libraries take once they compute
_UNKNOWN = 1 << 60  # bytes, for a device that does not report its memory; it will refuse what it cannot hold


def survey(gpus: Sequence[Device], memory: Memory, threads: Threads | None = None) -> Machine:
    """The machine with the GPUs to use and its memory now; `threads` None takes the default number."""
    devices = tuple(DeviceMemory(gpu.name, free=_usable(gpu), shared=gpu.shares_memory) for gpu in gpus)
    longest = COMFORTABLE if is_phone(os.environ) else LONGEST
    margin = _margin(memory, threads or default_threads())
    return Machine(free=memory.free, margin=margin, gpus=devices, longest=longest)


def alone(gpus: Sequence[Device], memory: Memory) -> Machine:
    """The machine with other programs closed: all memory is free except what the operating system needs.

    A control group or ulimit covers this program only, so all of it is free.
    """
    system = max(_SYSTEM, int(_SYSTEM_SHARE * memory.total)) if memory.limit == "machine" else 0
    free = max(memory.free, memory.total - system)
    return survey([gpu._replace(free=gpu.total) for gpu in gpus], memory._replace(free=free))


def is_phone(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether this is Android, where Python runs in Termux. `platform` is "android" since Python 3.13, else "linux".

    https://wiki.termux.com/wiki/Differences_from_Linux
    """
    in_termux = "TERMUX_VERSION" in environ or environ.get("PREFIX", "").startswith("/data/data/com.termux")
    return in_termux or platform == "android"


def _margin(memory: Memory, threads: Threads) -> int:
    if is_phone(os.environ):
        return int(_PHONE_SHARE * memory.total)
    margin = min(_MARGIN, int(_MARGIN_SHARE * memory.total))
    return margin + (max(threads.decode, threads.prefill) * _STACK if memory.address_space else 0)


def _usable(gpu: Device) -> int:
    if not gpu.total:
        return _UNKNOWN
    return max(0, gpu.free - (0 if gpu.shares_memory else _DRIVER))
