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
from r1.engine.events import Drafted
from r1.engine.kv_types import KV_TYPES
from r1_quantize import units
from r1_quantize.errors import UNUSABLE_PATH, Busy, UsageError
from r1_quantize.files import disk_error, try_lock

FORMAT = 1
"""Of the file; the value of the first key of its first line."""

_FORMAT_KEY = "r1_eval"
_CONTEXT_KEY = "context"
_LONGEST = 64 << 20  # bytes of a line; longer than any model's reply
_LARGEST = 1 << 53  # a number in a line; JSON's readers agree about those below
_SHOWN = 60  # characters of a value in a message

Facts = Mapping[str, Any]
"""What samples are made with, by name: texts, numbers, true, false and null."""

Key = tuple[int, int]
"""A sample: the line of its problem, and its number among the samples of that problem, from 0."""


@dataclass(frozen=True, slots=True)
class Cache:
    """What the free memory decides where the settings do not: how many tokens of context there are, and their type."""

    tokens: int
    kv_type: str

    def to_json(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "kv_type": self.kv_type}

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """None for what is none."""
        tokens, kv_type = (value.get(name) if isinstance(value, dict) else None for name in ("tokens", "kv_type"))
        if not isinstance(tokens, int) or not isinstance(kv_type, str) or kv_type not in KV_TYPES:
            return None
        return cls(tokens, kv_type) if 0 < tokens < _LARGEST else None


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What became of one sample. `final` is what its answer says in the end; None: nothing that can be compared.

    `how` is the way `final` was compared with the right answer. `wall_s`: the seconds since the sample before it ended,
    or since the start. With speculation it was generated in so many `passes`, which checked the `drafted_tokens`; 0
    without.
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
    passes: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def key(self) -> Key:
        return self.line, self.sample

    @property
    def tokens(self) -> int:
        """Generated, with those that were taken back."""
        return self.thinking_tokens + self.answer_tokens + self.discarded_tokens

    def to_json(self, answer: str, thinking: str) -> dict[str, Any]:
        """The object of its line, with the text of the reply."""
        return {**{name: getattr(self, name) for name in _TYPES}, "answer": answer, "thinking": thinking}

    @property
    def drafted(self) -> Drafted | None:
        """What came of drafts; None without speculation."""
        return Drafted(self.drafted_tokens, self.accepted_tokens, self.passes) if self.passes else None

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """The record of a line; None if it is none."""
        if not isinstance(value, dict):
            return None
        values: dict[str, Any] = {name: value.get(name, _ADDED.get(name)) for name in _TYPES}
        fits = all(_is_value(values[name], kind) for name, kind in _TYPES.items())
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
    "passes": int,
    "drafted_tokens": int,
    "accepted_tokens": int,
}
"""The fields of a record, in the order of its line, and their types."""

_ADDED = {"passes": 0, "drafted_tokens": 0, "accepted_tokens": 0}
"""Fields that a record of an earlier r1 does not have."""


def _is_value(value: object, kind: Any) -> bool:
    """Whether it is of the type; a number is not below 0, not infinite, and has no thousands of digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return isinstance(value, kind) and (kind is bool) == isinstance(value, bool)
    return isinstance(value, kind) and 0 <= value < _LARGEST


@dataclass(slots=True)
class SampleLog:
    """The file. `earlier` are the samples that it had, and `cache` that with which they were drawn, or will be.

    `renewed` says why it was started over, if it was. `damaged` counts lines that are no samples. Close it when done.
    """

    path: Path
    earlier: list[SampleRecord] = field(default_factory=list)
    cache: Cache | None = None
    renewed: str | None = None
    damaged: int = 0
    _facts: Facts = field(default_factory=dict)
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
        log = cls(path, _facts=facts)
        try:
            log._open()
        except OSError as exc:
            log.close()
            raise _error(path, exc) from exc
        except BaseException:
            log.close()
            raise
        return log

    def add(self, record: SampleRecord, answer: str, thinking: str) -> None:
        """Appends a sample, as a whole line or not at all. Raises NotEnoughSpace and R1Error if the disk fails."""
        if self._file is None:
            return
        if self._end == 0:
            cache = None if self.cache is None else self.cache.to_json()
            self._append({_FORMAT_KEY: FORMAT, **self._facts, _CONTEXT_KEY: cache})
        self._append(record.to_json(answer, thinking))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        """The first line is written with the first sample, because a file without samples says nothing."""
        self._lock()
        content = _read(self._opened, self.path)
        if content.facts is None and content.size and not content.is_torn_start:
            raise UsageError(f"{self.path} has something else than samples of r1 eval; give --output another file")
        if not content.records and not content.damaged:
            content = _Content()
        elif change := _change(content.facts or {}, self._facts):
            self._renew(change)
            content = _Content()
        self.earlier, self.cache, self.damaged = content.records, content.cache, content.damaged
        self._end = content.end
        if _is_regular(self._opened):
            self._opened.truncate(self._end)  # without a line that a killed process left incomplete
            self._opened.seek(self._end)

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
        path = self.path.resolve()  # what is kept stays on the disk that a link leads to
        kept = _free_name(path)
        if os.name == "nt":
            self.close()  # Windows renames no open file
        path.rename(kept)
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
    cache: Cache | None = None
    records: list[SampleRecord] = field(default_factory=list)
    damaged: int = 0
    end: int = 0
    size: int = 0
    is_torn_start: bool = False  # it has only the beginning of a first line


def _read(file: FileIO, path: Path) -> _Content:
    """Reads the file from its start. Raises OSError, and UsageError for a line that no sample can be."""
    content = _Content()
    if not _is_regular(file):
        return content
    content.size = os.fstat(file.fileno()).st_size
    file.seek(0)
    seen: set[Key] = set()
    for number, line in enumerate(_lines(file, path)):
        if not line.endswith(b"\n"):
            content.is_torn_start = number == 0 and _begins_first_line(line)
            break
        value = _parsed(line)
        if number == 0:
            if not (isinstance(value, dict) and value.pop(_FORMAT_KEY, None) == FORMAT):
                break
            content.cache = Cache.from_json(value.pop(_CONTEXT_KEY, None))
            content.facts = value
        elif (record := SampleRecord.from_json(value)) is None:
            content.damaged += 1
        elif record.key not in seen:
            seen.add(record.key)
            content.records.append(record)
        content.end += len(line)
    return content


def _lines(file: FileIO, path: Path) -> Iterator[bytes]:
    """Each line with its newline. Raises UsageError for one that is too long: what is behind it would be lost."""
    rest = b""
    while piece := file.read(1 << 20):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) > _LONGEST:
            raise UsageError(f"{path} has a line of more than {units.size(_LONGEST)}; give --output another file")
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
    text = "not given" if value is None else printable(" ".join(str(value).split()))
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
