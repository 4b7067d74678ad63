"""`r1.engine.sampling_pool`: threads choose the tokens that one thread chooses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from r1.engine import sampling_pool
from r1.engine.candidates import kept, logits_at
from r1.engine.context import Context, ContextParams, Part
from r1.engine.grammar import Constraint
from r1.engine.logprobs import Scorer
from r1.engine.model import Model
from r1.engine.sampler import Sampler
from r1.engine.sampling import SamplingParams
from r1.engine.sampling_pool import Draw, SamplingPool
from r1.machine.cores import Threads

SEQUENCES = 5

pytestmark = pytest.mark.usefixtures("either_sampler")


@pytest.fixture(params=[1, 2, 8])
def context(request: pytest.FixtureRequest, model: Model) -> Iterator[Context]:
    """A context with fewer threads than it has sequences, and with more. Batches are computed with one."""
    params = ContextParams(64, threads=Threads.of(1), sequences=SEQUENCES, cells=64 * SEQUENCES)
    with Context(model, params) as made:
        made.threads = Threads.of(request.param)
        yield made


def samplers() -> list[Sampler]:
    temperatures = (0.0, 0.6, 1.5, 3.0, 0.6)
    return [Sampler(SamplingParams(temperature, seed=seed)) for seed, temperature in enumerate(temperatures)]


@pytest.mark.parametrize("pays", [0, 10**9], ids=["with threads", "without"])
def test_chooses_what_each_sampler_alone_would(context: Context, monkeypatch: pytest.MonkeyPatch, pays: int) -> None:
    """Where a token is forced, its sampler draws nothing."""
    monkeypatch.setattr(sampling_pool, "_PAYS", pays)
    pool, pooled, alone = SamplingPool(context), samplers(), samplers()
    for step in range(20):
        places = context.decode([Part(sequence, [100 + step + sequence.number]) for sequence in context.sequences])
        forced = [7 if step == number else None for number in range(SEQUENCES)]
        draws = [Draw(*draw) for draw in zip(pooled, places, forced, strict=True)]
        expected = [
            sampler.sample(context, place) if token is None else token
            for sampler, place, token in zip(alone, places, forced, strict=True)
        ]
        assert pool.sample(draws) == expected
        assert pool.sample([]) == []
    for sampler in pooled + alone:
        sampler.close()


@pytest.mark.parametrize("pays", [0, 10**9], ids=["with threads", "without"])
def test_biases_and_filters_hold(context: Context, model: Model, monkeypatch: pytest.MonkeyPatch, pays: int) -> None:
    """A bias of 1,000 makes its token certain; one of minus infinity, or a filter, impossible."""
    monkeypatch.setattr(sampling_pool, "_PAYS", pays)
    pool, chosen = SamplingPool(context), model.tokenize("x")[0]
    places = context.decode([Part(sequence, [100]) for sequence in context.sequences])
    with ExitStack() as opened:
        own = [opened.enter_context(closing(sampler)) for sampler in samplers()]
        forms = [opened.enter_context(Constraint(model, 'root ::= "yes"')) for _ in places]
        draws = [Draw(*pair, biases=((chosen, 1000.0),)) for pair in zip(own, places, strict=True)]
        assert pool.sample(draws) == [chosen] * SEQUENCES
        places = context.decode([Part(sequence, [100]) for sequence in context.sequences])
        draws = [Draw(*pair, biases=((chosen, -math.inf),)) for pair in zip(own, places, strict=True)]
        assert chosen not in pool.sample(draws)
        draws = [Draw(*row[:2], token_filter=row[2]) for row in zip(own, places, forms, strict=True)]
        assert {model.piece(token or 0)[:1] for token in pool.sample(draws)} == {b"y"}
    pool.close()


@pytest.mark.parametrize("pays", [0, 10**9], ids=["with threads", "without"])
def test_a_scorer_sees_the_logits_without_biases(
    context: Context, model: Model, monkeypatch: pytest.MonkeyPatch, pays: int
) -> None:
    """Also where the token is forced."""
    monkeypatch.setattr(sampling_pool, "_PAYS", pays)
    pool, chosen = SamplingPool(context), model.tokenize("x")[0]
    places = context.decode([Part(sequence, [100]) for sequence in context.sequences])
    expected = list(logits_at(context, places[0]))
    total = max(expected) + math.log(math.fsum(math.exp(logit - max(expected)) for logit in expected))
    scorers = [Scorer(model.piece, 0) for _ in places]
    with ExitStack() as opened:
        own = [opened.enter_context(closing(sampler)) for sampler in samplers()]
        forced = [chosen, *[None] * (SEQUENCES - 1)]
        rows = zip(own, places, forced, scorers, strict=True)
        draws = [Draw(*row[:3], biases=((chosen, 1000.0),), scorer=row[3]) for row in rows]
        assert pool.sample(draws) == [chosen] * SEQUENCES
    for scorer in scorers:
        score = scorer.score(chosen, is_thinking=False)
        assert score.logprob == pytest.approx(expected[chosen] - total, abs=1e-4)
    pool.close()


def test_logits_that_were_kept_stay_as_they_are(context: Context, model: Model) -> None:
    """Other samples of the same prompt start from them, too."""
    places = context.decode([Part(context.sequences[0], [100])])
    logits, chosen = kept(logits_at(context, places[0])), model.tokenize("x")[0]
    before = list(logits)
    with Sampler(SamplingParams(seed=3)) as sampler:
        draw = Draw(sampler, -1, biases=((chosen, 1000.0),))
        assert SamplingPool(context).sample_from(draw, logits) == chosen
    assert list(logits) == before
