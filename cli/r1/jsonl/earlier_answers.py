"""The output of earlier runs: which lines have a complete answer there and are skipped now.

A line is known by its `id`; a line without one by its number and the digest of its prompt. A process that was killed,
or a full disk, may have left the last object incomplete.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Literal

from r1.console import Console
from r1.prompt_input import PromptLine
from r1.streams import mode_of_writing
from r1_quantize import units
from r1_quantize.errors import UNUSABLE_PATH, UsageError

Text = Literal["answer", "thinking"]
"""What a complete answer must have: with `--thinking only`, the thinking is the answer."""

_LONGEST = 64 << 20  # bytes of an object; longer than any model's answer
_BEGINNINGS = (b'{"id": ', b'{"line": ', b'{"answer": ', b'{"error": ')  # of an object that `--jsonl` prints


@dataclass(slots=True)
class EarlierAnswers:
    """Complete answers, by the keys of their lines: for each answer, the digest of its prompt (empty: not known).

    `skipped` counts the lines that were skipped, `changed` those of them whose prompt was another one.
    """

    _digests: dict[bytes, list[str]]
    skipped: int = 0
    changed: int = 0

    @classmethod
    def none(cls) -> EarlierAnswers:
        return cls({})

    @property
    def found(self) -> bool:
        """Whether there are any."""
        return bool(self._digests)

    def has(self, line: PromptLine) -> bool:
        """Whether the line is to be skipped. Each answer serves one line: two lines with the same id need two."""
        key = _key(line.labels)
        found = self._digests.get(key) if key and line.prompt is not None else None
        if not found:
            return False
        digest = line.digest or ""
        known = digest if digest in found else found[0]
        found.remove(known)
        self.skipped += 1
        self.changed += known not in {digest, ""}
        return True


def read(console: Console, path: Path, text: Text) -> EarlierAnswers:
    """The answers in the file at `path`, which stdout may append to. A file that does not exist has none.

    Warns about lines that are no objects. Cuts an incomplete object off the end of the file if stdout appends to it.
    Raises UsageError if the file cannot be read, and if stdout overwrites it.
    """
    mode = mode_of_writing(console.stdout, path)
    if mode == "overwrite":
        raise UsageError(f"--resume {path}: > overwrites this file, and with it the answers to keep; use >> {path}")
    try:
        with path.open("rb") as file:
            reading = _Reading(text)
            reading.read(file)
    except FileNotFoundError:
        console.note(f"{path} does not exist yet, so all lines are answered")
        return EarlierAnswers.none()
    except OSError as exc:
        if exc.errno not in UNUSABLE_PATH:
            raise
        raise UsageError(f"--resume {path}: cannot be read ({exc.strerror})") from exc
    _warn_about(console, path, reading)
    if reading.tail:
        _mend(console, path, reading, appends=mode == "append")
    return EarlierAnswers(reading.digests)


class _Reading:
    """What is found in a file. `tail` is a last line without a newline, `tail_at` its position."""

    def __init__(self, text: Text) -> None:
        self.digests: dict[bytes, list[str]] = {}
        self.objects = 0
        self.results = 0  # objects that `--jsonl` can have printed
        self.damaged = 0  # lines
        self.first_damaged = 0  # its number
        self.tail = b""
        self.tail_at = 0
        self.tail_is_object = False
        self._text = text

    def read(self, file: BinaryIO) -> None:
        """Reads what is there at the start, if another program goes on writing. Raises OSError."""
        status = os.fstat(file.fileno())
        size_at_start = status.st_size if stat.S_ISREG(status.st_mode) else None  # it may be a pipe of a shell's <(…)
        end = 0
        for number, (line, size) in enumerate(_lines(file), start=1):
            record = _parse(line)
            if isinstance(record, dict):
                self._add(record)
            if line.strip() and not line.endswith(b"\n") and len(line) == size:
                self.tail, self.tail_at, self.tail_is_object = line, end, isinstance(record, dict)
            elif line.strip() and not isinstance(record, dict):
                self.first_damaged = self.first_damaged or number
                self.damaged += 1
            end += size
            if size_at_start is not None and end >= size_at_start:
                break

    def _add(self, record: dict[str, Any]) -> None:
        self.objects += 1
        self.results += "finish_reason" in record or "error" in record
        has_text = record.get(self._text) if record.get("valid") is None else record["valid"] is True
        is_complete = record.get("finish_reason") == "stop" and "error" not in record and has_text
        key = _key(record) if is_complete else None
        if key is not None:
            digest = record.get("prompt_sha256")
            self.digests.setdefault(key, []).append(digest if isinstance(digest, str) else "")


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Each line, and its size in bytes; of a line that is far too long, only the beginning."""
    while line := file.readline(_LONGEST):
        size = len(line)
        if size == _LONGEST:
            while piece := (b"" if line.endswith(b"\n") else file.readline(_LONGEST)):
                size += len(piece)
                if piece.endswith(b"\n"):
                    break
        yield line, size


def _parse(line: bytes) -> object:
    """The value, or None for what is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _key(labels: dict[str, Any]) -> bytes | None:
    """What a line and its result have in common."""
    if "id" in labels:
        name: list[object] = [labels["id"]]
    elif "line" in labels and "prompt_sha256" in labels:
        name = [labels["line"], labels["prompt_sha256"]]
    else:
        return None
    return sha256(json.dumps(name, sort_keys=True).encode()).digest()[:16]


def _warn_about(console: Console, path: Path, reading: _Reading) -> None:
    if reading.objects and not reading.results:
        console.warn(f"{path} has no results of r1 run --jsonl; --resume takes the file that the answers went to")
    if reading.damaged:
        others = f", like {units.count(reading.damaged - 1, 'other line')}" if reading.damaged > 1 else ""
        console.warn(f"{path}: line {reading.first_damaged} is not a JSON object and was ignored{others}")


def _mend(console: Console, path: Path, reading: _Reading, *, appends: bool) -> None:
    """Lets the next object begin on a line of its own, after a last line without a newline."""
    is_cut_off = not reading.tail_is_object and any(
        reading.tail.startswith(beginning) or beginning.startswith(reading.tail) for beginning in _BEGINNINGS
    )
    if not appends:
        what = "an incomplete object, which was ignored; remove it" if is_cut_off else "no newline; add one"
        console.warn(f"{path} ends with {what} before anything is appended")
        return
    if not is_cut_off:
        console.out("\n")
        return
    descriptor = console.stdout.fileno()
    if os.fstat(descriptor).st_size != reading.tail_at + len(reading.tail):
        raise UsageError(f"--resume {path}: another program is writing to this file; wait until it has ended")
    os.ftruncate(descriptor, reading.tail_at)
    console.warn(f"{path} ended with an incomplete object, which was cut off")
