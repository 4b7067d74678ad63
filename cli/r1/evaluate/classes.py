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
        self._sizes: list[int] = []  # how many answers each class has
        self._numbers: dict[str, int] = {}  # of each text

    def add(self, text: str) -> int:
        """The number of an answer's class: that of an equal text; else of the largest class it agrees with, since most
        answers say the same as many before; else a new one.
        """
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = self._find(text)
        self._sizes[number] += 1
        return number

    def _find(self, text: str) -> int:
        for number in sorted(range(len(self._texts)), key=lambda number: -self._sizes[number]):
            if all(self._same(other, text) for other in self._texts[number]):
                self._texts[number].append(text)
                return number
        self._texts.append([text])
        self._sizes.append(0)
        return len(self._texts) - 1
