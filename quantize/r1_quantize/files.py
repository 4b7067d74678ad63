"""Small files that are there whole or not at all.

Knows: how that is done. Does not know: what is in them.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from r1_quantize import units
from r1_quantize.errors import NotEnoughRoom, R1Error

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""How a disk without room says so."""


def write_whole(path: Path, text: str) -> None:
    """Raises R1Error when the disk fails."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as exc:
        raise failed(path, exc) from exc


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises R1Error when the disk fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise failed(path, exc) from exc


def failed(path: Path, exc: OSError, needed: int | None = None) -> R1Error:
    """What to raise when the disk fails at `path`, of which `needed` bytes were to come."""
    if exc.errno not in FULL:
        return R1Error(f"{path}: {exc.strerror}")
    free = units.size(shutil.disk_usage(path.parent).free)
    wanted = f": {units.size(needed)} are needed, {free} are free" if needed is not None else ""
    return NotEnoughRoom(f"{path}: {exc.strerror}{wanted}; make room and run it again: it goes on from here")
