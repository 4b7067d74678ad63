"""The three standard streams, the environment, and which streams are terminals.

Passed in rather than global, so that tests can pass others. Imports nothing of `r1`, and `rich` only to draw a table.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, TextIO

from r1.streams import check_output, error_stream, input_stream
from r1_quantize.errors import UsageError, debugging

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

_COLUMNS = 80  # of a terminal that does not know its width
_CONTROL_CODES = {code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Numbers are aligned right and never wrapped; long text is wrapped if `wrap`."""

    title: str
    number: bool = False
    wrap: bool = True


@dataclass(slots=True)
class Console:
    """The standard streams of a process and its environment. `stdin` is None if it cannot be read.

    A `quiet` console prints no notes and no status lines; results, warnings and errors stay.
    """

    stdin: BinaryIO | None
    stdout: TextIO
    stderr: TextIO
    environ: Mapping[str, str]
    stdin_is_terminal: bool
    stdout_is_terminal: bool
    stderr_is_terminal: bool
    quiet: bool = False
    _has_status: bool = field(default=False, init=False)  # the cursor is on a status line
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    @classmethod
    def of_process(cls, *, quiet: bool = False) -> Console:
        """This process's streams. Pipes get UTF-8 and bare newlines in every locale; terminals keep their encoding.

        Raises UsageError if stdout is closed, or not open for writing.
        """
        check_output(sys.stdout)
        stdin = input_stream()
        stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 — open until exit
        for stream in (sys.stdout, stderr):
            if stream.isatty():
                _reconfigure(stream, errors="replace")
            else:
                _reconfigure(stream, encoding="utf-8", newline="\n", errors="backslashreplace")
        return cls(
            stdin=stdin,
            stdout=sys.stdout,
            stderr=stderr,
            environ=os.environ,
            stdin_is_terminal=bool(stdin and stdin.isatty()),
            stdout_is_terminal=sys.stdout.isatty(),
            stderr_is_terminal=stderr.isatty(),
            quiet=quiet,
        )

    def out(self, text: str) -> None:
        """Writes to stdout and flushes. A pipe gets the text unchanged, a terminal gets it without control codes."""
        with self._lock:
            if self.stdout_is_terminal:
                self.rewrite("")
            self.stdout.write(printable(text) if self.stdout_is_terminal else text)
            self.stdout.flush()

    def json(self, value: object, *, one_line: bool = False) -> None:
        """Prints `value` as indented JSON, or on one line for JSON Lines. Raises ValueError for NaN and infinity."""
        text = json.dumps(value, indent=None if one_line else 2, ensure_ascii=False, allow_nan=False)
        self.out(f"{text}\n")

    def table(
        self,
        header: Sequence[Column],
        rows: Iterable[Sequence[object]],
        *,
        shown: Iterable[Sequence[str | Text]] | None = None,
    ) -> None:
        """Prints `rows`: tab-separated and without the header in a pipe, aligned under the header on a terminal.

        `shown` has the rows for a terminal where they differ, for example in units ("4.7 GB" for 4683073184).
        Without rows, a terminal shows nothing.
        """
        if not self.stdout_is_terminal:
            self.out("".join("\t".join(map(str, row)) + "\n" for row in rows))
        elif cells := [*shown] if shown is not None else [tuple(map(str, row)) for row in rows]:
            self.rich().print(aligned(header, cells))

    def rich(self) -> RichConsole:
        """A Rich console on stdout, as wide as the terminal."""
        from rich.console import Console as RichConsole

        return RichConsole(file=self.stdout, highlight=False)

    def err(self, text: str, *, dim: bool = False) -> None:
        """Writes to stderr and flushes; dim if the terminal supports it. Removes the status line first."""
        if self.stderr_is_terminal:
            text = printable(text)
            if dim and self.has_style:
                text = f"\x1b[2m{text}\x1b[22m"
        with self._lock:
            self.rewrite("")
            self._write_to_stderr(text)

    def warn(self, message: str) -> None:
        """Prints one line on stderr, for scripts too."""
        self.err(f"r1: {' '.join(message.split())}\n")

    def note(self, message: str) -> None:
        """Prints one line on stderr if that is a terminal, so that a script's stderr stays empty when all is well."""
        if self.stderr_is_terminal and not self.quiet:
            self.err(f"r1: {message}\n", dim=True)

    def rewrite(self, line: str) -> None:
        """Replaces the status line, dim, on a stderr that `has_style`; an empty line removes it.

        Does nothing for a quiet console, and in the background, where the terminal belongs to another program.
        """
        if self.quiet or (line and not in_foreground(self.stderr)):
            return
        with self._lock:
            if line:
                self._write_to_stderr(f"\r\x1b[K\x1b[2m{printable(line)}\x1b[22m")
            elif self._has_status:
                self._write_to_stderr("\r\x1b[K")
            self._has_status = bool(line)

    def _write_to_stderr(self, text: str) -> None:
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except OSError:  # on Windows; elsewhere the stream ignores errors itself
            abandon(self.stderr)

    def confirm(self, question: str) -> bool:
        """Asks on stderr and reads a line from stdin; only "y" and "yes" confirm. The question is broken between words,
        which notes are not: they may end with a command to copy.

        Raises UsageError unless both are terminals.
        """
        if not (self.stdin_is_terminal and self.stderr_is_terminal):
            raise UsageError(f"not a terminal; pass -y to confirm: {question}")
        import textwrap

        lines = textwrap.fill(f"{question} [y/N]", self.columns, break_long_words=False, break_on_hyphens=False)
        self.err(f"{lines} ")
        answer = self.stdin.readline() if self.stdin else b""
        return answer.decode("utf-8", "replace").strip().lower() in {"y", "yes"}

    @property
    def columns(self) -> int:
        """The width of stderr's terminal, or 80. COLUMNS overrides it."""
        given = self.environ.get("COLUMNS", "")
        if given.isdecimal() and int(given) > 0:
            return int(given)
        try:
            return os.get_terminal_size(self.stderr.fileno()).columns or _COLUMNS
        except OSError:  # a stream in memory, or the terminal is gone
            return _COLUMNS

    @property
    def has_style(self) -> bool:
        """Whether stderr is a terminal that understands escape codes and may show them (https://no-color.org)."""
        return self.stderr_is_terminal and not self.is_plain

    @property
    def is_plain(self) -> bool:
        """Whether no terminal may be sent colours and escape codes."""
        return bool(self.environ.get("NO_COLOR")) or self.environ.get("TERM") == "dumb"


