"""What a slash command is, and the table that all of them are in.

Knows: names, help, what Tab may offer. Does not know: what any of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from r1.chat.chat import Chat
from r1.history.history import StoredTurn
from r1_quantize.errors import UsageError

Words = Callable[[Chat], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Command:
    """`words`: what may follow. `takes_path`: a path may. `anytime`: also while the model speaks."""

    name: str
    arguments: str
    help: str
    run: Callable[[Chat, str], None]
    words: Words
    takes_path: bool
    anytime: bool

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.arguments}".rstrip()


COMMANDS: dict[str, Command] = {}


def command(
    name: str,
    arguments: str,
    help: str,  # noqa: A002 — what it is
    *,
    words: Words = lambda _: (),
    takes_path: bool = False,
    anytime: bool = False,
) -> Callable[[Callable[[Chat, str], None]], Callable[[Chat, str], None]]:
    def register(run: Callable[[Chat, str], None]) -> Callable[[Chat, str], None]:
        COMMANDS[name] = Command(name, arguments, help, run, words, takes_path, anytime)
        return run

    return register


def last(chat: Chat) -> StoredTurn:
    if not chat.turns:
        raise UsageError("nothing was said yet")
    return chat.turns[-1]


def count(word: str, most: int) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= most:
        raise UsageError(f"{word!r} is not a number from 1 to {most}")
    return int(word)


def turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"


def brief(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
