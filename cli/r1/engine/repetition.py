"""Finds loops in the tokens of a reply: text that comes again and again, and will go on to.

Three kinds are found. All need at least three times the same; how much more, `_Limits` says.

- *exact*: the same block of 1 to 512 tokens, without a gap.
- *numbers*: the same block, in which only numbers differ. Counting and tables look like that, too, so it counts how
  often, and whether a block comes again with the numbers that it had before.
- *fragments*: pieces of 8 tokens that were said a short time ago, in any order, make up most of a window.

A table, a program or a row of zeros repeats itself as well, with few different tokens. The fewer there are in a block,
the longer it may go on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Literal, NamedTuple

Kind = Literal["exact", "numbers", "fragments"]

_LONGEST_PERIOD = 512
_PERIOD_GRAM = 32
"""A period is looked for where this many tokens came again: enough to tell which of two places they came from."""
_FRAGMENT = 8
_FRAGMENT_WORDS = 5
"""A fragment with fewer different tokens says nothing: tables and code are full of them."""
_WINDOW = 4096
"""Tokens that are remembered."""
_EVERY = 32
"""Loops are looked for every so many tokens."""
_NUMBER = -1
"""Stands for a number, of one token or several, where only the rest of the text counts."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop that is under way.

    `start` is the index of the first token to drop: the block stays once. `period` is the length of the block in
    tokens, for `numbers` with each number as one; 0 if there is none.
    """

    start: int
    kind: Kind
    period: int


class _Need(NamedTuple):
    """A block with at least `words` different tokens (numbers do not count) is a loop, if this came again."""

    words: int
    times: int
    tokens: int


class _Share(NamedTuple):
    """The share of the last `window` tokens whose fragments were said at most `distance` tokens before. It counts
    where there are at least `words` different tokens.
    """

    window: int
    distance: int
    share: float
    words: int


@dataclass(frozen=True, slots=True)
class _Limits:
    """What may repeat, and how often. Of several needs, the first with few enough words decides."""

    exact: tuple[_Need, ...]
    stale: tuple[_Need, ...]
    """Blocks with numbers that they had before."""
    fresh: tuple[_Need, ...]
    """Blocks with ever new numbers."""
    fragments: tuple[_Share, ...]


_STRICT = _Limits(
    exact=(_Need(16, 2, 128), _Need(8, 2, 192), _Need(5, 2, 384), _Need(0, 2, 768)),
    stale=(_Need(8, 4, 512), _Need(0, 4, 1536)),
    fresh=(_Need(20, 6, 512), _Need(6, 256, 1024), _Need(0, 1024, 2048)),
    fragments=(
        _Share(512, 128, 0.9, 8),
        _Share(1024, 340, 0.75, 40),
        _Share(2048, 680, 0.75, 40),
        _Share(4096, 1360, 0.75, 40),
        _Share(4096, 512, 0.95, 0),
    ),
)
_LENIENT = _Limits(
    exact=(_Need(24, 3, 512), _Need(0, 3, 1024)),
    stale=(_Need(8, 8, 1024), _Need(0, 8, 3072)),
    fresh=(_Need(20, 64, 2048), _Need(6, 1024, 4096), _Need(0, 4096, 8192)),
    fragments=(_Share(2048, 400, 0.9, 40), _Share(4096, 800, 0.9, 40)),
)


class LoopDetector:
    """Watches the tokens of one reply. The work a token does not grow with the length of the reply."""

    def __init__(self, is_number: Callable[[int], bool] = lambda _: False, lenient: bool = False) -> None:
        """`is_number` says whether a token consists of digits. `lenient`: waits longer; for answers."""
        self._is_number = is_number
        self._limits = _LENIENT if lenient else _STRICT
        self._tokens: list[int] = []
        self._words: list[int] = []
        self._exact = _Periods(self._tokens)
        self._marks: list[int] = []
        self._starts: list[int] = []
        self._numbers = _Periods(self._marks)
        self._fragments = _Fragments(self._tokens, self._words, self._limits.fragments)

    def add(self, token: int) -> Loop | None:
        """Takes one token; returns the loop that it goes on with, if there is one."""
        word = _NUMBER if self._is_number(token) else token
        was_in_number = bool(self._words) and self._words[-1] == _NUMBER
        self._tokens.append(token)
        self._words.append(word)
        self._exact.update()
        self._fragments.update()
        if word != _NUMBER or not was_in_number:
            self._marks.append(word)
            self._starts.append(len(self._tokens) - 1)
            self._numbers.update()
        if len(self._tokens) % _EVERY:
            return None
        return self._exact_loop() or self._number_loop() or self._fragment_loop()

    def truncate(self, length: int) -> None:
        """Forgets the tokens from index `length` on."""
        del self._tokens[length:], self._words[length:]
        marks = bisect_left(self._starts, length)
        del self._starts[marks:], self._marks[marks:]
        self._exact.truncated()
        self._numbers.truncated()
        self._fragments.truncated()

    def _exact_loop(self) -> Loop | None:
        found = self._exact
        if found.again < 2 * found.period or not found.period:
            return None
        words = len({*self._words[-found.period :]} - {_NUMBER})
        if not _is_met(self._limits.exact, words, found):
            return None
        return Loop(found.first() + found.period, "exact", found.period)

    def _number_loop(self) -> Loop | None:
        found = self._numbers
        if found.again < 2 * found.period or not found.period:
            return None
        block = self._marks[-found.period :]
        numbers = block.count(_NUMBER)
        if not numbers:
            return None
        words = len(set(block)) - 1
        is_stale = _is_met(self._limits.stale, words, found) and self._numbers_come_again()
        if not is_stale and not _is_met(self._limits.fresh, words // numbers, found):
            return None
        return Loop(self._starts[found.first() + found.period], "numbers", found.period)

    def _numbers_come_again(self) -> bool:
        """Whether nearly all of the last blocks are, with their numbers, repetitions of others."""
        period = self._numbers.period
        end = len(self._marks) - 1  # the last number may not be complete
        begin = max(end - self._numbers.again, end - _WINDOW // 2)
        edges = [self._starts[mark] for mark in range(end, begin - 1, -period)]
        blocks = {tuple(self._tokens[start:stop]) for stop, start in pairwise(edges)}
        return len(blocks) <= 0.25 * (len(edges) - 1)

    def _fragment_loop(self) -> Loop | None:
        return Loop(self._fragments.first(), "fragments", 0) if self._fragments.is_loop else None


class _Grams:
    """When each run of `size` tokens was last seen, in a list that grows at its end."""

    def __init__(self, tokens: Sequence[int], size: int) -> None:
        self._tokens = tokens
        self._size = size
        self._seen: dict[int, int] = {}

    def distance(self) -> int:
        """How many tokens before its end the list had the same last tokens; 0 for never, or too long ago."""
        now = len(self._tokens)
        gram = self._last(now)
        before = self._seen.get(gram, -_WINDOW)
        self._seen[gram] = now
        if len(self._seen) > 2 * _WINDOW:
            self._seen = {gram: place for gram, place in self._seen.items() if place > now - _WINDOW}
        return now - before if now - before < _WINDOW and now >= self._size else 0

    def _last(self, end: int) -> int:
        return hash(tuple(self._tokens[max(0, end - self._size) : end]))

    def truncated(self) -> None:
        """Takes note that the list has become shorter."""
        now = len(self._tokens)
        self._seen = {self._last(place): place for place in range(max(1, now - _WINDOW), now + 1)}


class _Periods:
    """The period with which a list of tokens repeats itself at its end.

    `again` is how many of the last tokens are the same as those `period` before them.
    """

    def __init__(self, tokens: list[int]) -> None:
        self.period = 0
        self.again = 0
        self._tokens = tokens
        self._grams = _Grams(tokens, _PERIOD_GRAM)

    def update(self) -> None:
        """Takes note of one more token."""
        distance = self._grams.distance()
        if self.period and self._tokens[-1] == self._tokens[-1 - self.period]:
            self.again += 1
        elif 0 < distance <= _LONGEST_PERIOD:
            self.period, self.again = distance, _PERIOD_GRAM
        else:
            self.period = self.again = 0

    def first(self) -> int:
        """The index of the first token of the first block."""
        while (before := len(self._tokens) - self.again - self.period - 1) >= 0:
            if self._tokens[before] != self._tokens[before + self.period]:
                break
            self.again += 1
        return before + 1

    def truncated(self) -> None:
        self._grams.truncated()
        self.period = self.again = 0


class _Fragments:
    """How much of a list of tokens, near its end, was said shortly before."""

    def __init__(self, tokens: list[int], words: list[int], shares: tuple[_Share, ...]) -> None:
        """`words` are the tokens, with `_NUMBER` in place of digits."""
        self._tokens = tokens
        self._words = words
        self._shares = shares
        self._grams = _Grams(tokens, _FRAGMENT)
        self._distances: list[int] = []
        self._counts = [0] * len(shares)

    @property
    def is_loop(self) -> bool:
        return any(
            count >= share * window and self._repeated_words(window) >= words
            for count, (window, _, share, words) in zip(self._counts, self._shares, strict=True)
        )

    def update(self) -> None:
        """Takes note of one more token."""
        distance = self._grams.distance()
        if distance and len(set(self._words[-_FRAGMENT:])) < _FRAGMENT_WORDS:
            distance = 0
        distances = self._distances
        distances.append(distance)
        for number, (window, limit, *_) in enumerate(self._shares):
            self._counts[number] += 0 < distance <= limit
            if len(distances) > window:
                self._counts[number] -= 0 < distances[-1 - window] <= limit

    def _repeated_words(self, window: int) -> int:
        return len(set(compress(self._words[-window:], self._distances[-window:])))

    def first(self) -> int:
        """The index from which on the most was said before, and the least was new."""
        best = score = 0
        first = len(self._distances)
        for place in range(first - 1, max(-1, first - 1 - 2 * _WINDOW), -1):
            score += 1 if self._distances[place] else -2
            if score > best:
                best, first = score, place
        return max(0, first - _FRAGMENT + 1)

    def truncated(self) -> None:
        self._grams.truncated()
        del self._distances[len(self._tokens) :]
        for number, (window, limit, *_) in enumerate(self._shares):
            self._counts[number] = sum(0 < distance <= limit for distance in self._distances[-window:])


def _is_met(needs: tuple[_Need, ...], words: int, found: _Periods) -> bool:
    need = next(need for need in needs if words >= need.words)
    return found.again >= max(need.times * found.period, need.tokens)
