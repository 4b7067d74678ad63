"""The samples of an evaluation in a file, one line of JSON each as it ends, from which a killed evaluation goes on.

The first line says what the samples were made with. Samples of anything else are not mixed with them: the file is then
kept under another name, and a new one begins.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Self

from r1.console import printable
from r1_quantize.errors import UNUSABLE_PATH, Busy, UsageError
from r1_quantize.files import disk_error, try_lock

FORMAT = 1
"""Of the file; the value of the first key of its first line."""

_FORMAT_KEY = "r1_eval"
_LONGEST = 64 << 20  # bytes of a line; longer than any model's reply
_SHOWN = 60  # characters of a value in a message

Facts = Mapping[str, Any]
"""What samples are made with, by name: texts, numbers, true, false and null."""

Key = tuple[int, int]
"""A sample: the line of its problem, and its number among the samples of that problem, from 0."""


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What became of one sample. `final` is what its answer says in the end; None: nothing that can be compared.

    `how` is the way `final` was compared with the right answer. `finish_reason` is "error" for a question that could
    not be asked, and then `error` says why. `wall_s`: the seconds since the sample before it ended, or since the start.
    """

    line: int
    id: str
    sample: int
    seed: int
    final: str | None
    correct: bool
    how: str
    finish_reason: str
    thinking_end: str | None = None
    thinking_tokens: int = 0
    answer_tokens: int = 0
    discarded_tokens: int = 0
    wall_s: float = 0.0
    error: str | None = None

    @property
    def key(self) -> Key:
        return self.line, self.sample

    @property
    def tokens(self) -> int:
        """Generated, with those that were taken back."""
        return self.thinking_tokens + self.answer_tokens + self.discarded_tokens

    def to_json(self, answer: str, thinking: str) -> dict[str, Any]:
        """The object of its line, with the text of the reply."""
        values = {name: getattr(self, name) for name in _TYPES}
        if self.error is None:
            del values["error"]
        return {**values, "answer": answer, "thinking": thinking}

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """The record of a line; None if it is none."""
        if not isinstance(value, dict):
            return None
        values: dict[str, Any] = {name: value.get(name) for name in _TYPES}
        fits = all(isinstance(values[name], kind) for name, kind in _TYPES.items())
        return cls(**values) if fits else None


_TYPES: dict[str, Any] = {
    "id": str,
    "line": int,
    "sample": int,
    "seed": int,
    "final": str | None,
    "correct": bool,
    "how": str,
    "finish_reason": str,
    "thinking_end": str | None,
    "thinking_tokens": int,
    "answer_tokens": int,
    "discarded_tokens": int,
    "wall_s": int | float,
    "error": str | None,
}
"""The fields of a record, in the order of its line, and their types."""


@dataclass(slots=True)
class SampleLog:
    """The file. `earlier` are the samples that it had. `renewed` says why it was started over, if it was.

    `damaged` counts lines that are no samples. Close it when done.
    """

    path: Path
    earlier: list[SampleRecord] = field(default_factory=list)
    renewed: str | None = None
    damaged: int = 0
    _file: FileIO | None = None
    _end: int = 0  # of the last complete line

    @classmethod
    def none(cls) -> SampleLog:
        """Keeps nothing."""
        return cls(Path(os.devnull))

    @classmethod
    def open(cls, path: Path, facts: Facts) -> SampleLog:
        """The file at `path`, made if it is not there. `facts` are what the samples to come are made with.

        Raises UsageError if it cannot be written, or has something else than samples, Busy if another process writes
        it, NotEnoughSpace.
        """
        log = cls(path)
        try:
            log._open(facts)
        except OSError as exc:
            log.close()
            raise _error(path, exc) from exc
        except BaseException:
            log.close()
            raise
        return log

    def add(self, record: SampleRecord, answer: str, thinking: str) -> None:
        """Appends a sample, as a whole line or not at all. Raises NotEnoughSpace and R1Error if the disk fails."""
        if self._file is not None:
            self._append(record.to_json(answer, thinking))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, facts: Facts) -> None:
        self._lock()
        content = _read(self._opened)
        if content.facts is None and content.size:
            if not content.is_torn_start:
                raise UsageError(f"{self.path} has something else than samples of r1 eval; give --output another file")
            content = _Content()
        if content.facts is not None and (change := _change(content.facts, facts)):
            self._renew(change)
            content = _Content()
        self.earlier, self.damaged, self._end = content.records, content.damaged, content.end
        if _is_regular(self._opened):
            self._opened.truncate(self._end)  # without a line that a killed process left incomplete
            self._opened.seek(self._end)
        if content.facts is None:
            self._append({_FORMAT_KEY: FORMAT, **facts})

    @property
    def _opened(self) -> FileIO:
        assert self._file is not None, "the file is open"
        return self._file

    def _lock(self) -> None:
        """Opens the file and locks it."""
        is_special = self.path.exists() and not self.path.is_file()  # such as /dev/null: it is only written
        access = os.O_WRONLY if is_special else os.O_RDWR | os.O_CREAT
        descriptor = os.open(self.path, access | getattr(os, "O_BINARY", 0), 0o666)
        self._file = FileIO(descriptor, "wb" if is_special else "r+b")
        if not is_special and not try_lock(self._file):
            raise Busy(f"{self.path}: another r1 eval is writing this file; wait until it has ended")

    def _renew(self, change: str) -> None:
        """Keeps the file under another name, and begins a new one."""
        kept = _free_name(self.path)
        if os.name == "nt":
            self.close()  # Windows renames no open file
        self.path.rename(kept)
        self.close()
        self._lock()
        self.renewed = f"{change}; they are kept in {kept}"

    def _append(self, value: Mapping[str, Any]) -> None:
        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
        try:
            _write(self._opened, data)
        except OSError as exc:
            self._drop_part_of_line()
            raise _error(self.path, exc) from exc
        self._end += len(data)

    def _drop_part_of_line(self) -> None:
        if _is_regular(self._opened):
            self._opened.truncate(self._end)
            self._opened.seek(self._end)


