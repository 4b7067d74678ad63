"""What is asked: the words of the command line, stdin and attached files → prompts.

Knows: encodings, DeepSeek's file template (through `engine.prompt`), the JSON Lines form.
Does not know: models, tokens, answers.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from r1.console import Console
from r1.engine.prompt import Attachment, with_attachments
from r1_quantize.errors import UsageError

_PATIENCE = 2.0
"""Seconds of a silent stdin after which a person is told what is being waited for."""

_NO_PROMPT = 'no prompt; try: r1 run "How many r\'s are in strawberry?", or pipe one in'


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says about the prompt. `words` of `-` alone stands for stdin."""

    words: tuple[str, ...]
    files: tuple[Path, ...] = ()
    use_stdin: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """One line of JSON Lines: a prompt, or what is wrong with it; `fields` go back into the result."""

    number: int
    prompt: str | None
    error: str | None
    fields: dict[str, Any]


def require_something(console: Console, asked: Asked) -> None:
    """Raises UsageError when there can be no prompt, before anything slow is done for it."""
    words, wants_stdin = _words(asked)
    if not (words.strip() or asked.files or wants_stdin or _may_read_stdin(console, asked)):
        raise UsageError(_NO_PROMPT)


def read_prompt(console: Console, asked: Asked) -> str:
    """The one prompt: files, then words, then stdin after a blank line.

    Stdin is read to its end, unless it is a terminal or `use_stdin` is off. Raises UsageError when there is
    nothing to ask, or when something is not UTF-8.
    """
    words, wants_stdin = _words(asked)
    parts = [words]
    if wants_stdin or _may_read_stdin(console, asked):
        parts.append(read_all(console))
    question = "\n\n".join(part for part in parts if part.strip())
    if not question and not asked.files:
        raise UsageError(_NO_PROMPT)
    return with_attachments(question, _attachments(asked))


def read_lines(console: Console, asked: Asked) -> Iterator[Line]:
    """One prompt a line of stdin, as it comes in; files and words go before each. Blank lines are passed over.

    Raises UsageError, before the first line, when stdin must not or cannot be read, or a file cannot.
    """
    if not asked.use_stdin:
        raise UsageError("--jsonl reads prompts from stdin and --no-stdin forbids it; leave one of them out")
    words, _ = _words(asked)
    files = _attachments(asked)
    if console.stdin is None:
        raise UsageError("--jsonl reads prompts from stdin, and stdin is closed")
    for number, raw in enumerate(_stdin_lines(console.stdin), start=1):
        if raw.strip():
            line = _parse(number, raw)
            if line.prompt is not None:
                question = "\n\n".join(part for part in (words, line.prompt) if part.strip())
                line = Line(number, with_attachments(question, files), None, line.fields)
            yield line


def _stdin_lines(stdin: BinaryIO) -> Iterator[bytes]:
    while line := stdin.readline():
        yield line


def _parse(number: int, raw: bytes) -> Line:
    try:
        value = json.loads(raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        return Line(number, None, f"line {number} is not UTF-8 (byte {exc.start + 1})", {})
    except (ValueError, RecursionError) as exc:
        return Line(number, None, f"line {number} is not JSON: {exc}", {})
    table = value if isinstance(value, dict) else {"prompt": value}
    fields = {"id": table["id"]} if "id" in table else {}
    try:
        json.dumps(fields, allow_nan=False)
    except ValueError:
        return Line(number, None, f"line {number} has an id that JSON cannot hold", {})
    prompt = table.get("prompt")
    if not isinstance(prompt, str):
        return Line(number, None, f'line {number} is neither a string nor an object with a "prompt"', fields)
    if not prompt.strip():
        return Line(number, None, f"line {number} has an empty prompt", fields)
    if problem := _unpaired_surrogate(prompt):
        return Line(number, None, f"line {number}: {problem}", fields)
    return Line(number, prompt, None, fields)


def _may_read_stdin(console: Console, asked: Asked) -> bool:
    return asked.use_stdin and not console.stdin_is_terminal and console.stdin is not None


def _words(asked: Asked) -> tuple[str, bool]:
    """The words as one text, and whether they ask for stdin by name."""
    if asked.words == ("-",):
        if not asked.use_stdin:
            raise UsageError("`-` asks for stdin and --no-stdin forbids it; leave one of them out")
        return "", True
    text = " ".join(asked.words)
    if _unpaired_surrogate(text):
        raise UsageError("the prompt on the command line is not UTF-8")
    return text, False


def read_all(console: Console) -> str:
    """Stdin to its end. Raises UsageError when it is not UTF-8."""
    if console.stdin is None:
        return ""
    with _telling_who_waits(console):
        return _decode("stdin", console.stdin.read())


@contextmanager
def _telling_who_waits(console: Console) -> Iterator[None]:
    """An inherited stdin that nobody closes looks like a hang; say what it is."""
    hint = threading.Timer(
        _PATIENCE,
        console.note,
        ["reading the prompt from stdin until it ends (Ctrl-D; --no-stdin leaves it unread)"],
    )
    hint.daemon = True
    hint.start()
    try:
        yield
    finally:
        hint.cancel()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _attachments(asked: Asked) -> list[Attachment]:
    return [read_attachment(path) for path in asked.files]


def read_attachment(path: Path) -> Attachment:
    """A file to go along with a prompt. Raises UsageError when it cannot be read or is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read ({exc.strerror})") from exc
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a name need not be UTF-8, a prompt must be
    return Attachment(name, _decode(str(path), content))


def _decode(name: str, content: bytes) -> str:
    """Text without a byte order mark and without the newlines at its end."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"{name} is not UTF-8: byte 0x{content[exc.start]:02x} at position {exc.start}; "
            "convert it first, for example with iconv"
        ) from exc
    return text.removeprefix("\ufeff").rstrip("\r\n")


def _unpaired_surrogate(text: str) -> str | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no character"
    return None
