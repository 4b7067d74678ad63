"""The terminal: how large it is, how many colours it has, what stands between it and the program.

Knows: Rich's idea of it, and the variables that tmux and ssh leave. Does not know: what is drawn.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from r1.console import Console
from r1.fit.survey import is_phone


@dataclass(frozen=True, slots=True)
class Terminal:
    """`is_terminal` says whether stdout is one. `colours` are what Rich calls them: standard, 256, truecolor, windows,
    or none."""

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
    """That of stdout."""
    from rich.console import Console as RichConsole

    rich = RichConsole(file=console.stdout, _environ=dict(console.environ))
    columns, lines = _size(console) or (rich.width, rich.height)
    environ, encoding = console.environ, getattr(console.stdout, "encoding", None) or "utf-8"
    return Terminal(
        is_terminal=console.stdout_is_terminal,
        columns=columns,
        lines=lines,
        colours=rich.color_system or "none",
        encoding=encoding,
        unicode=encoding.lower().replace("-", "") == "utf8",
        tmux="TMUX" in environ,
        ssh=bool({"SSH_CONNECTION", "SSH_TTY"} & set(environ)),
        termux=is_phone(environ),
    )


def _size(console: Console) -> tuple[int, int] | None:
    """Of a terminal that Rich takes for 80 columns without looking, because it is a dumb one."""
    if not console.stdout_is_terminal or console.environ.get("TERM") not in {"dumb", "unknown"}:
        return None
    try:
        found = os.get_terminal_size(console.stdout.fileno())
    except (OSError, ValueError):
        return None
    return (found.columns, found.lines) if found.columns > 0 else None
