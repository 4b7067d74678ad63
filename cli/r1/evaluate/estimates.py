"""What samples of each problem say about a model: pass@1, and cons@k, each with its standard error.

The standard error is over the problems: they are taken for a random draw from all problems of their kind.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

NO_ANSWER = -1
"""In place of a class, for a sample without a final answer: it has no vote."""

Vote = tuple[int, bool]
"""The class of a sample's final answer, a number for each different one, and whether that answer is right."""

_MOST_SUBSETS = 2_000
"""Of the samples of a problem. Up to so many, cons@k is computed from all of them instead of from random ones."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share from 0 to 1, and its standard error; None: of fewer than two problems, so that it is not known."""

    value: float
    error: float | None


def pass_at_1(correct: Sequence[Sequence[bool]]) -> Estimate:
    """The share of right samples: the mean over the problems of the mean over each problem's samples.

    Problems without a sample are left out; without any, the estimate is 0.
    """
    return _over_problems([sum(samples) / len(samples) for samples in correct if samples])


def consensus(samples: Sequence[Sequence[Vote]], k: int, *, draws: int = 500, seed: int = 0) -> Estimate:
    """The share of problems that a vote among `k` samples gets right: cons@k.

    `samples` has those of each problem; a problem with fewer than `k` is left out. The answer that most of the `k` gave
    wins; of those with equally many, each counts for its share. The k are drawn without replacement: all subsets of
    a problem's samples if there are few, else `draws` random ones, the same for the same `seed`.
    """
    chosen = random.Random(seed)
    return _over_problems([_vote_among(votes, k, draws, chosen) for votes in samples if len(votes) >= k > 0])


def powers(most: int) -> list[int]:
    """1, 2, 4 … up to `most`, and `most` itself."""
    below = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return [*below, most] if most > 0 else []


def _over_problems(shares: Sequence[float]) -> Estimate:
    count = len(shares)
    if count == 0:
        return Estimate(0.0, None)
    mean = sum(shares) / count
    if count == 1:
        return Estimate(mean, None)
    variance = sum((share - mean) ** 2 for share in shares) / (count - 1)
    return Estimate(mean, sqrt(variance / count))


def _vote_among(votes: Sequence[Vote], k: int, draws: int, chosen: random.Random) -> float:
    """The probability that k of these votes elect a right answer."""
    if k == 1:  # a sample without an answer is wrong
        return sum(is_right for number, is_right in votes if number != NO_ANSWER) / len(votes)
    if len({number for number, _ in votes}) == 1:
        return _elected(votes)
    if comb(len(votes), k) <= _MOST_SUBSETS:
        from itertools import combinations

        outcomes = [_elected(subset) for subset in combinations(votes, k)]
    else:
        outcomes = [_elected(chosen.sample(votes, k)) for _ in range(draws)]
    return sum(outcomes) / len(outcomes)


def _elected(votes: Sequence[Vote]) -> float:
    """1 if a right answer has the most votes, 0 if a wrong one has; a share where several have as many."""
    counts = Counter(number for number, _ in votes if number != NO_ANSWER)
    if not counts:
        return 0.0
    most = max(counts.values())
    first = {number for number, count in counts.items() if count == most}
    right = {number for number, is_right in votes if is_right}
    return len(first & right) / len(first)
