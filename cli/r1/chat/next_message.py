"""The message that the user sends next: its files, the turn that it replaces, and the form of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1.engine.prompt import Attachment
from r1.history.history import StoredTurn

if TYPE_CHECKING:
    from r1.forms.form import Form


class NextMessage:
    """`replaces` is the last turn while the user edits it or asks it again; otherwise None.

    `form` is what the answer must keep to, of this message and the following ones; None: nothing.
    """

    def __init__(self) -> None:
        self.form: Form | None = None
        self.files: list[Attachment] = []
        self.replaces: StoredTurn | None = None

    def attach(self, file: Attachment) -> None:
        self.files.append(file)

    def detach_all(self) -> None:
        self.files = []

    def begin_edit(self, turn: StoredTurn) -> None:
        """The next message replaces this turn, and has its files."""
        self.replaces = turn
        self.files = list(turn.asked.files)

    def end_edit(self) -> None:
        """The next message is a new turn after all."""
        self.replaces = None

    def clear(self) -> None:
        """Nothing is attached, nothing is replaced; the form stays."""
        self.detach_all()
        self.end_edit()
