"""Whether a reply answers a problem rightly, and which of its samples say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from r1.evaluate.choices import Compare, Comparison, letter_of
from r1.evaluate.classes import AnswerClasses
from r1.evaluate.estimates import NO_ANSWER, Vote
from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleRecord

NOT_COMPARED = "none"
"""How a sample without a final answer was compared."""

LITERALLY = "literal"
"""How a sample was compared that math-verify could not read, or was not there to read."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer says in the end, whether that is right, and how it was compared."""

    final: str | None
    correct: bool
    how: str


@dataclass(slots=True)
class Judge:
    """Judges answers, each different one of a problem once.

    `final_answer` finds what an answer says in the end, `same` compares two of those, the right one first. `begin` is
    called before the answers to a problem are compared: each problem has a time limit of its own.
    """

    final_answer: Callable[[str], str | None]
    same: Compare
    begin: Callable[[], None] = lambda: None
    _known: dict[tuple[str, str], Comparison] = field(default_factory=dict, init=False)
    _letters: dict[tuple[int, str], tuple[str | None, str]] = field(default_factory=dict, init=False)

    def judge(self, problem: Problem, answer: str) -> Judgement:
        """Of a complete answer. With a `check`, an answer without a short end is compared as a whole."""
        final = self.final_answer(answer)
        if problem.check is not None:
            final = final or answer.strip() or None
            passes = final is not None and (problem.passes_check(final) or problem.passes_check(answer.strip()))
            return Judgement(final, passes, "check" if final is not None else NOT_COMPARED)
        if final is None or problem.answer is None:
            return Judgement(final, False, NOT_COMPARED)
        return self._judge_final(problem, problem.answer, final)

    def judge_again(self, problem: Problem, sample: SampleRecord) -> SampleRecord:
        """A sample whose answer was compared as text: math-verify may be there now, or read it this time."""
        if sample.how != LITERALLY or sample.final is None or problem.answer is None:
            return sample
        found = self._judge_final(problem, problem.answer, sample.final)
        return replace(sample, correct=found.correct, how=found.how)

    def votes(self, problem: Problem, samples: Sequence[SampleRecord]) -> list[Vote]:
        """The vote of each sample."""
        self.begin()
        ballot = Ballot(self, problem)
        for sample in samples:
            ballot.add(sample)
        return ballot.votes

    def compare(self, one: str, other: str) -> Comparison:
        key = (one, other)
        if key not in self._known:
            self._known[key] = self.same(one, other)
        return self._known[key]

    def named(self, problem: Problem, final: str) -> str:
        """What a final answer is counted as: the letter of the choice that it names, or itself."""
        return (self._letter(problem, final)[0] if problem.choices else None) or final

    def _judge_final(self, problem: Problem, answer: str, final: str) -> Judgement:
        self.begin()
        if problem.choices:
            letter, how = self._letter(problem, final)
            return Judgement(final, letter == answer, how)
        found = self.compare(answer, final)
        return Judgement(final, found.value, found.how)

    def _letter(self, problem: Problem, final: str) -> tuple[str | None, str]:
        """The letter, and how it was found. Where there is none, a text that could not be compared may be why."""
        key = (problem.line, final)
        if key not in self._letters:
            ways: list[str] = []

            def same(one: str, other: str) -> Comparison:
                found = self.compare(one, other)
                ways.append(found.how)
                return found

            letter = letter_of(final, problem.choices, same)
            self._letters[key] = letter, LITERALLY if letter is None and LITERALLY in ways else "text"
        return self._letters[key]


class Ballot:
    """The votes of the samples of one problem, in the order in which they come.

    Class 0 is that of the right answer; the others have a number from 1.
    """

    def __init__(self, judge: Judge, problem: Problem) -> None:
        self.votes: list[Vote] = []
        self._judge = judge
        self._problem = problem
        self._others = AnswerClasses(self._same)

    def add(self, sample: SampleRecord) -> None:
        self.votes.append((self._class_of(sample), sample.correct))

    def _class_of(self, sample: SampleRecord) -> int:
        if sample.correct:
            return 0
        if sample.final is None:
            return NO_ANSWER
        return 1 + self._others.add(self._judge.named(self._problem, sample.final))

    def _same(self, one: str, other: str) -> bool:
        """With a check, only equal texts say the same."""
        return self._problem.check is None and self._judge.compare(one, other).value
