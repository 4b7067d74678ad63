"""The items that can be removed from the store, and the disk space they take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_MODEL_SUFFIXES = (".gguf", ".json", ".json.next", ".gguf.partial", ".gguf.partial.journal")
"""The files of one model; the model first, because the others are useless without it."""


@dataclass(frozen=True, slots=True)
class Removable:
    """An item in the store that can be removed: a model, an unfinished model, or files of a checkpoint."""

    reference: str
    size: int  # bytes on disk
    paths: tuple[Path, ...]
    is_complete: bool


def removable_of(reference: str, paths: Sequence[Path], *, is_complete: bool = False) -> Removable:
    """The item made up of these files and folders."""
    files = [file for path in paths for file in (_files_in(path) if path.is_dir() else [path])]
    return Removable(
        reference=reference, size=sum(map(allocated_bytes, files)), paths=tuple(paths), is_complete=is_complete
    )


def files_of_model(folder: Path, quant: str) -> list[Path]:
    """All files of one model that exist, in the order in which to remove them."""
    return [path for suffix in _MODEL_SUFFIXES if (path := folder / f"{quant}{suffix}").exists()]


def allocated_bytes(path: Path) -> int:
    """The disk space a file takes; less than its size for an unfinished file, which has holes."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return min(status.st_size, getattr(status, "st_blocks", status.st_size) * 512)


def _files_in(folder: Path) -> Iterator[Path]:
    """Every file below a folder. Ignores files that another process removes meanwhile."""
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)
