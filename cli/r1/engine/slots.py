"""Which sequence of a context takes which prompt: the one that then shares or keeps the longest prefix."""

from __future__ import annotations

from collections.abc import Sequence as Row
from itertools import count
from typing import NamedTuple

from r1.engine.sequence import Chunks, Sequence


class Prefix(NamedTuple):
    """The first `length` tokens of a sequence. With `has_logits`, they are a prompt whose last logits are kept."""

    sequence: Sequence
    length: int
    has_logits: bool = False


class Slots:
    """The sequences of a context, and which of them are idle.

    An idle sequence keeps its tokens, because a later prompt may begin with them, until its cells are needed.
    """

    def __init__(self, sequences: Row[Sequence]) -> None:
        self._sequences = sequences
        self._busy: set[Sequence] = set()
        self._clock = count(1)
        self._used_at = dict.fromkeys(sequences, 0)

    @property
    def idle(self) -> list[Sequence]:
        return [sequence for sequence in self._sequences if sequence not in self._busy]

    def used_at(self, sequence: Sequence) -> int:
        """Grows with each use of the sequence."""
        return self._used_at[sequence]

    def best(self, chunks: Chunks) -> Prefix:
        """The longest prefix of a prompt that any sequence holds, if need be without its last token.

        A cache holds no logits, so the last token is decoded again unless its logits were kept.
        """
        total = len(chunks.tokens)
        for sequence in self._sequences:
            if sequence.last_logits and sequence.last_logits[0] == total == chunks.common(sequence, total):
                return Prefix(sequence, total, has_logits=True)
        return self.longest(chunks, total - 1)

    def longest(self, chunks: Chunks, most: int) -> Prefix:
        """The longest prefix of at most `most` tokens; of equals, the one of an idle sequence."""
        idle = self.idle
        lengths = ((chunks.common(sequence, most), sequence in idle, sequence) for sequence in self._sequences)
        length, _, sequence = max(lengths, key=lambda found: found[:2])
        return Prefix(sequence, length)

    def claim(self, prefix: Prefix) -> Sequence:
        """An idle sequence that holds the prefix and nothing else. There must be one that is idle."""
        source, length, _ = prefix
        idle = self.idle
        chosen = min(idle, key=lambda sequence: self._used_at[sequence] if len(sequence) else 0)
        if source in idle and (length == len(source) or len(idle) == 1):
            chosen = source  # it loses nothing that another request could use
        if chosen is source:
            chosen.truncate(length)
        else:
            chosen.copy(source, length)
        self._used_at[chosen] = next(self._clock)
        return chosen

    def occupy(self, sequence: Sequence) -> None:
        self._busy.add(sequence)

    def release(self, sequence: Sequence) -> None:
        """Makes it idle. Only chunks can be taken over, so what was decoded after them is dropped."""
        self._busy.discard(sequence)
        sequence.truncate(sequence.edges[-1])
        self._used_at[sequence] = next(self._clock)

    def drop_oldest(self) -> bool:
        """Empties the idle sequence that was not used for longest; False if all idle ones are empty."""
        held = [sequence for sequence in self.idle if len(sequence)]
        if held:
            min(held, key=self.used_at).truncate(0)
        return bool(held)
