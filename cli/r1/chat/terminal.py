"""The terminal of the chat: writing in one piece, resizing, the clipboard.

The only module that uses private names of prompt-toolkit; `pyproject.toml` allows only the minor version they were
tested with.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point, Size
from prompt_toolkit.key_binding import KeyBindingsBase
from prompt_toolkit.key_binding.key_processor import KeyPress, KeyProcessor
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import Renderer
from prompt_toolkit.styles import Attrs

from r1.console import abandon
from r1_quantize.errors import debugging

# --- output ---


class _AtomicOutput(Vt100_Output):
    """Can hold output back and write it in one piece, so that no terminal shows half a frame."""

    held = False
    styled = True
    columns: int | None = None  # the terminal's answer, where the system's figure is late

    def get_size(self) -> Size:
        size = super().get_size()
        return size if self.columns is None else Size(rows=size.rows, columns=self.columns)

    def set_attributes(self, attrs: Attrs, color_depth: ColorDepth) -> None:
        if self.styled:
            super().set_attributes(attrs, color_depth)

    def flush(self) -> None:
        if self.held:
            return
        try:
            super().flush()
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            abandon(self.stdout)  # the window was closed; the chat ends by the signal or the end of the input


def terminal_output(stdout: TextIO, *, styled: bool) -> Output:
    """An output that never asks the terminal for the cursor position: its answer would mix with the user's typing."""
    if sys.platform == "win32":
        return create_output(stdout)
    output = _AtomicOutput.from_pty(stdout)
    assert isinstance(output, _AtomicOutput)
    output.enable_cpr = False
    output.styled = styled
    return output


@contextmanager
def in_one_write(output: Output) -> Iterator[None]:
    """Holds output back until the end of the block, then writes it in one piece."""
    if not isinstance(output, _AtomicOutput):
        yield
        return
    output.held = True
    try:
        yield
    finally:
        output.held = False
        output.flush()


def terminal_restorer() -> Callable[[], None]:
    """A function that restores the terminal when the process ends in the middle of the chat."""
    try:
        import termios

        before = termios.tcgetattr(0)
    except (ImportError, OSError, termios.error):
        return lambda: None

    def restore() -> None:
        termios.tcsetattr(0, termios.TCSANOW, before)
        os.write(1, b"\r\n\x1b[J\x1b[?25h\x1b[?2004l")  # clear below, show the cursor, end bracketed paste

    return restore


# --- the application, and prompt-toolkit's private parts ---


_ASK_WIDTH = "\x1b7\x1b[999C\x1b[6n\x1b8"  # the position of the cursor in the last column; the cursor stays
_WIDTH_TIMEOUT_S = 0.05  # tmux answers in a thousandth of a second
_MAX_SILENCES = 3  # unanswered questions in a row


class ChatApplication(Application[int]):
    """Draws the last lines of the terminal, and keeps them in place when the terminal wraps lines at a new width."""

    wraps = False
    _asked: asyncio.Future[int] | None = None
    _silences = 0

    @property
    def is_asking_width(self) -> bool:
        """True while the answer to `follow_width` is on its way; it must not reach another program."""
        return self._asked is not None

    async def follow_width(self) -> None:
        """Asks the terminal for its width before something is drawn.

        tmux wraps its lines at once, but reports the new width to its programs a quarter of a second later; what they
        draw meanwhile would be in the wrong place.
        """
        output = self.output
        if not isinstance(output, _AtomicOutput) or not self.is_running or self.is_suspended:
            return
        if self._silences >= _MAX_SILENCES:
            return
        self._asked = asyncio.get_running_loop().create_future()
        output.write_raw(_ASK_WIDTH)
        output.flush()
        try:
            columns = await asyncio.wait_for(self._asked, _WIDTH_TIMEOUT_S)
        except TimeoutError:
            self._silences += 1
            return
        finally:
            self._asked = None
        self._silences = 0
        if columns != output.get_size().columns:
            output.columns = columns
            self._redraw_at_new_width()

    def _answered(self, answer: str) -> None:
        match = re.fullmatch(r"\x1b\[\d+;(\d+)R", answer)
        if match and self._asked is not None and not self._asked.done():
            self._asked.set_result(int(match[1]))

    @property
    def is_suspended(self) -> bool:
        """True while another program, such as an editor, has the terminal."""
        return self._running_in_terminal  # private: only the context manager that sets it is public

    def print_above(self, text: str) -> None:
        """Prints lines above the drawn ones, and draws those again, all in one write."""
        with in_one_write(self.output):
            running = self.is_running
            if running:
                self.renderer.erase()
            self.output.write_raw(text.replace("\n", "\r\n"))
            if running:
                self._redraw()  # private: `invalidate` would draw later, in a second write, which flickers

    def tolerate_key_errors(self, report: Callable[[Exception], None]) -> None:
        """Reports a key that fails, instead of ending the chat."""
        bindings = self.key_processor._bindings  # private: no public way to its keys
        self.key_processor = _ChatKeys(bindings, report, self._answered)

    def _on_resize(self) -> None:
        """Private, but SIGWINCH calls it."""
        if isinstance(self.output, _AtomicOutput):
            self.output.columns = None
        self._redraw_at_new_width()

    def _redraw_at_new_width(self) -> None:
        """The cursor must be moved before the old lines are erased."""
        if self.wraps:
            _follow_wrapping(self.renderer, self.output.get_size().columns)
        super()._on_resize()


