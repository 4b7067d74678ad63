"""Free space on the disks that hold R1_HOME and the Hugging Face cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LOW_BYTES = 5_000_000_000  # about the size of a 7B in four bits
_LOW_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that holds, or would hold, `path`. Sizes in bytes; `device` is the same for paths on the same disk."""

    path: Path
    free: int
    total: int
    device: int

    @property
    def label(self) -> str:
        """The path, with `~` for the home folder."""
        try:
            return str(Path("~") / self.path.relative_to(Path.home()))
        except (ValueError, RuntimeError):  # not below the home folder, or no home folder
            return str(self.path)

    @property
    def is_nearly_full(self) -> bool:
        return self.free < _LOW_BYTES or self.free < _LOW_SHARE * self.total


def disk(path: Path) -> Disk | None:
    """The disk of a folder, which need not exist yet. None when it cannot be read."""
    try:
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        usage = shutil.disk_usage(existing)
        return Disk(path=path, free=usage.free, total=usage.total, device=existing.stat().st_dev)
    except (OSError, StopIteration):
        return None


def hub_cache(environ: Mapping[str, str]) -> Path:
    """The folder of the Hugging Face cache: HF_HUB_CACHE, else `hub` in HF_HOME, else in the user's cache folder.

    huggingface_hub has the same rule, but takes too long to import for this.
    https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    if path := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(path)
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(environ.get("HF_HOME") or f"{cache}/huggingface") / "hub"


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(os.path.expandvars(path)))  # noqa: PTH111 — Path's own raises without a home
