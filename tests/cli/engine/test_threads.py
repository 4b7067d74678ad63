"""How the number of threads affects the logits, with real llama.cpp.

Attention looks at the used cells of the cache, rounded up to a multiple of 256. From 512 on, it splits those of an F16
cache among the threads when one token is decoded.
"""

from __future__ import annotations

import pytest

from r1.engine.candidates import logits_at
from r1.engine.context import Context, ContextParams, Part
from r1.engine.model import Model
from r1.machine.cores import Threads

PREFILL = (128, 122)
SINGLE = (1, 1)
SEVERAL = (8,)
"""Tokens in each batch. After these, 260 cells are used, and further batches of one are split."""


def decoded(model: Model, threads: int, kv_type: str, batches: tuple[int, ...]) -> list[list[float]]:
    """The logits after each batch of so many tokens."""
    start, found = 0, []
    with Context(model, ContextParams(512, Threads.of(threads), kv_type)) as context:
        for tokens in batches:
            part = Part(context.sequences[0], [33 + (start + i) * 7 % 90 for i in range(tokens)], has_logits=True)
            place = context.decode([part])[0]
            found.append(list(logits_at(context, place)))
            start += tokens
    return found


def test_a_prefill_a_short_cache_and_several_tokens_give_the_same_bits(model: Model) -> None:
    """And single tokens in a longer cache differ by rounding: there, a reply keeps its number for the same text."""
    batches = (*PREFILL, *SINGLE, *SEVERAL, *SINGLE)
    one, two = (decoded(model, threads, "f16", batches) for threads in (1, 2))
    assert one[: -len(SINGLE)] == two[: -len(SINGLE)]
    for row, other in zip(one, two, strict=True):
        assert row == pytest.approx(other, abs=0.05 * (max(row) - min(row)))


def test_a_quantized_cache_gives_the_same_bits_at_any_length(model: Model) -> None:
    batches = (*PREFILL, *SEVERAL, *SEVERAL, *SINGLE)
    one, two = (decoded(model, threads, "q8_0", batches) for threads in (1, 2))
    assert one == two
