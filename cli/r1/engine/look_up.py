"""Drafts from what the sequence holds already: the prompt with its files, the thinking, the answer so far.

R1 repeats in its answer what it has thought, and code that it edits comes back nearly whole. So the last tokens are
looked up in the sequence, and what followed them the last time is the draft (Saxena, "Prompt Lookup Decoding", 2023;
llama.cpp's `ngram-simple`).
"""

from __future__ import annotations

from collections.abc import Sequence as Row

from r1.engine.draft import Prospect

_LENGTHS = {8: 0.85, 5: 0.7, 3: 0.5}
"""Tokens that are looked up → how often a token of the draft is right then, before any was checked. The longest first:
it is the surest.
"""


class LookUp:
    """Finds the last tokens of one sequence in the tokens before them."""

    cost = spent = 0.0

    def __init__(self) -> None:
        self._ends: dict[int, dict[int, int]] = {length: {} for length in _LENGTHS}
        """For each length: the hash of so many tokens → the position after them."""
        self._indexed = 0
        self._found: Row[int] = ()

    def look(self, tokens: list[int], last: int, most: int) -> Prospect | None:
        """What followed the last time. `tokens` are those of the sequence, and `last` is the one to come next."""
        self._index(tokens)
        for length, hope in _LENGTHS.items():
            looked_up = [*tokens[len(tokens) - length + 1 :], last]
            end = self._ends[length].get(hash(tuple(looked_up)), 0)
            if length <= end < len(tokens) and tokens[end - length : end] == looked_up:  # hashes may be equal, or old
                self._found = tokens[end : end + most]
                return Prospect(length, hope, len(self._found))
        return None

    def draft(self, length: int) -> list[int]:
        return list(self._found[:length])

    def _index(self, tokens: list[int]) -> None:
        """Notes where the tokens stand that came since the last call. The sequence may have lost some meanwhile."""
        start, self._indexed = min(self._indexed, len(tokens)), len(tokens)
        for length, ends in self._ends.items():
            for end in range(max(start, length), len(tokens)):
                ends[hash(tuple(tokens[end - length : end]))] = end
