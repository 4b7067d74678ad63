"""The registry of slash commands, which finds and runs them, and the text of /help."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from r1.chat.chat import Chat
from r1.markdown.wrap import wrap
from r1.render.style import Style
from r1_quantize.errors import R1Error, UsageError

_COMMAND = re.compile(r"/([a-z]*)(?:\s+(.*))?", re.DOTALL)  # a path such as /etc/passwd is a message

_TWO_COLUMNS_FROM = 64  # columns of the screen; on a narrower one /help puts explanations below

Run = Callable[[Chat, str], None]
Completions = Callable[[Chat], Iterable[str]]


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """One slash command.

    `completions` are the words that Tab offers after it; with `takes_path` Tab offers paths too. With `while_busy` it
    runs at once while a reply is being generated; otherwise it waits for the end of the reply. The docstring of `run`
    is what /help COMMAND adds to `help`.
    """

    name: str
    arguments: str
    help: str
    run: Run
    completions: Completions
    takes_path: bool
    while_busy: bool

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.arguments}".rstrip()

    @property
    def details(self) -> str:
        return inspect.cleandoc(self.run.__doc__ or "")


class Registry:
    """The slash commands of a chat, in the order of /help."""

    def __init__(self) -> None:
        self._by_name: dict[str, SlashCommand] = {}
        self._aliases: dict[str, str] = {}

    def add(
        self,
        name: str,
        arguments: str,
        help: str,  # noqa: A002 — the text of /help
        *,
        completions: Completions = lambda _: (),
        takes_path: bool = False,
        while_busy: bool = False,
    ) -> Callable[[Run], Run]:
        """Registers the decorated function."""

        def register(run: Run) -> Run:
            self._by_name[name] = SlashCommand(name, arguments, help, run, completions, takes_path, while_busy)
            return run

        return register

    def alias(self, alias: str, name: str) -> None:
        """Another name for a command; /help and Tab leave it out."""
        self._aliases[alias] = name

    def __iter__(self) -> Iterator[SlashCommand]:
        return iter(self._by_name.values())

    def get(self, name: str) -> SlashCommand | None:
        return self._by_name.get(self._aliases.get(name, name))

    def require(self, name: str) -> SlashCommand:
        """Raises UsageError, which suggests a similar name."""
        command = self.get(name)
        if command is None:
            similar = difflib.get_close_matches(name, [*self._by_name, *self._aliases], 1)
            hint = f"did you mean /{similar[0]}?" if similar else "/help lists the commands"
            raise UsageError(f"unknown command /{name}; {hint}")
        return command

    def is_command(self, text: str) -> bool:
        """True for anything that has the form of a command, known or not."""
        return _COMMAND.fullmatch(text.rstrip()) is not None

    def must_wait(self, text: str) -> bool:
        """True when `text` has to wait for the end of the reply: every message, and most known commands."""
        match = _COMMAND.fullmatch(text.rstrip())
        if match is None:
            return True
        command = self.get(match[1])
        return command is not None and not command.while_busy

    def run(self, chat: Chat, text: str) -> None:
        """Runs the command in `text`. An error is shown in the chat."""
        match = _COMMAND.fullmatch(text.rstrip())
        assert match is not None
        try:
            command = self.require(match[1])
        except UsageError as exc:
            chat.notices.fail(f"{exc} (start with a space to send it as a message)")
            return
        try:
            command.run(chat, (match[2] or "").strip())
        except (R1Error, OSError) as exc:
            chat.notices.fail(str(exc))


KEYS = (
    ("Enter", "send; Alt-Enter or Ctrl-J for a new line"),
    ("Ctrl-T", "show or hide the thinking"),
    ("Esc", "stop thinking and answer now"),
    ("Ctrl-C", "stop the reply; save the draft (Up restores it); twice: quit"),
    ("Ctrl-R", "search earlier input"),
    ("Ctrl-X Ctrl-E", "edit the message in $EDITOR, with long pastes in full"),
    ("Ctrl-D", "quit"),
)


def help_lines(commands: Registry, style: Style) -> str:
    """A line for each command and each key; on narrow screens the explanation goes below."""
    rows = [(command.usage, command.help) for command in commands]
    wide = style.width >= _TWO_COLUMNS_FROM
    column = max(len(usage) for usage, _ in [*rows, *KEYS]) + 2 if wide else 0
    return f"{_table(rows, style, column)}\n{_table(list(KEYS), style, column)}"


def command_help(command: SlashCommand, style: Style) -> str:
    """The usage of one command and all that there is to know about it."""
    text = "".join(f"  {line}".rstrip() + "\n" for line in [command.help, *command.details.split("\n")])
    return style.note(command.usage, "1") + style.note(text.rstrip("\n"))


def _table(rows: list[tuple[str, str]], style: Style, column: int) -> str:
    """Two columns, the second from `column` on; 0: one below the other."""
    if not column:
        return "".join(style.note(usage, "1") + style.note(f"  {text}") for usage, text in rows)
    lines = []
    for usage, text in rows:
        first, *others = wrap(text, style.width - column - 1)
        lines += [f"{style.styled(usage.ljust(column), '1')}{style.dim(first)}\n"]
        lines += [f"{' ' * column}{style.dim(other)}\n" for other in others]
    return "".join(lines)
