"""What a chat is shown on, and how one begins.

Knows: what a chat asks of a view. Does not know: any view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from r1.render.reply import ReplyView
from r1.render.style import Style


class View(Protocol):
    """Where a chat is shown."""

    style: Style

    def print(self, lines: str) -> None:
        """Lines for the scrollback, each ending in a newline."""

    def show_question(self, question: str, files: Sequence[str]) -> None:
        """What is asked now, with the names of the files that go along."""

    def set_draft(self, text: str) -> None:
        """Puts `text` before the person, to be changed and sent, and before what they have written meanwhile."""

    def open_reply(self, *, shows_thinking: bool) -> ReplyView:
        """A reply begins; what it is given is to be shown as it comes."""

    def close_reply(self) -> None:
        """The reply is over; what is left of it is to be shown."""

    def escape(self, code: str) -> None:
        """Sends an escape code to the terminal, where there is one that takes them."""

    def changed(self) -> None:
        """Something that is shown is no longer so."""

    def leave(self) -> None:
        """The chat is over."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a chat begins. `find` names a model and its file; it may take its time."""

    reference: str
    check: Callable[[str], str]  # its whole name, without taking time; raises ModelNotFound
    find: Callable[[str], tuple[str, Path]]
    models: Callable[[], list[str]]
    hints: Callable[[], Iterable[str]] = tuple  # what the person is told of this machine, once
    session: int | None = None
    shows_thinking: bool | None = None  # None: as it was left


def name_of(reference: str) -> str:
    """A model's name as people see it; of a path the last part."""
    return Path(reference).name if reference.endswith(".gguf") else reference
