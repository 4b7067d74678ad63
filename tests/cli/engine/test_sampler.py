"""`r1.engine.sampler`: choosing the next token, by llama.cpp alone and with NumPy."""

from __future__ import annotations

from collections import Counter

import pytest

from r1.engine.candidates import Candidates, kept, logits_at
from r1.engine.context import Context
from r1.engine.model import Model
from r1.engine.sampler import Sampler
from r1.engine.sampling import SamplingParams
from tests.cli.engine.test_context import logits

SPREAD = "Tell me: "


pytestmark = pytest.mark.usefixtures("either_sampler")


@pytest.fixture
def after_text(context: Context, model: Model) -> Context:
    """A cache after which several tokens are likely."""
    for _ in context.prefill(context.sequences[0], [[model.control.bos, *model.tokenize(SPREAD)]]):
        pass
    return context


def draws(context: Context, params: SamplingParams, count: int) -> list[int]:
    with Sampler(params) as chosen:
        return [chosen.sample(context, -1) for _ in range(count)]


def softmax(values: list[float], temperature: float) -> list[float]:
    import math

    top = max(values)
    weights = [math.exp((value - top) / temperature) for value in values]
    return [weight / sum(weights) for weight in weights]


class TestLogitsOfAnEarlierPrompt:
    """Samples drawn from a copy of the logits are those drawn from the context."""

    @pytest.mark.parametrize("temperature", [0.0, 0.6, 3.0])
    def test_the_draws_are_the_same(self, after_text: Context, temperature: float) -> None:
        params = SamplingParams(temperature, seed=3)
        table = Candidates(after_text.model.vocabulary_size)
        copy = kept(logits_at(after_text, -1))
        assert list(copy) == logits(after_text)
        with Sampler(params) as chosen:
            drawn = [chosen.sample_from(copy, table) for _ in range(200)]
        assert drawn == draws(after_text, params, 200)


class TestSampler:
    """Temperature first, then top-p, then a random draw."""

    def test_temperature_zero_takes_the_likeliest_token(self, after_text: Context) -> None:
        values = logits(after_text)
        assert set(draws(after_text, SamplingParams(0), 20)) == {values.index(max(values))}

    def test_draws_follow_the_probabilities_at_that_temperature(self, after_text: Context) -> None:
        temperature, count = 1.5, 4000
        expected = softmax(logits(after_text), temperature)
        found = Counter(draws(after_text, SamplingParams(temperature, top_p=1.0, seed=1), count))
        for token, probability in enumerate(expected):
            deviation = (probability * (1 - probability) / count) ** 0.5
            assert found[token] / count == pytest.approx(probability, abs=5 * deviation + 1e-3)

    def test_top_p_is_applied_after_the_temperature(self, after_text: Context) -> None:
        temperature, top_p = 1.5, 0.7
        likeliest = sorted(enumerate(softmax(logits(after_text), temperature)), key=lambda pair: -pair[1])
        nucleus, mass = set(), 0.0
        for token, probability in likeliest:
            nucleus.add(token)
            mass += probability
            if mass >= top_p:
                break
        assert set(draws(after_text, SamplingParams(temperature, top_p, seed=5), 3000)) == nucleus
