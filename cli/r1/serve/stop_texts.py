"""Ends an answer before the first of some texts, though they come in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """What may be shown of an answer so far. `found` is the text that ended it; None: it has not ended."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Empty texts are not looked for."""
        self.found: str | None = None
        self._texts = [text for text in texts if text]
        self._held = ""  # could be the beginning of one of them

    @property
    def is_holding(self) -> bool:
        """Whether a part of the answer is held back."""
        return bool(self._held)

    def feed(self, piece: str) -> str:
        """The text that can be shown now: all that cannot be part of a stop text. Nothing after one is found."""
        if self.found is not None:
            return ""
        text = self._held + piece
        places = [(at, found) for found in self._texts if (at := text.find(found)) >= 0]
        if places:
            at, self.found = min(places)
            self._held = ""
            return text[:at]
        kept = max((_overlap(text, each) for each in self._texts), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> str:
        """What was held back of an answer that has ended by itself."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """The most characters at the end of `text` that `stop` begins with; less than all of it."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