class _ChatKeys(KeyProcessor):
    """Takes the terminal's answers out of the keys, so that they do not come between two keys that belong together.

    Some of prompt-toolkit's vi keys fail on some texts; that must not end the chat.
    """

    def __init__(
        self, bindings: KeyBindingsBase, report: Callable[[Exception], None], answered: Callable[[str], None]
    ) -> None:
        super().__init__(bindings)
        self._report = report
        self._answered = answered

    def feed_multiple(self, key_presses: list[KeyPress], first: bool = False) -> None:
        for press in key_presses:
            if press.key == Keys.CPRResponse:
                self._answered(press.data)
        super().feed_multiple([press for press in key_presses if press.key != Keys.CPRResponse], first)

    def process_keys(self) -> None:
        if not self.input_queue:
            return  # only an answer came: it must not put off the moment when Escape counts as a key of its own
        try:
            super().process_keys()
        except Exception as exc:
            if debugging():
                raise
            self._report(exc)


def _follow_wrapping(renderer: Renderer, width: int) -> None:
    """Tells the renderer where its cursor is, now that every line above it is wrapped at `width`."""
    screen, cursor = renderer._last_screen, renderer._cursor_pos  # private: the renderer erases up from this position
    if screen is None or width < 1:
        return
    above = (_used_columns(screen.data_buffer[row]) for row in range(cursor.y))
    rows = sum(max(-(-columns // width), 1) for columns in above)
    renderer._cursor_pos = Point(cursor.x % width, rows + cursor.x // width)


def _used_columns(row: Mapping[int, Any]) -> int:
    """The columns of a row up to its last character that is not blank."""
    used = [column for column, cell in row.items() if cell.char.strip()]
    return max(used, default=-1) + 1


# --- which terminals wrap lines ---

_TERM_PARTS = ("alacritty", "foot", "ghostty", "kitty", "tmux", "wezterm")
_VARIABLES = (
    "TMUX",
    "VTE_VERSION",
    "KITTY_WINDOW_ID",
    "WEZTERM_PANE",
    "ITERM_SESSION_ID",
    "WT_SESSION",
    "KONSOLE_VERSION",
    "ALACRITTY_WINDOW_ID",
    "GHOSTTY_RESOURCES_DIR",
    "TERMUX_VERSION",
)
_TERM_PROGRAMS = ("Apple_Terminal", "iTerm.app", "vscode", "WezTerm", "ghostty", "Hyper", "WarpTerminal")


def wraps_lines(environ: Mapping[str, str]) -> bool:
    """True for terminals known to wrap long lines when they get narrower; an unknown one is assumed to cut them.

    If that is wrong, some live lines stay on the screen twice; the opposite mistake would lose text.
    """
    is_named = any(part in environ.get("TERM", "") for part in _TERM_PARTS)
    return is_named or any(map(environ.get, _VARIABLES)) or environ.get("TERM_PROGRAM") in _TERM_PROGRAMS


# --- the clipboard ---

_COPY_TIMEOUT_S = 2.0  # for another program to take the text


def copy(text: str, environ: Mapping[str, str], write: Callable[[str], None]) -> None:
    """Copies by every available way, because none reports success; `write` sends an escape code to the terminal.

    The system's clipboard is used only if this machine has the screen: over SSH it is another machine's.
    """
    if environ.get("TMUX"):
        _copy_to_tmux(text)
    write(_osc52(text, in_screen=environ.get("TERM", "").startswith("screen") and not environ.get("TMUX")))
    if not (environ.get("SSH_CONNECTION") or environ.get("SSH_TTY")):
        _copy_to_system(text)


def _osc52(text: str, *, in_screen: bool) -> str:
    """https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, "Operating System Commands", 52."""
    code = f"\x1b]52;c;{b64encode(text.encode()).decode()}\x07"
    return f"\x1bP{code}\x1b\\" if in_screen else code


def _copy_to_tmux(text: str) -> None:
    """tmux ignores OSC 52 from programs unless configured, but passes its own buffers on (`-w`, since 3.2)."""
    command = ["tmux", "load-buffer", "-w", "-"]
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, input=text.encode(), timeout=_COPY_TIMEOUT_S, capture_output=True, check=False)


def _copy_to_system(text: str) -> None:
    import pyperclip

    with suppress(pyperclip.PyperclipException, OSError, subprocess.SubprocessError):
        pyperclip.copy(text)
