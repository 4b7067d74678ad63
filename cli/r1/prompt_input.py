"""The prompt: words on the command line, stdin and attached files; or one prompt per line of JSON Lines."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from r1.console import Console
from r1.engine.prompt import Attachment, with_attachments
from r1.prompt_limit import UNCHECKED, LimitOf, PromptReader
from r1.streams import regular_file
from r1_quantize import units
from r1_quantize.errors import UsageError

_HINT_AFTER_S = 2.0  # without input, before a note says that stdin is being read
_STDIN_FILES = {"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
_JSON_BYTES = 6  # that JSON can take for one byte of a prompt: \u0001
_MAX_SKIPPED = 1 << 30  # bytes of a line that is too long, before the rest is not looked for any more
_DIGEST_DIGITS = 16
_MOST_LEVELS = 500
"""Of arrays and objects in a value that is used. With about 1,000, Python can read it, but not write it again."""

LINE_OPTIONS = (
    *("seed", "temp", "top_p", "max_tokens", "think_budget", "effort", "votes", "first", "confidence"),
    *("schema", "choices", "regex", "grammar"),
)
"""The options that a line of JSON Lines can have, for itself alone."""

_NO_PROMPT = 'no prompt; try: r1 run "How many r\'s are in strawberry?", or pipe one in'


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """The parts of the prompt on the command line. The words `-` alone, and the file `-`, stand for stdin."""

    words: tuple[str, ...]
    files: tuple[Path, ...] = ()
    use_stdin: bool = True


@dataclass(frozen=True, slots=True)
class PromptLine:
    """One line of JSON Lines: a prompt, or the error in it. `fields` are copied into the result.

    `options` has those of LINE_OPTIONS that the line has, not checked; null counts as not given. `number` counts from 1
    and includes blank lines; `size` is in bytes, blank lines before it included.
    """

    number: int
    prompt: str | None = None
    error: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    size: int = 0

    @property
    def digest(self) -> str | None:
        """The first 16 hexadecimal digits of the SHA-256 of the prompt in UTF-8; None without one."""
        if self.prompt is None:
            return None
        import hashlib  # here, because light commands import this module

        return hashlib.sha256(self.prompt.encode()).hexdigest()[:_DIGEST_DIGITS]

    @property
    def labels(self) -> dict[str, Any]:
        """What tells its result from others: `id` if it has one, `line`, and `prompt_sha256` if it has a prompt."""
        digest = {} if self.prompt is None else {"prompt_sha256": self.digest}
        return {**self.fields, "line": self.number, **digest}


class _RawLine(NamedTuple):
    """A line of stdin, what is wrong with it if it is too long, and how many bytes were read when it ended."""

    content: bytes
    problem: str | None
    end: int


class BadLine(Exception):
    """A line of JSON Lines cannot be used; `str()` says why, and begins with its number."""


def require_prompt(console: Console, options: PromptOptions) -> None:
    """Raises UsageError if there cannot be a prompt. Reads nothing, so it can be called before the model is loaded."""
    words = _words(options)
    if not (words.strip() or options.files or _names_stdin(options) or _may_read_stdin(console, options)):
        raise UsageError(_NO_PROMPT)


def read_prompt(console: Console, options: PromptOptions, limit: LimitOf) -> str:
    """The prompt: the files, then the words, then stdin after a blank line.

    Stdin is read to its end where `-` names it; otherwise also, unless it is a terminal or `use_stdin` is off. Says
    what was read from a stdin that is not named. Raises UsageError if there is no prompt, if a part of it is not UTF-8,
    and as soon as it is longer than `limit` allows.
    """
    words, is_named, reader = _words(options), _names_stdin(options), PromptReader(limit)
    files = _attachments(console, options, reader)
    parts = [words]
    if options.words == ("-",):
        parts.append(_read_stdin(console, reader))
    elif not is_named and _may_read_stdin(console, options):
        parts.append(_read_unnamed_stdin(console, reader, after="words" if words else "files" if files else None))
    question = "\n\n".join(part for part in parts if part.strip())
    if not question and not files:
        raise UsageError(_NO_PROMPT)
    return with_attachments(question, files)


def read_lines(console: Console, options: PromptOptions, limit: LimitOf) -> Iterator[PromptLine]:
    """A prompt from each line of stdin as it arrives, with the files and words before it. Skips blank lines.

    Reads the files now, and the lines when they are asked for. Raises UsageError if `use_stdin` is off, or if stdin or
    a file cannot be read; later for a line without an end.
    """
    if not options.use_stdin:
        raise UsageError("--jsonl reads prompts from stdin and --no-stdin forbids it; leave one of them out")
    if _names_stdin(options):
        raise UsageError("--jsonl reads prompts from stdin, so `-` has nothing to read; leave one of them out")
    words, reader = _words(options), PromptReader(limit)
    files = _attachments(console, options, reader)
    if console.stdin is None:
        raise UsageError("--jsonl reads prompts from stdin, and stdin is closed or not readable")
    return _prompt_lines(_stdin_lines(console.stdin, reader), words, files)


def _prompt_lines(raws: Iterator[_RawLine], words: str, files: list[Attachment]) -> Iterator[PromptLine]:
    end = 0
    for number, raw in enumerate(raws, start=1):
        if raw.problem is not None:
            line = PromptLine(number, error=f"line {number} {raw.problem}")
        elif raw.content.strip():
            line = _parse(number, raw.content)
        else:
            continue
        if line.prompt is not None:
            question = "\n\n".join(part for part in (words, line.prompt) if part.strip())
            line = replace(line, prompt=with_attachments(question, files))
        yield replace(line, size=raw.end - end)
        end = raw.end


def _stdin_lines(stdin: BinaryIO, reader: PromptReader) -> Iterator[_RawLine]:
    """Each line; for one that is too long for any prompt, as soon as that is known, what is wrong with it."""
    end = 0
    while line := stdin.readline(UNCHECKED):
        problem = None
        if len(line) == UNCHECKED and not line.endswith(b"\n"):
            limit = reader.limit()
            most = max(_JSON_BYTES * limit.bytes, UNCHECKED)
            line += stdin.readline(most + 1 - len(line))
            problem = f"is longer than {units.size(most)}, and {limit}" if len(line) > most else None
        end += len(line)
        yield _RawLine(line, problem, end)
        if problem and not line.endswith(b"\n"):
            end += _skip_line(stdin)


def _skip_line(stdin: BinaryIO) -> int:
    """Reads to the end of the line; returns the number of bytes. Raises UsageError if the end is too far away."""
    skipped = 0
    while piece := stdin.readline(UNCHECKED):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
        if skipped > _MAX_SKIPPED:
            raise UsageError(f"stdin has a line of more than {units.size(_MAX_SKIPPED)}; --jsonl reads a prompt a line")
    return skipped


def _parse(number: int, raw: bytes) -> PromptLine:
    fields: dict[str, Any] = {}
    try:
        value = decode_json(number, raw)
        record = value if isinstance(value, dict) else {"prompt": value}
        fields = _id_field(number, record)
        options = {name: record[name] for name in LINE_OPTIONS if record.get(name) is not None}
        _require_flat(number, options)
        return PromptLine(number, prompt=_prompt_in(number, record), fields=fields, options=options)
    except BadLine as exc:
        return PromptLine(number, error=str(exc), fields=fields)


def decode_json(number: int, raw: bytes) -> Any:
    """The value on a line, which may begin with a byte order mark. Raises BadLine."""
    try:
        return json.loads(raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        raise BadLine(f"line {number} is not UTF-8 (byte {exc.start + 1})") from exc
    except (ValueError, RecursionError) as exc:
        raise BadLine(f"line {number} is not JSON: {exc}") from exc


def _refuse_constant(name: str) -> None:
    """Python would read NaN and Infinity, which are not JSON."""
    raise ValueError(f"{name} is not JSON")


def _id_field(number: int, record: dict[str, Any]) -> dict[str, Any]:
    fields = {"id": record["id"]} if "id" in record else {}
    _require_flat(number, fields)
    try:
        json.dumps(fields, allow_nan=False)
    except ValueError as exc:  # 1e999 was read as infinity
        raise BadLine(f"line {number} has an id that JSON cannot represent") from exc
    return fields


def _require_flat(number: int, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if _levels(value) > _MOST_LEVELS:
            raise BadLine(f'line {number} has "{name}" nested more than {_MOST_LEVELS} levels deep; make it flatter')


def _levels(value: object) -> int:
    """How deep arrays and objects are nested in a value. Python's stack could not follow the deepest."""
    level, count = [value], 0
    while level := [inner for outer in level for inner in _inside(outer)]:
        count += 1
    return count


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _prompt_in(number: int, record: dict[str, Any]) -> str:
    prompt = record.get("prompt")
    if not isinstance(prompt, str):
        raise BadLine(f'line {number} is neither a string nor an object with a "prompt"')
    if not prompt.strip():
        raise BadLine(f"line {number} has an empty prompt")
    if not is_utf8(prompt):
        raise BadLine(f"line {number} has half of a surrogate pair, which is not a character")
    return prompt


