"""The turns of a chat: which of them the model sees, and their form for the engine."""

from __future__ import annotations

from dataclasses import replace

from r1.engine.prompt import Turn, with_attachments
from r1.history.history import Question, StoredTurn


class ChatTurns(list[StoredTurn]):
    """The turns in order."""

    @property
    def in_context(self) -> list[StoredTurn]:
        """The turns that the model sees. A turn without an answer is left out, because R1 was not trained on such."""
        return [turn for turn in self if turn.answer and not turn.trimmed]

    def for_prompt(self, without: StoredTurn | None) -> list[Turn]:
        """The same turns in the engine's form, except the one that is about to be replaced."""
        replaced = without.number if without is not None else 0
        return [
            Turn(prompt_of(turn.asked), turn.thinking, turn.answer)
            for turn in self.in_context
            if turn.number != replaced
        ]

    def next_number(self, replaced: StoredTurn | None) -> int:
        """The number of the next turn, which may replace the last one."""
        last = self[-1].number if self else 0
        return last if replaced is not None else last + 1

    def trim(self, ids: set[int]) -> None:
        """Hides turns from the model."""
        self[:] = [replace(turn, trimmed=turn.trimmed or turn.id in ids) for turn in self]


def prompt_of(asked: Question) -> str:
    """The question with its attached files, as the model reads it."""
    return with_attachments(asked.question, list(asked.files))