def aligned(header: Sequence[Column], rows: Iterable[Sequence[str | Text]] = (), *, gap: int = 2) -> Table:
    """A borderless table with `gap` spaces between its columns, and no header if no column has a title.

    Strings are shown literally, without control codes.
    """
    from rich.table import Table
    from rich.text import Text

    has_header = any(column.title for column in header)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim", show_header=has_header)
    for column in header:
        no_wrap = column.number or not column.wrap
        table.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=no_wrap,
            overflow="ellipsis" if no_wrap else "fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return table


def keep_libraries_quiet() -> None:
    """Discards everything that C code writes to stderr from now on; `sys.stderr` keeps working.

    ggml prints straight to file descriptor 2, in the middle of our output. Does nothing if R1_DEBUG is set.
    """
    if sys.stderr is None or sys.platform == "win32" or debugging():
        return  # a console on Windows has no descriptor to duplicate
    sys.stderr.flush()
    descriptor = sys.stderr.fileno()
    sys.stderr = error_stream(os.dup(descriptor))
    _redirect_to_devnull(descriptor)


def in_foreground(stream: TextIO) -> bool:
    """False if `stream` is a terminal on which another job of the shell is in the foreground."""
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except OSError:  # not the controlling terminal, or a stream in memory
        return True


def abandon(stream: TextIO) -> None:
    """Redirects a broken stream to the null device, so that neither later writes nor the flush at exit fail."""
    with suppress(OSError):  # a stream in memory has no descriptor; or there are too many open files
        _redirect_to_devnull(stream.fileno())


def _redirect_to_devnull(descriptor: int) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)


def printable(text: str) -> str:
    """`text` without the control characters that a terminal would interpret; newlines and tabs stay."""
    return text.translate(_CONTROL_CODES)


def _reconfigure(stream: TextIO, **options: str) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(**options)
