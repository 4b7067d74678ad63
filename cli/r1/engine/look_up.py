"""Drafts from what the sequence holds already: the prompt with its files, the thinking, the answer so far.

R1 repeats in its answer what it has thought, and code that it edits comes back nearly whole. So the last tokens are
looked up in the sequence, and what followed them before is the draft (Saxena, "Prompt Lookup Decoding", 2023; llama.cpp
has it as `ngram-simple`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from r1.engine.draft import Prospect

_HOPES = {12: 0.97, 8: 0.93, 5: 0.85, 3: 0.65}
"""Tokens that are found → how often a token of the draft is right then, before any was checked."""
_LONGEST, _SHORTEST = max(_HOPES), min(_HOPES)
_BUCKETS = 1 << 16
_TRIES = 64  # places that are looked at, the latest first


class LookUp:
    """Finds the last tokens of one sequence in the tokens before them. It takes 4 bytes a token, and a quarter of a
    megabyte.
    """

    cost = spent = 0.0

    def __init__(self) -> None:
        self._latest = array("i", bytes(4 * _BUCKETS))
        """For the hash of three tokens: the position after them where they stood last; 0: nowhere."""
        self._before = array("i", bytes(4))  # for each such position: the one before it with the same hash
        self._indexed = 0
        self._found: list[int] = []

    def look(self, tokens: list[int], last: int, most: int) -> Prospect | None:
        """What followed the most of the last tokens; of equals, the latest. `last` comes after `tokens`."""
        self._index(tokens)
        if len(tokens) < _SHORTEST:
            return None
        looked_up = [*tokens[1 - _LONGEST :], last]
        best, position = 0, 0
        for end in self._places(looked_up):
            length = _matching(tokens, end, looked_up)
            if length > best:
                best, position = length, end
            if best == _LONGEST:
                break
        if not best:
            return None
        self._found = _copied(tokens, position, last, most)
        return Prospect(best, _HOPES[best], most)

    def draft(self, length: int) -> list[int]:
        return self._found[:length]

    def trial_s(self) -> float:
        return 0.0

    def release(self) -> None:
        pass

    def _places(self, looked_up: list[int]) -> Iterator[int]:
        """Positions after tokens that are perhaps those looked up."""
        end = self._latest[_bucket(looked_up, len(looked_up))]
        for _ in range(_TRIES):
            if not end:
                return
            if end < self._indexed:  # what stood there may have been dropped
                yield end
            end = self._before[end]

    def _index(self, tokens: list[int]) -> None:
        """Notes where the tokens stand that came since the last call. The sequence may have lost some meanwhile."""
        start, self._indexed = min(self._indexed, len(tokens)), len(tokens)
        self._before.extend(range(len(self._before), len(tokens)))
        for end in range(max(start, 1), len(tokens)):
            bucket = _bucket(tokens, end)
            earlier = self._latest[bucket]
            while earlier >= end:  # dropped
                earlier = self._before[earlier]
            self._before[end] = earlier
            self._latest[bucket] = end


def _copied(tokens: list[int], start: int, last: int, count: int) -> list[int]:
    """What follows `tokens` and `last` if everything from `start` on comes again, as often as that takes."""
    period = [*tokens[start : start + count], last]
    return (period * -(-count // len(period)))[:count]


def _bucket(tokens: list[int], end: int) -> int:
    return hash(tuple(tokens[max(end - _SHORTEST, 0) : end])) % _BUCKETS


def _matching(tokens: list[int], end: int, looked_up: list[int]) -> int:
    """How many of the last tokens looked up stand before `end`, of the lengths that count; 0: too few."""
    return next((n for n in _HOPES if end >= n and tokens[end - n : end] == looked_up[-n:] and len(looked_up) >= n), 0)
