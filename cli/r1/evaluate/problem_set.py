"""The problems that an evaluation asks, from a file, from stdin, or built in."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from r1.console import Console
from r1.evaluate.problems import BUILT_IN, BadLine, Problem, builtin, builtin_file, read_problems
from r1_quantize import units
from r1_quantize.errors import UsageError

_MOST_BYTES = 256 << 20  # of a file


@dataclass(frozen=True, slots=True)
class Source:
    """Where problems come from: one of `file` (`-`: stdin) and `builtin`. `limit`: only so many.

    `shuffle` is the seed of another order than that of the file.
    """

    file: str | None = None
    builtin: str | None = None
    limit: int | None = None
    shuffle: int | None = None


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """The problems to ask, out of `usable`, the lines that are none, and the SHA-256 of the whole file."""

    name: str
    chosen: list[Problem]
    usable: int
    bad: list[BadLine]
    digest: str

    @classmethod
    def read(cls, console: Console, source: Source) -> Self:
        """Raises UsageError if there are none, or the file cannot be read."""
        name, content = _content(console, source)
        found = [*read_problems(io.BytesIO(content))]
        usable = [each for each in found if isinstance(each, Problem)]
        bad = [each for each in found if isinstance(each, BadLine)]
        if not usable:
            raise UsageError(f"{name} has no problems; {_why_none(content, bad)}")
        chosen = list(usable)
        if source.shuffle is not None:
            random.Random(source.shuffle).shuffle(chosen)
        import hashlib  # here, because light commands import this module's neighbours

        return cls(name, chosen[: source.limit], len(usable), bad, hashlib.sha256(content).hexdigest())


def _content(console: Console, source: Source) -> tuple[str, bytes]:
    """The name and the content of the file. Raises UsageError."""
    if (source.file is None) == (source.builtin is None):
        raise UsageError("give either a FILE of problems (`-`: stdin) or --builtin tiny")
    if source.builtin is not None:
        builtin(source.builtin)
        return f"{source.builtin}, built in", builtin_file(source.builtin).read_bytes()
    if source.file == "-":
        if console.stdin is None:
            raise UsageError("the problems are to come from stdin, and stdin is closed or not readable")
        if console.stdin_is_terminal:
            console.note("reading problems from stdin, a line of JSON each (Ctrl-D ends it)")
        return "stdin", _read("stdin", console.stdin)
    path = Path(source.file or "")
    try:
        with path.open("rb") as file:
            return str(path), _read(str(path), file)
    except OSError as exc:
        hint = f"; for the built-in problems: --builtin {source.file}" if source.file in BUILT_IN else ""
        raise UsageError(f"{path}: cannot be read ({exc.strerror}){hint}") from exc


def _read(name: str, file: BinaryIO) -> bytes:
    try:
        content = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{name} cannot be read ({exc.strerror})") from exc
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{name} has more than {units.size(_MOST_BYTES)}; give a part of it")
    return content


def _why_none(content: bytes, bad: Sequence[BadLine]) -> str:
    """What is wrong with a file of other JSON than lines is seen best at its start."""
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"[":
        return "it is a JSON array, and `jq -c '.[]'` makes lines of it"
    if start == b"{" and "is not JSON" in bad[0].reason:
        return "its JSON is spread over several lines, and `jq -c .` makes one line of each object"
    return bad[0].reason if bad else "each line is a JSON object with a question and its answer"
