"""stdin, stdout, stderr, and which of them is a terminal: passed in, never global, so that tests can pass others.

Knows: streams, colour, what a terminal must not be sent. Does not know: models, events, commands.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, TextIO

_UNSAFE = {code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"}


@dataclass(slots=True)
class Console:
    """The three streams of a process and its environment. `stdin` is None when it was closed at the start."""

    stdin: BinaryIO | None
    stdout: TextIO
    stderr: TextIO
    environ: Mapping[str, str]
    stdin_is_terminal: bool
    stdout_is_terminal: bool
    stderr_is_terminal: bool

    @classmethod
    def of_process(cls) -> Console:
        """The real ones. Text leaves as UTF-8 with bare newlines, whatever the locale, unless a terminal wants else.

        A stdout that was closed before we started counts as a reader that went away: raises BrokenPipeError.
        """
        if sys.stdout is None:
            raise BrokenPipeError
        stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 — lives as long as we do
        if sys.platform != "win32":
            for stream in filter(None, (sys.stdin, sys.stdout, stderr)):
                os.set_blocking(stream.fileno(), True)  # whoever started us may have left it otherwise
        for stream in (sys.stdout, stderr):
            if stream.isatty():
                _reconfigure(stream, errors="replace")
            else:
                _reconfigure(stream, encoding="utf-8", newline="\n", errors="backslashreplace")
        return cls(
            stdin=sys.stdin.buffer if sys.stdin else None,
            stdout=sys.stdout,
            stderr=stderr,
            environ=os.environ,
            stdin_is_terminal=bool(sys.stdin and sys.stdin.isatty()),
            stdout_is_terminal=sys.stdout.isatty(),
            stderr_is_terminal=stderr.isatty(),
        )

    def out(self, text: str) -> None:
        """Writes to stdout and flushes: a pipe gets every character as it is, a terminal none that could steer it."""
        self.stdout.write(printable(text) if self.stdout_is_terminal else text)
        self.stdout.flush()

    def err(self, text: str, *, dim: bool = False) -> None:
        """Writes to stderr and flushes, dim where the terminal can show it.

        A stderr that cannot be written to is given up silently: it must not cost the answer or its exit code.
        """
        if self.stderr_is_terminal:
            text = printable(text)
            if dim and self.has_style:
                text = f"\x1b[2m{text}\x1b[22m"
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except OSError:
            abandon(self.stderr)

    def warn(self, message: str) -> None:
        """One line on stderr that everybody gets, scripts too."""
        self.err(f"r1: {' '.join(message.split())}\n")

    def note(self, message: str) -> None:
        """One line on stderr for people; a script's stderr stays empty while all is well."""
        if self.stderr_is_terminal:
            self.err(f"r1: {message}\n", dim=True)

    def rewrite(self, line: str) -> None:
        """Puts a passing line, dim, in place of the one before, on a stderr that `has_style`; an empty one ends it."""
        try:
            self.stderr.write(f"\r\x1b[K\x1b[2m{printable(line)}\x1b[22m" if line else "\r\x1b[K")
            self.stderr.flush()
        except OSError:
            abandon(self.stderr)

    def confirm(self, question: str) -> bool:
        """Asks on stderr, and reads a line from stdin; only y and yes are yes."""
        self.err(f"{question} [y/N] ")
        answer = self.stdin.readline() if self.stdin else b""
        return answer.decode("utf-8", "replace").strip().lower() in {"y", "yes"}

    @property
    def has_style(self) -> bool:
        """Whether stderr is a terminal that understands escape codes and may show them (https://no-color.org)."""
        plain = self.environ.get("NO_COLOR") or self.environ.get("TERM") == "dumb"
        return self.stderr_is_terminal and not plain


def keep_libraries_quiet() -> None:
    """From here on what C code prints on stderr goes nowhere, while `sys.stderr` goes where it went.

    ggml writes a line of its own to descriptor 2 for every bad value, in the middle of ours. R1_DEBUG lets it.
    """
    from r1.engine.llama import debugging

    if sys.stderr is None or sys.platform == "win32" or debugging():
        return  # on Windows a console is no file that could be copied
    sys.stderr.flush()
    descriptor = sys.stderr.fileno()
    sys.stderr = open(os.dup(descriptor), "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123, SIM115
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def abandon(stream: TextIO) -> None:
    """Points a broken stream at nothing, so that neither a later write nor the last flush fails."""
    with suppress(io.UnsupportedOperation):  # a stream in memory has nothing to break
        descriptor = stream.fileno()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)


def printable(text: str) -> str:
    """`text` without the control characters that a terminal would obey; newlines and tabs stay."""
    return text.translate(_UNSAFE)


def _reconfigure(stream: TextIO, **options: str) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(**options)