def _may_read_stdin(console: Console, options: PromptOptions) -> bool:
    return options.use_stdin and not console.stdin_is_terminal and console.stdin is not None


def _names_stdin(options: PromptOptions) -> bool:
    """Whether `-` stands for stdin among the words or files. Raises UsageError if it does twice, or must not."""
    named = (options.words == ("-",)) + sum(str(file) in _STDIN_FILES for file in options.files)
    if named and not options.use_stdin:
        raise UsageError("`-` reads stdin and --no-stdin forbids it; leave one of them out")
    if named > 1:
        raise UsageError("stdin can be read only once; leave all but one `-` out")
    return named > 0


def _words(options: PromptOptions) -> str:
    """The words as one text; empty if they are only `-`."""
    text = "" if options.words == ("-",) else " ".join(options.words)
    if not is_utf8(text):
        raise UsageError("the prompt on the command line is not UTF-8")
    return text


def read_stdin(console: Console, limit: LimitOf) -> str:
    """Stdin to its end. Raises UsageError if it is not UTF-8, and as soon as it is longer than `limit` allows."""
    return _read_stdin(console, PromptReader(limit))


def _read_stdin(console: Console, reader: PromptReader) -> str:
    if console.stdin is None:
        return ""
    with _hint_if_silent(console):
        try:
            return _decode("stdin", reader.read(console.stdin, "stdin"))
        except OSError as exc:
            raise UsageError(f"stdin cannot be read ({exc.strerror})") from exc


