"""Whether a reply answers a problem rightly, and which of its samples say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from r1.evaluate.estimates import NO_ANSWER, Vote
from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleRecord

NOT_COMPARED = "none"
"""How a sample without a final answer was compared."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Comparison(Protocol):
    """Whether two answers say the same, and how that was found."""

    @property
    def value(self) -> bool: ...
    @property
    def how(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer says in the end, whether that is right, and how it was compared."""

    final: str | None
    correct: bool
    how: str


@dataclass(slots=True)
class Judge:
    """Judges answers, each different one of a problem once.

    `final_answer` finds what an answer says in the end, `same` compares two of those, the right one first.
    """

    final_answer: Callable[[str], str | None]
    same: Callable[[str, str], Comparison]
    _known: dict[tuple[str, str], Comparison] = field(default_factory=dict, init=False)

    def judge(self, problem: Problem, answer: str) -> Judgement:
        """Of a complete answer. With a `check`, an answer without a short end is compared as a whole."""
        final = self.final_answer(answer)
        if problem.check is not None:
            final = final or answer.strip() or None
            passes = final is not None and (problem.passes_check(final) or problem.passes_check(answer.strip()))
            return Judgement(final, passes, "check" if final is not None else NOT_COMPARED)
        if final is None or problem.answer is None:
            return Judgement(final, False, NOT_COMPARED)
        found = self._compare(problem.answer, _as_letter(problem, final))
        return Judgement(final, found.value, found.how)

    def votes(self, problem: Problem, samples: Sequence[SampleRecord]) -> list[Vote]:
        """The class of each sample: 0 for the right answer, then a number for each other one."""
        others: list[str] = []
        return [(self._class_of(problem, sample, others), sample.correct) for sample in samples]

    def _class_of(self, problem: Problem, sample: SampleRecord, others: list[str]) -> int:
        if sample.correct:
            return 0
        if sample.final is None:
            return NO_ANSWER
        final = sample.final if problem.check is not None else _as_letter(problem, sample.final)
        for number, other in enumerate(others, start=1):
            if other == final or (problem.check is None and self._compare(other, final).value):
                return number
        others.append(final)
        return len(others)

    def _compare(self, one: str, other: str) -> Comparison:
        key = (one, other)
        if key not in self._known:
            self._known[key] = self.same(one, other)
        return self._known[key]


def _as_letter(problem: Problem, final: str) -> str:
    """The letter of the choice whose text a model gave; else what it gave. A letter stays one: texts may be letters."""
    if final.strip("(). ").upper() in tuple(_LETTERS[: len(problem.choices)]):
        return final
    text = final.strip().casefold()
    places = [place for place, choice in enumerate(problem.choices) if choice.casefold() == text]
    return _LETTERS[places[0]] if places else final
