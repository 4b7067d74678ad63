"""The record beside a half-made GGUF of what in it is whole, so that an interrupted run can be taken up again.

A line of JSON each: first what is being made, then the tensors and source files as they are done. Lines are only
ever appended. Nothing here is believed: after a power cut a line may be there and its tensor not, so each tensor's
checksum is compared with what the disk gives back (`writer`), and the source's digests with what is read (`pipeline`).

Knows: the form of the record. Does not know: what it is checked against.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor that was written: the CRC-32 of its bytes, and the SHA-256 of its source file up to its end."""

    crc32: int
    source_sha256: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A source file that was read to its end, as `HashedFile.stamp` had it, and its SHA-256."""

    stamp: tuple[int, int, int]
    sha256: str


@dataclass(slots=True)
class Progress:
    """What a journal says: `job` is the digest of everything the result follows from, but the weights."""

    job: str = ""
    tensors: dict[str, TensorRecord] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)


def read_journal(path: Path) -> Progress | None:
    """What an earlier run got done; None when there is no journal. Lines that make no sense are left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    progress = Progress()
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):
            _take(progress, json.loads(line))
    return progress


def _take(progress: Progress, line: Mapping[str, Any]) -> None:
    if "job" in line:
        progress.job = str(line["job"])
    elif "tensor" in line:
        record = TensorRecord(int(line["crc32"]), str(line["source_sha256"]))
        progress.tensors[str(line["tensor"])] = record
    elif "file" in line:
        size, modified, changed = map(int, line["stamp"])
        progress.files[str(line["file"])] = FileRecord((size, modified, changed), str(line["sha256"]))


class Journal:
    """A journal being written. Raises OSError when that fails."""

    def __init__(self, path: Path, kept: Progress) -> None:
        """Begins it anew, with what is `kept` of an older one."""
        with path.open("wb") as file:
            file.write(_line({"job": kept.job}))
            file.writelines(_line({"tensor": name, **asdict(done)}) for name, done in kept.tensors.items())
            file.writelines(_line({"file": name, **asdict(done)}) for name, done in kept.files.items())
        self._file = path.open("ab")

    def tensor(self, name: str, done: TensorRecord) -> None:
        """Note that a tensor is written."""
        self._append({"tensor": name, **asdict(done)})

    def file(self, name: str, done: FileRecord) -> None:
        """Note that a source file is read to its end, and all its tensors are written."""
        self._append({"file": name, **asdict(done)})

    def close(self) -> None:
        self._file.close()

    def _append(self, record: Mapping[str, object]) -> None:
        self._file.write(_line(record))
        self._file.flush()


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode("ascii") + b"\n"
