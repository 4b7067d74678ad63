"""Votes of a smaller model in place of one answer of the best one that fits, where they take no longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r1.fit.recommendation import Prospect

PUBLISHED = 64
"""The number of votes whose score is published."""

_NUMBERS = (8, 16, 32, PUBLISHED)
"""The numbers of votes to recommend. Fewer than 8 get too little of what 64 gain."""

_LONGER = 1.5
"""How many times as many tokens a smaller model writes, at most.

In a published evaluation on the 5,000 problems of MATH, the smallest distill wrote 4,316 on average, the 32B 2,849.
"""


@dataclass(frozen=True, slots=True)
class VotesInstead:
    """`votes` answers of `smaller` take `time_share` times as long as one of `larger`, by estimate; at most 1.

    With one answer each, the larger has the better published score; with 64 votes, the smaller has.
    """

    smaller: Prospect
    larger: Prospect
    votes: int
    time_share: float


def votes_instead(candidates: Sequence[Prospect]) -> VotesInstead | None:
    """The best votes that take no longer than one answer of the candidate with the best score; None if none do.

    `candidates` fit this machine. Their speeds must have been measured. They are estimates, but their ratio is more
    certain than they are: it is that of the models' sizes, where they run on the same processor.
    """
    larger = max(candidates, key=lambda prospect: (prospect.score, -prospect.size), default=None)
    if larger is None:
        return None
    found = [_votes(smaller, larger) for smaller in candidates if smaller.score < larger.score < smaller.voted_score]
    return max(filter(None, found), key=lambda instead: (instead.smaller.voted_score, instead.votes), default=None)


def _votes(smaller: Prospect, larger: Prospect) -> VotesInstead | None:
    """As many votes as take no longer than one answer of the larger model; None if too few do."""
    is_on_slower_device = larger.on_gpu and not smaller.on_gpu
    if not smaller.tokens_per_second or not larger.tokens_per_second or is_on_slower_device:
        return None
    together = smaller.tokens_per_second * smaller.parallel_gain
    each = _LONGER * larger.tokens_per_second / together
    votes = max((number for number in _NUMBERS if number * each <= 1), default=None)
    return None if votes is None else VotesInstead(smaller, larger, votes, votes * each)
