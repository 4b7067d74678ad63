"""How a terminal is written to: in one piece, without asking it anything, and without style where none is wanted.

Knows: prompt-toolkit's outputs. Does not know: what is written.
"""

from __future__ import annotations

import errno
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import Renderer
from prompt_toolkit.styles import Attrs

from r1.console import abandon


class _Output(Vt100_Output):
    """Writes what belongs together at once, so that no terminal shows the middle of it."""

    held = False
    styled = True

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
            abandon(self.stdout)  # the window was closed; what ends the chat is the signal, or the end of the keys


def terminal_output(stdout: TextIO, *, styled: bool) -> Output:
    """Without asking the terminal where its cursor is: the answer would come in between what is typed."""
    if sys.platform == "win32":
        return create_output(stdout)
    output = _Output.from_pty(stdout)
    assert isinstance(output, _Output)
    output.enable_cpr = False
    output.styled = styled
    return output


@contextmanager
def at_once(output: Output) -> Iterator[None]:
    """Whatever is written within goes to the terminal at its end, in one piece."""
    if not isinstance(output, _Output):
        yield
        return
    output.held = True
    try:
        yield
    finally:
        output.held = False
        output.flush()


_NAMES = ("alacritty", "foot", "ghostty", "kitty", "tmux", "wezterm")
_VARIABLES = (
    *("TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "WEZTERM_PANE", "ITERM_SESSION_ID", "WT_SESSION"),
    *("KONSOLE_VERSION", "ALACRITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "TERMUX_VERSION"),
)
_PROGRAMS = ("Apple_Terminal", "iTerm.app", "vscode", "WezTerm", "ghostty", "Hyper", "WarpTerminal")


def wraps_lines(environ: Mapping[str, str], *, drawing: bool = False) -> bool:
    """Whether this is a terminal that is known to; one that is not known is taken for one that cuts.

    Wrongly so, some of what was live stays on the screen twice; the other way round, words would be lost. tmux tells
    its programs of a new width a quarter of a second late; what is `drawing` meanwhile is cut.
    """
    if drawing and environ.get("TMUX"):
        return False
    named = any(name in environ.get("TERM", "") for name in _NAMES)
    return named or any(map(environ.get, _VARIABLES)) or environ.get("TERM_PROGRAM") in _PROGRAMS


class ReflowingApplication(Application[int]):
    """Erases what the terminal has made of the last lines, and not only what was drawn."""

    wraps: Callable[[], bool] = staticmethod(lambda: False)

    def _on_resize(self) -> None:
        if self.wraps():
            _follow(self.renderer, self.output.get_size().columns)
        super()._on_resize()


def _follow(renderer: Renderer, width: int) -> None:
    """Tells the renderer where its cursor is now that every line above it is wrapped at `width`."""
    screen, cursor = renderer._last_screen, renderer._cursor_pos
    if screen is None or width < 1:
        return
    above = (_length(screen.data_buffer[row]) for row in range(cursor.y))
    rows = sum(max(-(-length // width), 1) for length in above)
    renderer._cursor_pos = Point(cursor.x % width, rows + cursor.x // width)


def _length(row: Mapping[int, object]) -> int:
    """The columns of a row that are not blank at its end."""
    used = [column for column, cell in row.items() if getattr(cell, "char", " ").strip()]
    return max(used, default=-1) + 1


_PATIENCE = 2.0  # seconds for another program to take the text


def copy(text: str, environ: Mapping[str, str], write: Callable[[str], None]) -> None:
    """Tries every way there is, for none of them says whether it worked; `write` sends an escape code to the terminal.

    The system's own clipboard only when the screen is this machine's: over SSH it is another one's.
    """
    if environ.get("TMUX"):
        _tell_tmux(text)
    write(_osc52(text, in_screen=environ.get("TERM", "").startswith("screen") and not environ.get("TMUX")))
    if not (environ.get("SSH_CONNECTION") or environ.get("SSH_TTY")):
        _tell_the_system(text)


def _osc52(text: str, *, in_screen: bool) -> str:
    """https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, "Operating System Commands", 52."""
    code = f"\x1b]52;c;{b64encode(text.encode()).decode()}\x07"
    return f"\x1bP{code}\x1b\\" if in_screen else code


def _tell_tmux(text: str) -> None:
    """tmux takes no OSC 52 from programs unless told to, but hands its own buffers on (`-w`, since 3.2)."""
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=text.encode(), timeout=_PATIENCE, capture_output=True, check=False
        )


def _tell_the_system(text: str) -> None:
    import pyperclip

    with suppress(pyperclip.PyperclipException, OSError, subprocess.SubprocessError):
        pyperclip.copy(text)
