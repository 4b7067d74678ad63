"""Whether two answers say the same: by their texts, by exact normal forms, or by math-verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NoReturn

from r1.evaluate.agreement import agree
from r1.evaluate.algebra import for_algebra
from r1.evaluate.formula import formula
from r1.evaluate.normal_form import Words, normal_form, without_letter
from r1.evaluate.symbolic import Verifier
from r1.evaluate.units import split_unit

How = Literal["text", "number", "symbolic", "literal"]

COMPARING_S = 5.0
"""Seconds that math-verify may take for all answers to one question."""

_REMEMBERED = 10_000  # pairs of answers, and answers


@dataclass(frozen=True, slots=True)
class Same:
    """`how`: by the texts, by normal forms, by math-verify, or literally, because that was missing, failed, or had no
    time.
    """

    value: bool
    how: How


class _NoTime(Exception):
    """A pair was not given to math-verify, or not for long; so nothing is remembered of it."""


class Equivalence:
    """Compares answers, and counts those that could only be compared literally. `close` ends the helper process."""

    def __init__(
        self,
        verifier: Verifier | None,
        interrupted: Callable[[], bool] = lambda: False,
        limit_s: float = COMPARING_S,
    ) -> None:
        """None: without math-verify. It may take `limit_s` for the answers to one question; what is left then is
        compared literally, and counted. While `interrupted` says yes, nothing waits for it, and nothing is counted.
        """
        self._verifier = verifier
        self._interrupted = interrupted
        self._limit_s = limit_s
        self._spent_s = 0.0  # on this question
        self._literally = 0
        self._too_late: set[tuple[str, str]] = set()  # of this question
        self._has_skipped = False
        self._compared = lru_cache(_REMEMBERED)(self._compare)

    @property
    def literally(self) -> int:
        """How many pairs of answers needed math-verify and had to do without it."""
        return self._literally + len(self._too_late)

    @property
    def has_skipped(self) -> bool:
        """Whether a pair was compared literally because of `interrupted`."""
        return self._has_skipped

    def begin(self) -> None:
        """Answers to another question come now: math-verify has all its time again."""
        self._spent_s = 0.0
        self._literally += len(self._too_late)
        self._too_late.clear()

    def same(self, one: str, other: str) -> Same:
        """Symmetric. An answer of thousands of characters is compared as it is."""
        one, other = one.strip(), other.strip()
        if one == other:
            return Same(True, "text")
        forms = normal_form(one), normal_form(other)
        if forms[0] is None or forms[1] is None:
            return Same(False, "text")
        if (result := agree(forms[0], forms[1])) is None:
            return self._symbolically(one, other)
        return Same(result, "text" if all(isinstance(form, Words) for form in forms) else "number")

    def close(self) -> None:
        if self._verifier is not None:
            self._verifier.close()

    def _symbolically(self, one: str, other: str) -> Same:
        try:
            result = self._compared(*sorted(map(_bare, (one, other))))
        except _NoTime:
            result = None
        if result is None:
            return Same(False, "literal")  # their texts differ, also without what is for the eye only
        return Same(result, "symbolic")

    def _compare(self, one: str, other: str) -> bool | None:
        """Remembered, so that a pair that takes all the time takes it once, and is counted once."""
        if self._verifier is not None and self._interrupted():  # first: thousands of pairs may be left
            self._skip()
        formulas = for_algebra(one, other)
        if self._verifier is None or formulas is None:
            result = None
        elif self._spent_s >= self._limit_s:
            self._too_late.add((one, other))
            raise _NoTime
        else:
            result = self._verify(self._verifier, *formulas)
        self._literally += result is None
        return result

    def _verify(self, verifier: Verifier, one: str, other: str) -> bool | None:
        before = verifier.spent_s
        result = verifier.verify(one, other, self._interrupted)
        if result is None and self._interrupted():
            self._skip()
        self._spent_s += verifier.spent_s - before
        return result

    def _skip(self) -> NoReturn:
        self._has_skipped = True
        raise _NoTime


@lru_cache(_REMEMBERED)
def _bare(answer: str) -> str:
    return split_unit(without_letter(formula(answer)))[0]