@dataclass(slots=True)
class _Content:
    """What a file has. `facts` None: it has no first line as it should be. `end`: where its last complete line ends."""

    facts: dict[str, Any] | None = None
    records: list[SampleRecord] = field(default_factory=list)
    damaged: int = 0
    end: int = 0
    size: int = 0
    is_torn_start: bool = False  # it has only the beginning of a first line


def _read(file: FileIO) -> _Content:
    """Reads the file from its start. Raises OSError."""
    content = _Content()
    if not _is_regular(file):
        return content
    content.size = os.fstat(file.fileno()).st_size
    file.seek(0)
    seen: set[Key] = set()
    for number, line in enumerate(_lines(file)):
        if not line.endswith(b"\n"):
            content.is_torn_start = number == 0 and _begins_first_line(line)
            break
        value = _parsed(line)
        if number == 0:
            if not (isinstance(value, dict) and value.pop(_FORMAT_KEY, None) == FORMAT):
                break
            content.facts = value
        elif (record := SampleRecord.from_json(value)) is None:
            content.damaged += 1
        elif record.key not in seen:
            seen.add(record.key)
            content.records.append(record)
        content.end += len(line)
    return content


def _lines(file: FileIO) -> Iterator[bytes]:
    """Each line with its newline. The buffer is not closed, because it would close the file."""
    rest = b""
    while piece := file.read(1 << 20):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) > _LONGEST:
            break
    if rest:
        yield rest


def _begins_first_line(line: bytes) -> bool:
    start = f'{{"{_FORMAT_KEY}": '.encode()
    return line.startswith(start) or start.startswith(line)


def _parsed(line: bytes) -> object:
    """The value, or None for what is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _change(before: Facts, now: Facts) -> str | None:
    """What is not as it was: the first of the facts that differ, and how; None if all are the same."""
    for name in [*now, *before]:
        if name not in before or name not in now or before[name] != now[name]:
            was, is_now = (_shown(facts.get(name)) for facts in (before, now))
            return f"earlier samples have another {name.replace('_', ' ')}, {was} instead of {is_now}"
    return None


def _shown(value: object) -> str:
    text = "none" if value is None else printable(" ".join(str(value).split()))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _free_name(path: Path) -> Path:
    """`samples.jsonl` → samples.old.jsonl, or samples.old2.jsonl if that is there."""
    number = 1
    while True:
        kept = path.with_name(f"{path.stem}.old{number if number > 1 else ''}{path.suffix}")
        if not kept.exists():
            return kept
        number += 1


def _is_regular(file: FileIO) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _write(file: FileIO, data: bytes) -> None:
    """All of it: a write to a full disk may take only a part. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _error(path: Path, exc: OSError) -> Exception:
    if exc.errno in UNUSABLE_PATH:
        return UsageError(f"--output {path}: cannot be written ({exc.strerror}); choose another file")
    return disk_error(path, exc)
