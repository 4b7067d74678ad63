"""The terminal: its size, its colours, and what it runs in (tmux, ssh, Termux)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from r1.console import Console
from r1.fit.survey import is_phone


@dataclass(frozen=True, slots=True)
class Terminal:
    """`is_terminal`: whether stdout is one. `colours`, in Rich's words: standard, 256, truecolor, windows, or none."""

    is_terminal: bool
    columns: int
    lines: int
    colours: str
    encoding: str
    unicode: bool
    tmux: bool
    ssh: bool
    termux: bool


def terminal(console: Console) -> Terminal:
    """The terminal of stdout."""
    from rich.console import Console as RichConsole

    rich = RichConsole(file=console.stdout)
    columns, lines = _size(console) or rich.size
    environ, encoding = console.environ, getattr(console.stdout, "encoding", None) or "utf-8"
    return Terminal(
        is_terminal=console.stdout_is_terminal,
        columns=_number(environ.get("COLUMNS")) or columns,
        lines=_number(environ.get("LINES")) or lines,
        colours=rich.color_system or "none",
        encoding=encoding,
        unicode=encoding.lower().replace("-", "") == "utf8",
        tmux="TMUX" in environ,
        ssh=bool({"SSH_CONNECTION", "SSH_TTY"} & set(environ)),
        termux=is_phone(environ),
    )


def _size(console: Console) -> tuple[int, int] | None:
    """The size of a dumb terminal, because Rich assumes 80 columns for one; None for any other terminal."""
    if not console.stdout_is_terminal or console.environ.get("TERM") not in {"dumb", "unknown"}:
        return None
    try:
        size = os.get_terminal_size(console.stdout.fileno())
    except (OSError, ValueError):
        return None
    return (size.columns, size.lines) if size.columns > 0 else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
