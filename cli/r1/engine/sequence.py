"""What each sequence of a context holds, and how many cells of the KV cache that takes.

A prompt comes in segments, one per turn of the conversation, and no chunk spans two segments. After a prefill the cache
therefore depends on the tokens alone: not on the parts kept from an earlier prompt, nor on whether it was filled at
once or warmed while idle. Chunks are cut the same way for every prompt, because the batch size affects the last bits of
the logits, and the same seed must give the same text.
"""

from __future__ import annotations

from collections.abc import Sequence as Row
from dataclasses import dataclass
from itertools import accumulate

from r1.engine.llama import llama

Segments = Row[Row[int]]
"""A prompt's token ids, split at the end of each turn."""

_COMPARED = 1024  # tokens that are compared at once


@dataclass(frozen=True, slots=True)
class Chunks:
    """A prompt's tokens, and the positions where its chunks end, ascending."""

    tokens: list[int]
    edges: list[int]

    @classmethod
    def of(cls, segments: Segments, chunk: int) -> Chunks:
        """Cuts after every `chunk` tokens of a segment, and at the end of each segment."""
        edges: list[int] = []
        for start, segment in zip(accumulate(map(len, segments), initial=0), segments, strict=False):
            edges += [*range(start + chunk, start + len(segment), chunk), start + len(segment)]
        return cls([token for segment in segments for token in segment], edges)

    def behind(self, others: Chunks) -> Chunks:
        """The same chunks behind those of `others`."""
        start = len(others.tokens)
        return Chunks([*others.tokens, *self.tokens], [*others.edges, *(start + edge for edge in self.edges)])

    def after(self, position: int) -> list[int]:
        """The chunk that begins at `position`, which is 0 or an edge."""
        return self.tokens[position : next(edge for edge in self.edges if edge > position)]

    def common(self, sequence: Sequence, most: int) -> int:
        """How many tokens of `sequence` serve this prompt, at most `most`: those up to an edge of both."""
        length = min(common_length(sequence.tokens, self.tokens), most)
        return max(edge for edge in {0, *self.edges}.intersection(sequence.edges) if edge <= length)


class CellPool:
    """Counts the cells of a KV cache. One that several sequences share counts once.

    llama.cpp does not tell which cells are used, so each is known by a number of our own.
    """

    def __init__(self, memory: object, total: int) -> None:
        """`memory` is the `llama_memory_t`; None once it is freed."""
        self.memory = memory
        self.total = total
        self._users: dict[int, int] = {}  # cell → number of sequences that use it
        self._next = 0

    @property
    def free(self) -> int:
        return self.total - len(self._users)

    def take(self, count: int) -> range:
        """New cells."""
        taken = range(self._next, self._next + count)
        self._next += count
        for cell in taken:
            self._users[cell] = 1
        return taken

    def share(self, cells: Row[int]) -> None:
        for cell in cells:
            self._users[cell] += 1

    def release(self, cells: Row[int]) -> None:
        for cell in cells:
            if self._users[cell] == 1:
                del self._users[cell]
            else:
                self._users[cell] -= 1


class Sequence:
    """The tokens that a context holds for one sequence, by position."""

    def __init__(self, number: int, pool: CellPool) -> None:
        """`number` is llama.cpp's `llama_seq_id`."""
        self.number = number
        self.tokens: list[int] = []
        self.edges = [0]  # positions where prefilled chunks ended, ascending
        self.last_logits: tuple[int, memoryview[float]] | None = None
        """The length of a prefilled prompt, and the logits of its last token: further samples start from them."""
        self._pool = pool
        self.cells: list[int] = []  # by position

    def __len__(self) -> int:
        return len(self.tokens)

    def extend(self, tokens: Row[int], *, is_chunk: bool) -> None:
        """Notes tokens that were decoded at the end; `is_chunk`: as a chunk of a prompt."""
        self.cells.extend(self._pool.take(len(tokens)))
        self.tokens.extend(tokens)
        if is_chunk:
            self.edges.append(len(self.tokens))

    def truncate(self, length: int) -> None:
        """Drops every token from position `length` on."""
        if length >= len(self.cells):
            return
        self.forget_undecoded(length)
        self._pool.release(self.cells[length:])
        del self.tokens[length:], self.cells[length:]
        self.edges = [edge for edge in self.edges if edge <= length]
        if self.last_logits and self.last_logits[0] > length:
            self.last_logits = None

    def forget_undecoded(self, length: int | None = None) -> None:
        """Removes what llama.cpp holds from position `length` on; None: what a failed batch left there."""
        start = len(self.tokens) if length is None else length
        if self._pool.memory is not None:
            llama().llama_memory_seq_rm(self._pool.memory, self.number, start, -1)

    def copy(self, other: Sequence, length: int) -> None:
        """Replaces everything by the first `length` tokens of `other`, in the same cells."""
        self.truncate(0)
        llama().llama_memory_seq_cp(self._pool.memory, other.number, self.number, 0, length)
        self.tokens, self.cells = other.tokens[:length], other.cells[:length]
        self.edges = [edge for edge in other.edges if edge <= length]
        self._pool.share(self.cells)
        if other.last_logits and other.last_logits[0] <= length:
            self.last_logits = other.last_logits


def common_length(first: Row[object], second: Row[object]) -> int:
    """The length of the common prefix of two lists of tokens, or of two texts."""
    shorter = min(len(first), len(second))
    start = 0
    while start < shorter and first[start : start + _COMPARED] == second[start : start + _COMPARED]:
        start += _COMPARED
    for index in range(start, min(start + _COMPARED, shorter)):
        if first[index] != second[index]:
            return index
    return shorter
