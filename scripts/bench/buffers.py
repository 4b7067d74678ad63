"""Reads the buffers that llama.cpp allocates from its log, for memory.py, gpu_memory.py and the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from r1.engine.llama import log

_LINE = re.compile(r" (\S+) +(model|KV|compute|output) buffer size = +([\d.]+) MiB")
_FIRST_LINE = "llama_model_loader: loaded meta data"  # of each model


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer of `size` bytes; `device` is llama.cpp's name for it, `kind` is model, KV, compute or output."""

    device: str
    kind: str
    size: int

    @property
    def is_mapped(self) -> bool:
        """Whether it is the file itself, mapped into memory."""
        return "Mapped" in self.device


@contextmanager
def recorded_log() -> Iterator[list[str]]:
    """Collects llama.cpp's log. A new model clears it: buffers of a model that was refused do not count."""
    lines: list[str] = []
    write = log.write

    def record(level: int, text: str) -> None:
        if _FIRST_LINE in text:
            lines.clear()
        lines.append(text)
        write(level, text)

    log.write = record  # type: ignore[method-assign]
    try:
        yield lines
    finally:
        del log.write


def buffers(lines: Sequence[str]) -> list[Buffer]:
    """Each device's buffers. Those of the model are added up; for other kinds, the last one replaces the others."""
    sizes: dict[tuple[str, str], int] = {}
    for device, kind, mebibytes in _LINE.findall("".join(lines)):
        before = sizes.get((device, kind), 0) if kind == "model" else 0
        sizes[device, kind] = before + int(float(mebibytes) * 2**20)
    return [Buffer(device, kind, size) for (device, kind), size in sizes.items()]


def resident(field: str) -> int:
    """Bytes of this process in memory: `VmRSS`, `RssAnon`, `RssFile` or `RssShmem` of /proc. Linux only."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"{field}:\s+(\d+)", status)[0]) * 1024
