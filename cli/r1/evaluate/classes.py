"""Answers that say the same, in classes.

Saying the same is not transitive: 12 is both 12 cm and 12 m, and those two differ. So an answer joins a class only if
it agrees with every different text in it; then no two that differ are counted together, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Callable


class AnswerClasses:
    """The classes of the answers so far, numbered from 0."""

    def __init__(self, same: Callable[[str, str], bool]) -> None:
        """`same` says whether two different texts say the same. It may take seconds."""
        self._same = same
        self._texts: list[list[str]] = []  # the different texts of each class
        self._numbers: dict[str, int] = {}  # of each text

    def add(self, text: str) -> int:
        """The number of an answer's class: that of an equal text; else of the first class it agrees with; else a new
        one.
        """
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = self._find(text)
        return number

    def _find(self, text: str) -> int:
        for number, texts in enumerate(self._texts):
            if all(self._same(other, text) for other in texts):
                texts.append(text)
                return number
        self._texts.append([text])
        return len(self._texts) - 1
