"""Which of the problems that have begun are still undecided, while an evaluation goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from r1.evaluate.figures import is_decided
from r1.evaluate.judging import Judge
from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleRecord

_SHOWN = 4  # problems
_LONGEST = 12  # characters of an id


@dataclass(slots=True)
class Standing:
    """Follows the samples of each problem. One thread changes it; others may read `wording`."""

    judge: Judge
    k: int
    samples: dict[int, list[SampleRecord]] = field(default_factory=dict)
    wording: str = ""
    _undecided: dict[int, str] = field(default_factory=dict)  # labels by line, in the order of their beginning

    @classmethod
    def of(cls, judge: Judge, k: int, earlier: Mapping[int, Sequence[SampleRecord]]) -> Standing:
        """With the samples of each problem that there are, by its line."""
        return cls(judge, k, {line: list(samples) for line, samples in earlier.items()})

    def begin(self, problem: Problem) -> None:
        """A sample of the problem begins."""
        if self.k > 1 and problem.line not in self._undecided and not self._is_decided(problem):
            self._undecided[problem.line] = _label(problem)
            self._word()

    def end(self, problem: Problem, sample: SampleRecord) -> None:
        """A sample of the problem has ended. One whose samples are all there is left to the report."""
        samples = self.samples.setdefault(problem.line, [])
        samples.append(sample)
        if len(samples) >= self.k or self._is_decided(problem):
            self._undecided.pop(problem.line, None)
            self._word()

    def _is_decided(self, problem: Problem) -> bool:
        samples = self.samples.get(problem.line, [])
        return bool(samples) and is_decided(self.judge.votes(problem, samples), self.k)

    def _word(self) -> None:
        self.wording = undecided_text(self._undecided.values())


def undecided_text(labels: Iterable[str]) -> str:
    """`undecided: 13, 14`; empty if none is."""
    every = [*labels]
    others = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return f"undecided: {', '.join(every[:_SHOWN])}{others}" if every else ""


def _label(problem: Problem) -> str:
    return problem.id if len(problem.id) <= _LONGEST else f"line {problem.line}"
