"""How much room is on the disks that models lie on.

Knows: where R1_HOME's disk is, where the Hugging Face cache is (as huggingface_hub has it, which is too heavy an import
for that). Does not know: what lies there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FEW = 5_000_000_000  # bytes; a 7B in four bits takes about as many
_SMALL_PART = 0.05


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk on which `path` is or would be. Bytes; `device` tells one disk from another."""

    path: Path
    free: int
    total: int
    device: int

    @property
    def label(self) -> str:
        """The path as people write it, `~` for their own folder."""
        try:
            return str(Path("~") / self.path.relative_to(Path.home()))
        except (ValueError, RuntimeError):  # elsewhere, or nobody's
            return str(self.path)

    @property
    def is_nearly_full(self) -> bool:
        return self.free < _FEW or self.free < _SMALL_PART * self.total


def disk(path: Path) -> Disk | None:
    """None when it cannot be read. The folder need not exist."""
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        usage = shutil.disk_usage(there)
        return Disk(path, usage.free, usage.total, there.stat().st_dev)
    except (OSError, StopIteration):
        return None


def hub_cache(environ: Mapping[str, str]) -> Path:
    """The folder of the Hugging Face cache: HF_HUB_CACHE, else `hub` in HF_HOME, else in the cache of the person.

    https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    said = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    if said:
        return _expanded(said)
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(environ.get("HF_HOME") or f"{cache}/huggingface") / "hub"


def _expanded(said: str) -> Path:
    return Path(os.path.expandvars(said)).expanduser()
