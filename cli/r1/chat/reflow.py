"""What a terminal does with the lines on it when it gets narrower.

Most terminals wrap them, so that the last lines, which are about to be drawn again, take more rows than they did; a few
cut them. prompt-toolkit knows of the second kind only, and would leave half of the wrapped lines standing.

Knows: which terminals wrap. Does not know: what is on the lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.renderer import Renderer

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
