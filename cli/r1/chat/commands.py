"""What begins with a slash: is it a command, which one, and what is there?

Knows: every command, by importing the modules that have them. Does not know: what one does.
"""

from __future__ import annotations

import difflib
import re

from r1.chat import slash as _slash  # noqa: F401 — registers the commands
from r1.chat.chat import Chat
from r1.chat.command import COMMANDS, command
from r1.render.style import Style, wrap
from r1_quantize.errors import R1Error

_COMMAND = re.compile(r"/([a-z]*)(?:\s+(.*))?", re.DOTALL)
"""A path such as /etc/passwd is none, and goes to the model."""

_NARROW = 64
"""Columns under which two columns of help would be too small."""


def is_command(text: str) -> bool:
    """Whether `text` is for the program, and not a message."""
    return _COMMAND.fullmatch(text.rstrip()) is not None


def must_wait(text: str) -> bool:
    """Whether a command has to wait until the reply is over that is being made."""
    match = _COMMAND.fullmatch(text.rstrip())
    found = COMMANDS.get(match[1]) if match else None
    return found is not None and not found.anytime


def run_command(chat: Chat, text: str) -> bool:
    """Runs what `text` says; False when it is no command but a message."""
    match = _COMMAND.fullmatch(text.rstrip())
    if match is None:
        return False
    found = COMMANDS.get(match[1])
    if found is None:
        close = difflib.get_close_matches(match[1], COMMANDS, 1)
        hint = f"did you mean /{close[0]}?" if close else "/help lists them"
        chat.fail(f"no command /{match[1]}: {hint} (a space before it makes it a message)")
    else:
        try:
            found.run(chat, (match[2] or "").strip())
        except (R1Error, OSError) as exc:
            chat.fail(str(exc))
    return True


@command("help", "", "this", anytime=True)
def _help(chat: Chat, _: str) -> None:
    chat.view.print(help_lines(chat.view.style) + "\n")


@command("quit", "", "leave (ctrl-d)", anytime=True)
def _quit(chat: Chat, _: str) -> None:
    chat.view.leave()


KEYS = (
    ("enter", "send; alt-enter or ctrl-j for a new line"),
    ("ctrl-t", "show the thinking, or hide it"),
    ("esc", "while it thinks: answer now"),
    ("ctrl-c", "stop it; or put the draft away (up brings it back)"),
    ("ctrl-r", "search what you typed before"),
    ("ctrl-x ctrl-e", "write the message in $EDITOR"),
    ("ctrl-d", "leave"),
)


def help_lines(style: Style) -> str:
    """A line for each command and each key; on narrow screens the help goes below what it explains."""
    commands = [(known.usage, known.help) for known in COMMANDS.values()]
    wide = 0 if style.width < _NARROW else max(len(usage) for usage, _ in [*commands, *KEYS]) + 2
    return f"{_table(commands, style, wide)}\n{_table(list(KEYS), style, wide)}"


def _table(rows: list[tuple[str, str]], style: Style, wide: int) -> str:
    """Two columns, the first `wide`; 0: one below the other."""
    if not wide:
        return "".join(style.note(usage, "1") + style.note(f"  {text}") for usage, text in rows)
    lines = []
    for usage, text in rows:
        first, *others = wrap(text, style.width - wide - 1)
        lines += [f"{style.styled(usage.ljust(wide), '1')}{style.dim(first)}\n"]
        lines += [f"{' ' * wide}{style.dim(other)}\n" for other in others]
    return "".join(lines)
