"""A program on a real pseudo-terminal, its output drawn by a terminal emulator (pyte): what the user sees."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pyte

_TIMEOUT_S = 60.0  # on an idle machine nothing here takes a hundredth of it
_SCROLLBACK_LINES = 20_000
_POLL_S = 0.05

Row = dict[int, Any]
Open = Callable[..., "Screen"]


class _Reflowing(pyte.HistoryScreen):
    """pyte cuts lines when it gets narrower; this one can also wrap them, as most terminals do.

    `answer` gets what the terminal answers to the program, such as the position of the cursor.
    """

    def __init__(self, columns: int, rows: int, answer: Callable[[str], object]) -> None:
        super().__init__(columns, rows, history=_SCROLLBACK_LINES)
        self.write_process_input = answer
        self._continued: dict[int, Row] = {}  # rows created by wrapping, by identity

    def rows(self) -> list[Row]:
        """From the top of the scrollback to the bottom of the screen."""
        return [*self.history.top, *(self.buffer[y] for y in range(self.lines))]

    def erase_in_display(self, how: int = 0, *arguments: Any, **options: Any) -> None:
        """Erased rows continue no line, as in real terminals."""
        super().erase_in_display(how, *arguments, **options)
        for y in range(self.cursor.y if how == 0 else 0, self.lines):
            self._continued.pop(id(self.buffer[y]), None)

    def reflow(self, columns: int, rows: int) -> None:
        """Wraps lines at a new width, after joining the ones wrapped before."""
        joined, cursor = self._joined()
        cut: list[Row] = []
        y = x = 0
        for number, line in enumerate(joined):
            pieces = max(-(-_length(line) // columns), 1)
            if number == cursor[0]:
                y, x = len(cut) + cursor[1] // columns, cursor[1] % columns
                pieces = max(pieces, cursor[1] // columns + 1)
            for piece in range(pieces):
                start = piece * columns
                made = pyte.screens.StaticDefaultDict(self.default_char)
                made.update({at - start: line[at] for at in line if start <= at < start + columns})
                cut.append(made)
                if piece:
                    self._continued[id(made)] = made
        while len(cut) > y + 1 and not _length(cut[-1]):
            cut.pop()
        above = max(len(cut) - rows, 0)
        self.history.top.clear()
        self.history.top.extend(cut[:above])
        self.resize(rows, columns)
        self.buffer.clear()
        for number, line in enumerate(cut[above:]):
            self.buffer[number] = line
        self.cursor.y, self.cursor.x = max(y - above, 0), x

    def _joined(self) -> tuple[list[Row], tuple[int, int]]:
        """The lines before wrapping, and the cursor's position in them."""
        joined: list[Row] = []
        cursor = (0, 0)
        at = len(self.history.top) + self.cursor.y
        before = 0
        for number, row in enumerate(self.rows()):
            joins = id(row) in self._continued and before >= self.columns
            lead = _length(joined[-1]) if joins else 0
            if joins:
                joined[-1].update({lead + column: cell for column, cell in row.items()})
            else:
                joined.append(dict(row))
            if number == at:
                cursor = (len(joined) - 1, lead + min(self.cursor.x, self.columns - 1))
            before = _length(row)
        self._continued.clear()
        return joined, cursor


