"""Chooses the next tokens of several sequences at the same time, on a few threads.

A sampler looks at the whole vocabulary, which takes NumPy over half a millisecond for 150,000 tokens, and llama.cpp two
or more. Neither holds Python's lock meanwhile, so threads can share the work. They get the logits themselves and never
the context, because not all of llama.cpp's backends may be asked for them by two threads at the same time (Vulkan). The
tokens are those that one thread chooses.
"""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import TYPE_CHECKING, NamedTuple

from r1.engine.candidates import Candidates, Logits, kept, logits_at
from r1.engine.sampler import Sampler

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from r1.engine.context import Context
    from r1.engine.grammar import TokenFilter
    from r1.engine.logprobs import Scorer

_PAYS = 100_000
"""Logits to look at in all, half a millisecond's work; with fewer, the threads would cost more than they save."""


class Draw(NamedTuple):
    """A token to choose, from the logits at `place` in the last batch, unless it is `forced`.

    `biases` are added to the logits of some tokens. What `token_filter` does not allow is not chosen. `scorer` sees the
    logits before that. All three helpers serve this sequence alone: two threads may not use the same one.
    """

    sampler: Sampler
    place: int
    forced: int | None = None
    biases: tuple[tuple[int, float], ...] = ()
    token_filter: TokenFilter | None = None
    scorer: Scorer | None = None

    def biased(self, logits: Logits) -> Logits:
        """The same logits, with the biases added in place."""
        for token, bias in self.biases:
            logits[token] += bias
        return logits


class SamplingPool:
    """The threads for one context: as many as it computes batches with."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._vocabulary_size = context.model.vocabulary_size
        self._tables: list[Candidates] = []  # one for each thread
        self._executor: ThreadPoolExecutor | None = None

    def sample(self, draws: Row[Draw]) -> list[int | None]:
        """The token of each draw; None where the filter allows none. The logits are changed by the biases."""
        context = self._context
        threads = min(len(draws), context.threads.prefill)
        if threads < 2 or len(draws) * self._vocabulary_size < _PAYS:
            return [self._sample_one(draw) for draw in draws]
        rows = [(draw, logits_at(context, draw.place)) for draw in draws]
        tokens: list[int | None] = [None] * len(draws)
        others = [
            self._threads().submit(_sample, self._table(number), rows[number::threads]) for number in range(1, threads)
        ]
        try:
            tokens[::threads] = _sample(self._table(0), rows[::threads])
        finally:
            shares = [other.result() for other in others]  # they must not read the logits when the next batch begins
        for number, share in enumerate(shares, 1):
            tokens[number::threads] = share
        return tokens

    def sample_from(self, draw: Draw, logits: Logits) -> int | None:
        """The same for one draw, from logits that were kept."""
        return _choose(draw, kept(logits) if draw.biases else logits, self._table(0))

    def close(self) -> None:
        """Ends the threads."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _sample_one(self, draw: Draw) -> int | None:
        """Without a table of candidates, unless the filter makes one necessary."""
        if draw.scorer is not None:
            draw.scorer.look(logits_at(self._context, draw.place))
        if draw.forced is not None:
            return draw.forced
        if draw.biases:
            draw.biased(logits_at(self._context, draw.place))
        token = draw.sampler.sample(self._context, draw.place)
        if draw.token_filter is None or draw.token_filter.allows(token):
            return token
        logits = logits_at(self._context, draw.place)
        return draw.sampler.sample_allowed(logits, self._table(0), draw.token_filter)

    def _table(self, number: int) -> Candidates:
        while len(self._tables) <= number:
            self._tables.append(Candidates(self._vocabulary_size))
        return self._tables[number]

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        if self._executor is None:
            self._executor = ThreadPoolExecutor(len(self._context.sequences), "sampling")
        return self._executor


def _sample(table: Candidates, rows: Row[tuple[Draw, Logits]]) -> list[int | None]:
    return [_choose(draw, logits, table) for draw, logits in rows]


def _choose(draw: Draw, logits: Logits, table: Candidates) -> int | None:
    if draw.scorer is not None:
        draw.scorer.look(logits)
    if draw.forced is not None:
        return draw.forced
    logits = draw.biased(logits)
    token = draw.sampler.sample_from(logits, table)
    if draw.token_filter is None or draw.token_filter.allows(token):
        return token
    return draw.sampler.sample_allowed(logits, table, draw.token_filter)
