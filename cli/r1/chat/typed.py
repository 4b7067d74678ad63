"""What Up and Ctrl-R bring back: everything that was typed, in this chat and before.

Knows: prompt-toolkit's idea of a history. Does not know: the database.
"""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit.history import History as Strings

from r1.history.history import History
from r1_quantize.errors import R1Error

_MOST = 1000


class Typed(Strings):
    """Questions come from the turns they were asked in; only what is in no turn is written here."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        """The newest first; nothing when they cannot be read, for which the chat need not end."""
        try:
            return self._history.typed(_MOST)
        except R1Error:
            return []

    def store_string(self, string: str) -> None:
        """Questions are kept by the chat, and the rest by whoever knows that it is no question."""
