"""The journal beside an unfinished GGUF, from which an interrupted run resumes.

Each line is a JSON object: first the job, then the tensors and source files as they are finished. Lines are only
appended. None of it is trusted: after a power cut a line may exist without its tensor, so `writer` compares each
tensor's checksum with the disk, and `converter` compares the source's digests with what it reads.
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
    """A written tensor: the CRC-32 of its bytes and the digest of its source.

    The digest is that of the source file up to the tensor's end, or of the complete file if it is published.
    """

    crc32: int
    source_digest: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The stamp and the digest of a source file that was read to its end."""

    stamp: Stamp
    digest: str


@dataclass(slots=True)
class JournalContent:
    """The content of a journal. `job` is a digest of everything that determines the result, except the weights."""

    job: str = ""
    tensors: dict[str, TensorRecord] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)


def read_journal(path: Path) -> JournalContent | None:
    """The progress of an earlier run; None when there is no journal. Skips invalid lines."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    progress = JournalContent()
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):
            _add_line(progress, json.loads(line))
    return progress


def _add_line(progress: JournalContent, line: Mapping[str, Any]) -> None:
    if "job" in line:
        progress.job = str(line["job"])
    elif "tensor" in line:
        progress.tensors[str(line["tensor"])] = TensorRecord(
            crc32=int(line["crc32"]), source_digest=_digest(line["source_digest"])
        )
    elif "file" in line:
        size, modified, changed = map(int, line["stamp"])
        progress.files[str(line["file"])] = FileRecord(stamp=(size, modified, changed), digest=_digest(line["digest"]))


def _digest(value: object) -> str:
    if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", value)):
        raise ValueError("neither a CRC-32 nor a SHA-256")
    return value


class Journal:
    """Writes a journal. Every method raises OSError when the disk fails."""

    def __init__(self, path: Path, kept: JournalContent) -> None:
        """Start a new journal with the progress `kept` from an older one."""
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
        """Record that a tensor is written."""
        self._append({"tensor": name, **asdict(done)})

    def file(self, name: str, done: FileRecord, *, durable: bool = False) -> None:
        """Record that a source file was read to its end and all its tensors are written."""
        self._append({"file": name, **asdict(done)})
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()

    def _append(self, record: Mapping[str, object]) -> None:
        line = _line(record)
        if self._file.write(line) != len(line):  # the disk became full in the middle of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode("ascii") + b"\n"
