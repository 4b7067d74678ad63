"""`r1.engine.sampling`: how tokens are chosen unless something else is said."""

from __future__ import annotations

from r1.engine.sampling import MAX_SEED, SamplingParams


class TestDefaults:
    """DeepSeek's recommendations: temperature 0.6, top-p 0.95, up to 32,768 tokens."""

    def test_are_deepseeks(self) -> None:
        params = SamplingParams()
        assert (params.temperature, params.top_p, params.max_tokens) == (0.6, 0.95, 32_768)

    def test_the_seed_is_random(self) -> None:
        seeds = {SamplingParams().seed for _ in range(20)}
        assert len(seeds) > 10
        assert all(0 <= seed <= MAX_SEED for seed in seeds)
