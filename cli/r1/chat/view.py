"""The interface of a chat's view, and the parameters for opening a chat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from r1.fit.planner import DraftFile
from r1.kv_store.kv_folder import KvFolder
from r1.render.reply import ReplyView
from r1.render.style import Style


class View(Protocol):
    """Shows a chat."""

    style: Style

    def print(self, lines: str) -> None:
        """Prints lines to the scrollback; each ends in a newline. While a reply is written they wait for its end."""

    def show_question(self, question: str, files: Sequence[str]) -> None:
        """Prints a message or command that was sent, with the names of the attached files."""

    def set_draft(self, text: str) -> None:
        """Puts `text` into the draft, before anything typed meanwhile."""

    def open_reply(self, *, shows_thinking: bool, budget: int | None = None, is_literal: bool = False) -> ReplyView:
        """Begins a reply; the view draws it as it grows.

        `budget` is what the model may think, in tokens; None: no limit. `is_literal`: the answer is not Markdown.
        """

    def close_reply(self, ending: str) -> None:
        """Ends the reply: draws the rest of it, then the lines of `ending`, then what was printed meanwhile."""

    def send_escape_code(self, code: str) -> None:
        """Sends an escape code to the terminal, if there is one."""

    def changed(self) -> None:
        """Something that is drawn has changed."""

    def leave(self) -> None:
        """Ends the chat."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a chat is opened.

    `check` returns a model's full name, quickly; raises ModelNotFound. `find` returns its name and file, and may take
    time: it makes the built-in model. `find_draft` does so for the draft model; None: there is to be none. `hints` are
    lines about this machine. `shows_thinking` None: as in the last chat. `kv_folder`: where the KV cache of its
    conversation is kept.
    """

    reference: str
    check: Callable[[str], str]
    find: Callable[[str], tuple[str, Path]]
    models: Callable[[], list[str]]
    find_draft: Callable[[], DraftFile | None] = lambda: None
    hints: Callable[[], Iterable[str]] = tuple
    session: int | None = None
    shows_thinking: bool | None = None
    kv_folder: KvFolder | None = None


def name_of(reference: str) -> str:
    """A model's name as shown; for a path its last part."""
    return Path(reference).name if reference.endswith(".gguf") else reference