def _read_unnamed_stdin(console: Console, reader: PromptReader, *, after: str | None) -> str:
    """Stdin, and if it comes after other parts of the prompt, a line that says so.

    In `while read line; do r1 run "$line"; done < FILE` that is the rest of FILE: hardly what was meant. A file of
    which a part was already read is the sign of it, for which a script is warned, too.
    """
    begun = _is_begun_file(console.stdin)
    before = reader.used
    text = _read_stdin(console, reader)
    size = reader.used - before
    if after and size and begun:
        console.warn(
            f"read {size:,} bytes of stdin after the {after}, the rest of a file that another program had begun to "
            "read; in a loop, use --no-stdin or < /dev/null"
        )
    elif after and size:
        console.note(f"read {size:,} bytes of stdin after the {after}; --no-stdin leaves it unread")
    return text


def _is_begun_file(stdin: BinaryIO | None) -> bool:
    """Whether stdin is a regular file of which the first bytes were read by another program."""
    return stdin is not None and regular_file(stdin) is not None and stdin.tell() > 0


@contextmanager
def _hint_if_silent(console: Console) -> Iterator[None]:
    """After a while without input, prints a note: an inherited stdin that is never closed looks like a hang."""
    note = "reading the prompt from stdin (Ctrl-D ends it; --no-stdin skips it)"
    timer = threading.Timer(_HINT_AFTER_S, console.note, [note])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _attachments(console: Console, options: PromptOptions, reader: PromptReader) -> list[Attachment]:
    return [
        _attached_stdin(console, reader) if str(path) in _STDIN_FILES else _read_file(path, reader)
        for path in options.files
    ]


def _attached_stdin(console: Console, reader: PromptReader) -> Attachment:
    if console.stdin is None:
        raise UsageError("the file `-` is stdin, and stdin is closed or not readable")
    return Attachment("stdin", _read_stdin(console, reader))


def read_attachment(path: Path, limit: LimitOf) -> Attachment:
    """A file to attach to a prompt. Raises UsageError if it cannot be read, is not UTF-8 or too long for `limit`."""
    return _read_file(path, PromptReader(limit))


def _read_file(path: Path, reader: PromptReader) -> Attachment:
    try:
        with path.open("rb") as file:
            content = reader.read(file, str(path))
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read ({exc.strerror})") from exc
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a file name can have other bytes
    return Attachment(name, _decode(str(path), content))


def _decode(name: str, content: bytearray) -> str:
    """The text without a byte order mark and trailing newlines. Raises UsageError for what is not text."""
    zero = content.find(0)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        if not 0 <= zero < exc.start:
            raise UsageError(
                f"{name} is not UTF-8: byte 0x{content[exc.start]:02x} at position {exc.start}; "
                "convert it first, for example with iconv"
            ) from exc
    if zero >= 0:
        raise UsageError(f"{name} is not text: byte 0x00 at position {zero}; convert it first if it is UTF-16")
    return text.removeprefix("\ufeff").rstrip("\r\n")


def is_utf8(text: str) -> bool:
    """False for text with unpaired surrogates, which is how Python represents bytes that are not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
