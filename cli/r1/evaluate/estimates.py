"""What samples of each problem say about a model: pass@1, and cons@k, each with its standard error.

The standard error is over the problems: they are taken for a random draw from all problems of their kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

NO_ANSWER = -1
"""In place of a class, for a sample without a final answer: it has no vote."""

Vote = tuple[int, bool]
"""The class of a sample's final answer, a number for each different one, and whether that answer is right."""

_MOST_SUBSETS = 2_000
"""Of the samples of a problem. Up to so many, cons@k is computed from all of them instead of from random ones."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share from 0 to 1, the mean over `problems`, and its standard error.

    The error is None where it is not known: for fewer than two problems, and where all have the same share, because
    that is no sign that others would have it, too.
    """

    value: float
    error: float | None
    problems: int


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
    import numpy as np  # here, because light commands import this module's neighbours

    chosen = np.random.default_rng(seed)
    return _over_problems([_vote_among(votes, k, draws, chosen) for votes in samples if len(votes) >= k > 0])


def powers(most: int) -> list[int]:
    """1, 2, 4 … up to `most`, and `most` itself."""
    below = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return [*below, most] if most > 0 else []


def _over_problems(shares: Sequence[float]) -> Estimate:
    count = len(shares)
    if len(set(shares)) <= 1:
        return Estimate(shares[0] if shares else 0.0, None, count)
    mean = sum(shares) / count
    variance = sum((share - mean) ** 2 for share in shares) / (count - 1)
    return Estimate(mean, sqrt(variance / count), count)


def _vote_among(votes: Sequence[Vote], k: int, draws: int, chosen: np.random.Generator) -> float:
    """The probability that k of these votes elect a right answer."""
    import numpy as np

    if k == 1:  # a sample without an answer is wrong
        return sum(is_right for number, is_right in votes if number != NO_ANSWER) / len(votes)
    classes, places = np.unique([number for number, _ in votes], return_inverse=True)
    if comb(len(votes), k) <= _MOST_SUBSETS:
        drawn = _counts_of_subsets(places, k, len(classes))
    else:
        drawn = chosen.multivariate_hypergeometric(np.bincount(places), k, size=draws)
    right = [number for number, is_right in votes if is_right]
    answers = classes != NO_ANSWER
    return _elected(drawn[:, answers], np.isin(classes[answers], right))


def _counts_of_subsets(places: Integers, k: int, classes: int) -> Integers:
    """How many votes each class has in each subset of k votes; of shape (subsets, `classes`)."""
    import numpy as np

    subsets = np.array([*combinations(places.tolist(), k)])
    cells = subsets + classes * np.arange(len(subsets))[:, None]
    return np.bincount(cells.ravel(), minlength=classes * len(subsets)).reshape(-1, classes)


def _elected(drawn: Integers, is_right: NDArray[np.bool_]) -> float:
    """The share of the rows of votes in which a right class has the most; of those with equally many, it has a part."""
    import numpy as np

    first = (drawn == drawn.max(axis=1, keepdims=True, initial=0)) & (drawn > 0)
    shares = first[:, is_right].sum(axis=1) / np.maximum(first.sum(axis=1), 1)
    return float(shares.mean())
