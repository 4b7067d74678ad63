"""Chooses the next tokens of several sequences at the same time, on a few threads.

A sampler looks at the whole vocabulary, which takes llama.cpp about two milliseconds for 150,000 tokens; one after the
other, sixteen sequences would wait an eighth of a step for it. llama.cpp does not hold Python's lock meanwhile, so
threads can share the work. They get the logits themselves and never the context, because not all of llama.cpp's
backends may be asked for them by two threads at the same time (Vulkan). The tokens are those that one thread chooses.
"""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import TYPE_CHECKING, NamedTuple

from r1.engine.candidates import Candidates, Logits, logits_at
from r1.engine.sampling import Sampler

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from r1.engine.context import Context

_PAYS = 100_000
"""Logits to look at in all, about a millisecond's work; with fewer, the threads would cost more than they save."""


class Draw(NamedTuple):
    """A token to choose, from the logits at `place` in the last batch, unless it is `forced`."""

    sampler: Sampler
    place: int
    forced: int | None = None


class SamplingPool:
    """The threads for one context: as many as it computes batches with."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._vocabulary_size = context.model.vocabulary_size
        self._tables: list[Candidates] = []  # one for each thread
        self._executor: ThreadPoolExecutor | None = None

    def sample(self, draws: Row[Draw]) -> list[int]:
        """The token of each draw."""
        context = self._context
        threads = min(len(draws), context.threads.prefill)
        if threads < 2 or len(draws) * self._vocabulary_size < _PAYS:
            return [sampler.sample(context, place) if forced is None else forced for sampler, place, forced in draws]
        rows = [(draw, logits_at(context, draw.place)) for draw in draws]
        tokens = [0] * len(draws)
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

    def sample_from(self, draw: Draw, logits: Logits) -> int:
        """The same for one draw, from logits that were kept."""
        return _sample(self._table(0), [(draw, logits)])[0]

    def close(self) -> None:
        """Ends the threads."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _table(self, number: int) -> Candidates:
        while len(self._tables) <= number:
            self._tables.append(Candidates(self._vocabulary_size))
        return self._tables[number]

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        if self._executor is None:
            self._executor = ThreadPoolExecutor(len(self._context.sequences), "sampling")
        return self._executor


def _sample(table: Candidates, rows: Row[tuple[Draw, Logits]]) -> list[int]:
    return [draw.sampler.sample_from(logits, table) if draw.forced is None else draw.forced for draw, logits in rows]
