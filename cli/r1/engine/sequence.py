"""What each sequence of a context holds, and how many cells of the KV cache that takes.

A prompt comes in segments, one per turn of the conversation, and is cut into chunks the same way wherever it occurs. A
batch holds whole chunks, of one segment. After a prefill the cache therefore depends on the tokens alone: not on the
parts kept from an earlier prompt, nor on whether it was filled at once or warmed while idle. Otherwise the last bits of
the logits would differ, and the same seed must give the same text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence as Row
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from r1.engine.kv_types import Cut
from r1.engine.llama import llama

Segments = Row[Row[int]]
"""A prompt's token ids, split at the end of each turn."""

_COMPARED = 1024  # tokens that are compared at once


class Held(Protocol):
    """Tokens that were prefilled, and the positions where chunks ended in them, ascending and from 0 on."""

    @property
    def tokens(self) -> list[int]: ...

    @property
    def edges(self) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Chunks:
    """A prompt's tokens, the positions where its chunks end, and those where its segments do, ascending."""

    tokens: list[int]
    edges: list[int]
    ends: list[int]

    @classmethod
    def of(cls, segments: Segments, cut: Cut) -> Chunks:
        edges: list[int] = []
        ends = list(accumulate(map(len, segments)))
        for end, segment in zip(ends, segments, strict=True):
            edges += [*range(end - len(segment) + cut.size, end - cut.least + 1, cut.size), end]
        return cls([token for segment in segments for token in segment], edges, ends)

    def behind(self, others: Chunks) -> Chunks:
        """The same chunks behind those of `others`."""
        start = len(others.tokens)
        edges, ends = ([start + place for place in places] for places in (self.edges, self.ends))
        return Chunks([*others.tokens, *self.tokens], [*others.edges, *edges], [*others.ends, *ends])

    def batch_end(self, position: int, rows: int) -> int:
        """Where a batch of at most `rows` tokens ends that begins at `position`: behind a chunk."""
        last = min(position + rows, self.ends[bisect_right(self.ends, position)])
        return self.edges[bisect_right(self.edges, last) - 1]

    def edges_within(self, start: int, end: int) -> list[int]:
        """The edges after `start`, up to `end`."""
        return self.edges[bisect_right(self.edges, start) : bisect_right(self.edges, end)]

    def common(self, held: Held, most: int) -> int:
        """How many of the tokens held serve this prompt, at most `most`: those up to an edge of both."""
        return self._common(held.tokens, held.edges, most)

    def common_prompt(self, other: Chunks) -> int:
        """How many tokens of this prompt will be held once `other` is prefilled, without the last one if it is longer.

        A cache holds no logits, so the last token is decoded again, unless the two are the same.
        """
        total = len(self.tokens)
        return self._common(other.tokens, other.edges, total if other.tokens == self.tokens else total - 1)

    def _common(self, tokens: list[int], edges: list[int], most: int) -> int:
        length = min(common_length(tokens, self.tokens), most)
        return max((edge for edge in set(self.edges).intersection(edges) if edge <= length), default=0)


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

    def count_own(self, cells: Row[int]) -> int:
        """How many of the cells have one user."""
        return sum(self._users[cell] == 1 for cell in cells)

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

    @property
    def own_cells(self) -> int:
        """How many cells would be free without it: those that no other sequence uses."""
        return self._pool.count_own(self.cells)

    def extend(self, tokens: Row[int], edges: Row[int] = ()) -> None:
        """Notes tokens that were decoded at the end, and where chunks of a prompt ended in them."""
        self.cells.extend(self._pool.take(len(tokens)))
        self.tokens.extend(tokens)
        self.edges.extend(edges)

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
