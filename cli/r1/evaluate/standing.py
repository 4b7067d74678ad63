"""Which of the problems that have begun are still undecided, while an evaluation goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from r1.evaluate.equivalence import Equivalence
from r1.evaluate.figures import is_decided
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Ballot, Judge
from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleRecord

_SHOWN = 4  # problems
_LONGEST = 12  # characters of an id


@dataclass(slots=True)
class Standing:
    """Follows the samples of each problem. One thread changes it; others may read `wording`.

    `earlier` are samples that there were before, by the line of their problem. Wrong answers are compared with each
    other by texts and normal forms only: while math-verify compares, no tokens are generated.
    """

    k: int
    earlier: Mapping[int, Sequence[SampleRecord]] = field(default_factory=dict)
    wording: str = ""
    _judge: Judge = field(default_factory=lambda: Judge(final_answer, Equivalence(None).same))
    _ballots: dict[int, Ballot] = field(default_factory=dict)
    _undecided: dict[int, str] = field(default_factory=dict)  # labels by line, in the order of their beginning

    def begin(self, problem: Problem) -> None:
        """A sample of the problem begins."""
        if self.k > 1 and problem.line not in self._undecided and not self._is_decided(problem):
            self._undecided[problem.line] = _label(problem)
            self._word()

    def end(self, problem: Problem, sample: SampleRecord) -> None:
        """A sample of the problem has ended. One whose samples are all there is left to the report."""
        ballot = self._ballot(problem)
        ballot.add(sample)
        if len(ballot.votes) >= self.k or self._is_decided(problem):
            self.drop(problem)

    def drop(self, problem: Problem) -> None:
        """The problem is left out."""
        self._undecided.pop(problem.line, None)
        self._word()

    def _is_decided(self, problem: Problem) -> bool:
        votes = self._ballot(problem).votes
        return bool(votes) and is_decided(votes, self.k)

    def _ballot(self, problem: Problem) -> Ballot:
        if problem.line not in self._ballots:
            ballot = self._ballots[problem.line] = Ballot(self._judge, problem)
            for sample in self.earlier.get(problem.line, ()):
                ballot.add(sample)
        return self._ballots[problem.line]

    def _word(self) -> None:
        self.wording = undecided_text(self._undecided.values())


def undecided_text(labels: Iterable[str]) -> str:
    """`no winner yet: 13, 14`; empty if each has one."""
    every = [*labels]
    others = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return f"no winner yet: {', '.join(every[:_SHOWN])}{others}" if every else ""


def _label(problem: Problem) -> str:
    return problem.id if len(problem.id) <= _LONGEST else f"line {problem.line}"
