"""`r1.engine.nucleus`: what top-p leaves of a vocabulary, compared with sums in double precision."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np
import pytest

from r1.engine.candidates import Logits
from r1.engine.nucleus import likeliest, nucleus

VOCABULARY = 151_936


def held(values: Sequence[float] | np.ndarray) -> Logits:
    return memoryview(array("f", np.asarray(values, np.float32).tobytes()))


def drawn(deviation: float, peak: float) -> np.ndarray:
    """Logits of which some hundreds stand out by up to `peak`."""
    logits = np.random.default_rng(7).normal(0, deviation, VOCABULARY)
    logits[5_000:5_300] += np.linspace(peak, 0, 300)
    return logits.astype(np.float32)


@pytest.mark.parametrize("deviation", [0.1, 1, 3])
@pytest.mark.parametrize("peak", [0, 8, 30])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.6, 0.95), (0.6, 0.5), (1.0, 0.999), (2.5, 0.95)])
def test_has_the_fewest_tokens_that_reach_top_p(
    deviation: float, peak: float, temperature: float, top_p: float
) -> None:
    """One token more or less where the sum of 32-bit numbers is that close to top-p."""
    logits = drawn(deviation, peak)
    exponents = logits.astype(np.float64) / temperature
    order = np.argsort(-exponents, kind="stable")
    shares = np.exp(exponents[order] - exponents.max())
    expected = np.searchsorted(np.cumsum(shares / math.fsum(shares)), top_p) + 1
    found = nucleus(held(logits), temperature, top_p)
    assert len(found) == pytest.approx(expected, abs=1 + expected / 20_000)
    first = exponents[order[: len(found)]] - exponents.max()
    assert np.allclose(exponents[found["id"]] - exponents.max(), first, atol=1e-5)
    assert np.allclose(found["logit"], first, atol=1e-5)


def test_the_likeliest_token_is_always_in_it() -> None:
    logits = drawn(1, 0)
    assert list(nucleus(held(logits), 1.0, 0.0)["id"]) == [logits.argmax()]


def test_tokens_that_cannot_come_are_not_in_it() -> None:
    logits = [-math.inf, 1.0, -math.inf, 0.0]
    assert list(nucleus(held(logits), 1.0, 0.99)["id"]) == [1, 3]


def test_equal_tokens_are_as_likely_as_each_other() -> None:
    assert sorted(nucleus(held([3.0] * 1000), 0.6, 0.95)["id"]) != list(range(1000))
    assert len(nucleus(held([3.0] * 1000), 0.6, 0.95)) == 950


def test_the_first_of_equal_tokens_is_the_likeliest() -> None:
    assert likeliest(held([1.0, 2.0, 2.0, -math.inf])) == 1


@pytest.mark.parametrize("damage", [math.nan, math.inf, -math.inf])
def test_a_damaged_models_logits_still_leave_a_token(damage: float) -> None:
    """As in llama.cpp's sampler; without a warning, which would be an error here."""
    assert len(nucleus(held([damage] * 10), 0.6, 0.95)) > 0
    assert len(nucleus(held([damage, 1.0, 2.0]), 0.6, 0.95)) > 0
