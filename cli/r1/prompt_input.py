"""The prompt: words on the command line, stdin and attached files; or one prompt per line of JSON Lines."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from r1.console import Console
from r1.engine.prompt import Attachment, with_attachments
from r1_quantize.errors import UsageError

_HINT_AFTER_S = 2.0  # without input, before a note says that stdin is being read

_NO_PROMPT = 'no prompt; try: r1 run "How many r\'s are in strawberry?", or pipe one in'


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """The parts of the prompt on the command line. If `words` is only `-`, the prompt is read from stdin."""

    words: tuple[str, ...]
    files: tuple[Path, ...] = ()
    use_stdin: bool = True


@dataclass(frozen=True, slots=True)
class PromptLine:
    """One line of JSON Lines: a prompt, or the error in it. `fields` are copied into the result."""

    number: int
    prompt: str | None = None
    error: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class _BadLine(Exception):
    """A line of JSON Lines has no prompt; `str()` says why."""


def require_prompt(console: Console, options: PromptOptions) -> None:
    """Raises UsageError if there cannot be a prompt. Reads nothing, so it can be called before the model is loaded."""
    words, wants_stdin = _words(options)
    if not (words.strip() or options.files or wants_stdin or _may_read_stdin(console, options)):
        raise UsageError(_NO_PROMPT)


def read_prompt(console: Console, options: PromptOptions) -> str:
    """The prompt: the files, then the words, then stdin after a blank line.

    Reads stdin to its end, unless it is a terminal or `use_stdin` is off. Raises UsageError if there is no prompt or
    a part of it is not UTF-8.
    """
    words, wants_stdin = _words(options)
    parts = [words]
    if wants_stdin or _may_read_stdin(console, options):
        parts.append(read_stdin(console))
    question = "\n\n".join(part for part in parts if part.strip())
    if not question and not options.files:
        raise UsageError(_NO_PROMPT)
    return with_attachments(question, _attachments(options))


def read_lines(console: Console, options: PromptOptions) -> Iterator[PromptLine]:
    """A prompt from each line of stdin as it arrives, with the files and words before it. Skips blank lines.

    Raises UsageError before the first line if `use_stdin` is off, or if stdin or a file cannot be read.
    """
    if not options.use_stdin:
        raise UsageError("--jsonl reads prompts from stdin and --no-stdin forbids it; leave one of them out")
    words, _ = _words(options)
    files = _attachments(options)
    if console.stdin is None:
        raise UsageError("--jsonl reads prompts from stdin, and stdin is closed")
    for number, raw in enumerate(_stdin_lines(console.stdin), start=1):
        if raw.strip():
            line = _parse(number, raw)
            if line.prompt is not None:
                question = "\n\n".join(part for part in (words, line.prompt) if part.strip())
                line = PromptLine(number, prompt=with_attachments(question, files), fields=line.fields)
            yield line


def _stdin_lines(stdin: BinaryIO) -> Iterator[bytes]:
    while line := stdin.readline():
        yield line


def _parse(number: int, raw: bytes) -> PromptLine:
    fields: dict[str, Any] = {}
    try:
        value = _decode_json(number, raw)
        record = value if isinstance(value, dict) else {"prompt": value}
        fields = _id_field(number, record)
        return PromptLine(number, prompt=_prompt_in(number, record), fields=fields)
    except _BadLine as exc:
        return PromptLine(number, error=str(exc), fields=fields)


def _decode_json(number: int, raw: bytes) -> Any:
    try:
        return json.loads(raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        raise _BadLine(f"line {number} is not UTF-8 (byte {exc.start + 1})") from exc
    except (ValueError, RecursionError) as exc:
        raise _BadLine(f"line {number} is not JSON: {exc}") from exc


def _refuse_constant(name: str) -> None:
    """Python would read NaN and Infinity, which are not JSON."""
    raise ValueError(f"{name} is not JSON")


def _id_field(number: int, record: dict[str, Any]) -> dict[str, Any]:
    fields = {"id": record["id"]} if "id" in record else {}
    try:
        json.dumps(fields, allow_nan=False)
    except ValueError as exc:  # 1e999 was read as infinity
        raise _BadLine(f"line {number} has an id that JSON cannot represent") from exc
    return fields


def _prompt_in(number: int, record: dict[str, Any]) -> str:
    prompt = record.get("prompt")
    if not isinstance(prompt, str):
        raise _BadLine(f'line {number} is neither a string nor an object with a "prompt"')
    if not prompt.strip():
        raise _BadLine(f"line {number} has an empty prompt")
    if not _is_utf8(prompt):
        raise _BadLine(f"line {number} has half of a surrogate pair, which is not a character")
    return prompt


def _may_read_stdin(console: Console, options: PromptOptions) -> bool:
    return options.use_stdin and not console.stdin_is_terminal and console.stdin is not None


def _words(options: PromptOptions) -> tuple[str, bool]:
    """The words as one text, and True if they are only `-`, which reads stdin."""
    if options.words == ("-",):
        if not options.use_stdin:
            raise UsageError("`-` reads stdin and --no-stdin forbids it; leave one of them out")
        return "", True
    text = " ".join(options.words)
    if not _is_utf8(text):
        raise UsageError("the prompt on the command line is not UTF-8")
    return text, False


def read_stdin(console: Console) -> str:
    """Stdin to its end. Raises UsageError if it is not UTF-8."""
    if console.stdin is None:
        return ""
    with _hint_if_silent(console):
        return _decode("stdin", console.stdin.read())


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


def _attachments(options: PromptOptions) -> list[Attachment]:
    return [read_attachment(path) for path in options.files]


def read_attachment(path: Path) -> Attachment:
    """A file to attach to a prompt. Raises UsageError if it cannot be read or is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read ({exc.strerror})") from exc
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a file name can have other bytes
    return Attachment(name, _decode(str(path), content))


def _decode(name: str, content: bytes) -> str:
    """The text without a byte order mark and trailing newlines."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"{name} is not UTF-8: byte 0x{content[exc.start]:02x} at position {exc.start}; "
            "convert it first, for example with iconv"
        ) from exc
    return text.removeprefix("\ufeff").rstrip("\r\n")


def _is_utf8(text: str) -> bool:
    """False for text with unpaired surrogates, which is how Python represents bytes that are not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
