"""The record beside a half-made GGUF of what in it is whole, so that an interrupted run can be taken up again.

A line of JSON each: first what is being made, then the tensors and source files as they are done. Lines are only
ever appended. Nothing here is believed: after a power cut a line may be there and its tensor not, so each tensor's
checksum is compared with what the disk gives back (`writer`), and the source's digests with what is read (`pipeline`).

Knows: the form of the record. Does not know: what it is checked against.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from r1_quantize.files import Stamp


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor that was written: the CRC-32 of its bytes, and the digest of its source file up to its end, or of the
    whole file where its publisher says that."""

    crc32: int
    source_digest: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A source file that was read to its end, as `HashedFile.stamp` had it, and its digest."""

    stamp: Stamp
    digest: str


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
        record = TensorRecord(int(line["crc32"]), _digest(line["source_digest"]))
        progress.tensors[str(line["tensor"])] = record
    elif "file" in line:
        size, modified, changed = map(int, line["stamp"])
        progress.files[str(line["file"])] = FileRecord((size, modified, changed), _digest(line["digest"]))


def _digest(value: object) -> str:
    if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", value)):
        raise ValueError("no CRC-32 and no SHA-256")
    return value


class Journal:
    """A journal being written. Raises OSError when that fails."""

    def __init__(self, path: Path, kept: Progress) -> None:
        """Begins it anew, with what is `kept` of an older one."""
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        try:
            with fresh.open("xb") as file:
                file.write(_line({"job": kept.job}))
                file.writelines(_line({"tensor": name, **asdict(done)}) for name, done in kept.tensors.items())
                file.writelines(_line({"file": name, **asdict(done)}) for name, done in kept.files.items())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        self._file = path.open("ab", buffering=0)

    def tensor(self, name: str, done: TensorRecord) -> None:
        """Note that a tensor is written."""
        self._append({"tensor": name, **asdict(done)})

    def file(self, name: str, done: FileRecord, *, durable: bool = False) -> None:
        """Note that a source file is read to its end, and all its tensors are written."""
        self._append({"file": name, **asdict(done)})
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()

    def _append(self, record: Mapping[str, object]) -> None:
        line = _line(record)
        if self._file.write(line) != len(line):  # as a disk does that is full in the middle of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode("ascii") + b"\n"
