"""Whether two answers say the same: by their texts, by exact normal forms, or by math-verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from r1.evaluate.agreement import agree
from r1.evaluate.algebra import for_algebra
from r1.evaluate.formula import formula
from r1.evaluate.normal_form import Words, normal_form
from r1.evaluate.symbolic import Verifier
from r1.evaluate.units import split_unit

How = Literal["text", "number", "symbolic", "literal"]

_REMEMBERED = 10_000  # pairs of answers


@dataclass(frozen=True, slots=True)
class Same:
    """`how`: by the texts, by normal forms, by math-verify, or literally, because math-verify was missing or failed."""

    value: bool
    how: How


class _Interrupted(Exception):
    """There is no result; so that none is remembered."""


class Equivalence:
    """Compares answers, and counts those that could only be compared literally. `close` ends the helper process."""

    def __init__(self, verifier: Verifier | None, interrupted: Callable[[], bool] = lambda: False) -> None:
        """None: without math-verify. While `interrupted` says yes, nothing waits for it: formulas are compared
        literally, and not counted.
        """
        self._verifier = verifier
        self._interrupted = interrupted
        self._literally = 0
        self._compared = lru_cache(_REMEMBERED)(self._compare)

    @property
    def literally(self) -> int:
        """How many pairs of answers needed math-verify and had to do without it."""
        return self._literally

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
            result = self._compared(*sorted(split_unit(formula(answer))[0] for answer in (one, other)))
        except _Interrupted:
            result = None
        if result is None:
            return Same(False, "literal")  # their texts differ, also without what is for the eye only
        return Same(result, "symbolic")

    def _compare(self, one: str, other: str) -> bool | None:
        """Remembered, so that a pair that takes all the time takes it once, and is counted once."""
        formulas = for_algebra(one, other)
        result = None
        if self._verifier is not None and formulas is not None:
            result = self._verifier.verify(*formulas, self._interrupted)
            if result is None and self._interrupted():
                raise _Interrupted
        self._literally += result is None
        return result
