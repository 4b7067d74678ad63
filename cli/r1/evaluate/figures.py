"""What an evaluation found, in figures, and what the model's publisher found with the same problems."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from r1.engine.events import Drafted
from r1.evaluate.estimates import NO_ANSWER, Estimate, Vote, consensus, pass_at_1, powers
from r1.evaluate.judging import LITERALLY, Judge
from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleRecord
from r1_quantize.catalog import Checkpoint

_AIME_2024 = "1dc703fe897938689b2a09c3c75db61d7e686932435e7ed559f362f7093ee12c"
"""SHA-256 of the 30 answers of AIME 2024 (I and II) in ascending order, as text with a space between two."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a publisher found with these problems: shares from 0 to 1."""

    name: str  # of the set of problems
    pass_at_1: float | None
    cons_at_64: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """How many samples ended in which way: what ended the thinking, and why the reply ended."""

    thinking: Mapping[str, int]
    replies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures over the samples that there are. `asked` is the number of problems, `k` that of samples of each.

    `consensus` has the share for each number of votes that some problem has samples for. `undecided` are the problems
    with samples whose most frequent answer is not settled: several are as frequent, or the samples that are missing
    could change it. `tps`: tokens per second of all samples together; None if there are no samples. `drafted` is what
    came of drafts; None without speculation.
    """

    asked: int
    k: int
    samples: int
    pass_at_1: Estimate
    consensus: Mapping[int, Estimate]
    ended: Ended
    without_answer: int  # complete replies that say nothing to compare
    literally: int  # samples whose answer could only be compared as text
    thinking_tokens: int
    answer_tokens: int
    tokens: int  # with those that were taken back
    median_tokens: float  # of a sample
    most_tokens: int  # of a sample
    wall_s: float
    undecided: tuple[str, ...] = field(default=())
    published: Published | None = None
    drafted: Drafted | None = None

    @property
    def is_complete(self) -> bool:
        return self.samples == self.asked * self.k

    @property
    def tps(self) -> float | None:
        return self.tokens / self.wall_s if self.wall_s > 0 else None

    @property
    def tokens_per_problem(self) -> float:
        """Of one sample on average: what a question costs."""
        return self.tokens / self.samples if self.samples else 0.0


def figures(
    problems: Sequence[Problem],
    records: Sequence[SampleRecord],
    k: int,
    judge: Judge,
    *,
    published: Published | None = None,
    compared: Callable[[int], None] = lambda _: None,
) -> Figures:
    """The figures of these samples. Samples of other problems, and those after the first `k`, are left out.

    `compared` is called with the number of problems that are done; comparing the answers to one may take seconds.
    """
    samples = by_problem(problems, records, k)
    votes = []
    for number, problem in enumerate(problems):
        compared(number)
        votes.append(judge.votes(problem, samples[problem.line]))
    used = [sample for problem in problems for sample in samples[problem.line]]
    sizes = [sample.tokens for sample in used]
    return Figures(
        asked=len(problems),
        k=k,
        samples=len(used),
        pass_at_1=pass_at_1([[correct for _, correct in each] for each in votes]),
        consensus={number: consensus(votes, number) for number in powers(max(map(len, votes), default=0))},
        ended=Ended(_thinking_ends(used), Counter(sample.finish_reason for sample in used)),
        without_answer=sum(sample.final is None and sample.finish_reason == "stop" for sample in used),
        literally=sum(sample.how == LITERALLY for sample in used),
        thinking_tokens=sum(sample.thinking_tokens for sample in used),
        answer_tokens=sum(sample.answer_tokens for sample in used),
        tokens=sum(sizes),
        median_tokens=median(sizes) if sizes else 0.0,
        most_tokens=max(sizes, default=0),
        wall_s=sum(sample.wall_s for sample in used),
        undecided=tuple(
            problem.id
            for problem, each in zip(problems, votes, strict=True)
            if k > 1 and each and not is_decided(each, k)
        ),
        published=published,
        drafted=Drafted.total(sample.drafted for sample in used),
    )


def by_problem(problems: Sequence[Problem], records: Sequence[SampleRecord], k: int) -> dict[int, list[SampleRecord]]:
    """The samples of each problem, by its line, in the order of their numbers."""
    samples: dict[int, list[SampleRecord]] = {problem.line: [] for problem in problems}
    for record in sorted(records, key=lambda record: record.sample):
        if record.line in samples and record.sample < k:
            samples[record.line].append(record)
    return samples


def is_decided(votes: Sequence[Vote], k: int) -> bool:
    """Whether the most frequent answer leads by more votes than are missing of `k`."""
    counts = Counter(number for number, _ in votes if number != NO_ANSWER)
    first, second, *_ = *sorted(counts.values(), reverse=True), 0, 0
    return first > second + k - len(votes)


def published_for(problems: Sequence[Problem], checkpoint: Checkpoint | None) -> Published | None:
    """What was published for a model with exactly these problems; None if nothing was, or the set is not known.

    The set is known by its answers, whose order, and whose zeros in front, differ between the files that hold it.
    """
    answers = [problem.answer or "" for problem in problems]
    if checkpoint is None or checkpoint.aime_pass1 is None or not all(answer.isdecimal() for answer in answers):
        return None
    text = " ".join(map(str, sorted(int(answer[-9:]) for answer in answers)))
    if hashlib.sha256(text.encode()).hexdigest() != _AIME_2024:
        return None
    cons = checkpoint.aime_cons64
    return Published("AIME 2024", checkpoint.aime_pass1 / 100, None if cons is None else cons / 100)


def _thinking_ends(samples: Sequence[SampleRecord]) -> Counter[str]:
    """By `thinking_end`; "unfinished" for thinking that did not end."""
    return Counter(sample.thinking_end or "unfinished" for sample in samples)
