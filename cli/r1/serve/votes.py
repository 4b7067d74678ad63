"""The votes that a request asks for, in r1's own fields: `votes`, `first` and `confidence`."""

from __future__ import annotations

from r1.evaluate.vote import VoteOptions
from r1.serve.fields import Fields

_MOST = 1024
_LEAST_CONFIDENCE = 0.5


def votes_in(fields: Fields, count: int = 1) -> VoteOptions | None:
    """As `--votes`, `--first` and `--confidence` of `r1 run`; None: no vote. Raises ApiError, also for a `count` of
    replies.
    """
    votes = fields.integer("votes", 1, _MOST)
    first = fields.integer("first", 1, _MOST)
    confidence = fields.number("confidence", _LEAST_CONFIDENCE, 1)
    if votes is None or votes == 1:
        return None
    if count > 1:
        fields.refuse("votes", "gives one reply, and n asks for more; leave one of them out")
    if first is not None and first > votes:
        fields.refuse("first", f"is more than votes, {votes}")
    return VoteOptions(votes, first, 0.95 if confidence is None else confidence)