class Screen:
    """Starts `command` on a pseudo-terminal of `columns` by `rows`. `wraps`: it wraps lines when it is resized."""

    def __init__(
        self,
        command: Sequence[str],
        environ: dict[str, str],
        size: tuple[int, int] = (80, 24),
        *,
        wraps: bool = False,
        cwd: Path | None = None,
    ) -> None:
        self._wraps = wraps
        self._columns, self._rows = size
        self._emulator = _Reflowing(*size, answer=self.type)
        self._stream = pyte.ByteStream(self._emulator)
        self._modes = set(self._emulator.mode)
        self.raw = b""
        self._open = True
        self._ours, theirs = pty.openpty()
        self.tell_size()
        self._stty = self.stty()
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environ, "VTE_VERSION": "7600"} if wraps else environ,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 — tests start no threads
        )
        os.close(theirs)

    # --- the user types ---

    def type(self, keys: str | bytes) -> None:
        """All of it in one write, as a terminal does with a key or a paste."""
        os.write(self._ours, keys.encode() if isinstance(keys, str) else keys)

    def enter(self, line: str) -> None:
        """Types a line, waits for it, presses Enter: text that arrives together with Enter is a paste."""
        self.type(line)
        self.wait_for(lambda: line.rsplit(maxsplit=1)[-1][-8:] in self.draft())
        self.type("\r")

    def resize(self, columns: int, rows: int | None = None, *, tells: bool = True) -> None:
        """`tells` False: the program does not know until `tell_size`, as for a quarter of a second in tmux."""
        self._columns, self._rows = columns, rows or self._rows
        self.pump(0)
        if self._wraps:
            self._emulator.reflow(self._columns, self._rows)
        else:
            self._emulator.resize(self._rows, self._columns)
        if tells:
            self.tell_size()

    def tell_size(self) -> None:
        """The system learns the size, and signals it to the program."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", self._rows, self._columns, 0, 0))

    def kill(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def close(self) -> None:
        """The window is closed."""
        if self._open:
            os.close(self._ours)
            self._open = False

    # --- the user sees ---

    def wait_for(self, wanted: str | Callable[[], object], timeout: float = _TIMEOUT_S) -> None:
        """Waits until the text is on the screen, or the condition is true."""
        seen = (lambda: wanted in "\n".join(self.screen())) if isinstance(wanted, str) else wanted
        end = time.monotonic() + timeout
        while not seen():
            assert time.monotonic() < end, f"timed out waiting for {wanted!r}:\n{self.everything()}"
            if not self.pump(_POLL_S) and not self.running and not self.pump(0):
                assert seen(), f"the program ended before {wanted!r}:\n{self.everything()}"

    def settle(self, quiet: float = 0.3) -> None:
        """Waits until nothing is drawn for `quiet` seconds. Prefer `wait_for`: a busy machine may just be slow."""
        end = time.monotonic() + _TIMEOUT_S
        while self.pump(quiet):
            assert time.monotonic() < end, f"it never stops drawing:\n{self.everything()}"

    def pump(self, seconds: float) -> bool:
        """Draws output that arrives within `seconds`; True if any did."""
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # on Linux: the other side is closed
            data = b""
        self.raw += data
        self._stream.feed(data)
        if not data:
            time.sleep(min(seconds, _POLL_S))  # the process is about to end
        return bool(data)

    def screen(self) -> list[str]:
        """The lines on the screen, without trailing blanks."""
        return [line.rstrip() for line in self._emulator.display]

    def everything(self) -> str:
        """Scrollback and screen, without blank lines at the end."""
        return "\n".join(_text(row) for row in self._emulator.rows()).rstrip("\n")

    def draft(self) -> str:
        """The lines from the last prompt on."""
        lines = self.screen()
        last = max((number for number, line in enumerate(lines) if line.startswith(">")), default=len(lines))
        return "\n".join(lines[last:])

    def said_after(self, line: str, *until: str) -> str:
        """Sends a line, waits until all of `until` (or anything) is printed below it, and returns that."""
        before = self.everything().count(f"\n> {line}\n")

        def said() -> str:
            *_, below = self.everything().rsplit(f"\n> {line}\n", 1)
            return below.rpartition("\n>\n")[0].strip("\n")

        def is_said() -> bool:
            return (
                self.everything().count(f"\n> {line}\n") > before
                and self.draft().startswith(">\n")
                and bool(said())
                and all(text in said() for text in until)
            )

        self.enter(line)
        self.wait_for(is_said)
        return said()

    def cursor(self) -> tuple[int, int]:
        """Column and row."""
        return self._emulator.cursor.x, self._emulator.cursor.y

    # --- afterwards ---

    def stty(self) -> list[Any]:
        """The terminal's settings."""
        return termios.tcgetattr(self._ours)

    @property
    def is_given_back(self) -> bool:
        """True if the terminal has its old settings and modes (cursor shown, no bracketed paste)."""
        while self.pump(0):
            pass
        return self.stty() == self._stty and self._emulator.mode == self._modes

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int:
        """The exit status; waits for it."""
        end = time.monotonic() + _TIMEOUT_S
        while self.running and self._open:
            assert time.monotonic() < end, f"the program does not end:\n{self.everything()}"
            self.pump(_POLL_S)
        return self._process.wait(timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self.close()


def _length(row: Row) -> int:
    """The columns of a row up to its last non-blank character."""
    return max((column for column, cell in row.items() if cell.data.strip()), default=-1) + 1


def _text(row: Row) -> str:
    cells = [row[column].data if column in row else " " for column in range(_length(row))]
    return "".join(cells).rstrip()
