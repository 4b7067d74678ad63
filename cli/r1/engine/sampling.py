"""Chooses the next token: DeepSeek's temperature and top-p, as a llama.cpp sampler chain."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from r1.engine.candidates import Candidates, Logits
    from r1.engine.context import Context
    from r1.engine.grammar import TokenFilter

MAX_SEED = 0xFFFF_FFFE  # 0xFFFFFFFF asks llama.cpp for a random seed
_MIN_TEMPERATURE = 1e-6  # below this dividing the logits could overflow, and the likeliest token always wins anyway


def random_seed() -> int:
    """A seed from the system's random numbers. The module `secrets` would load OpenSSL for it."""
    return int.from_bytes(os.urandom(8), "little") % (MAX_SEED + 1)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The defaults are DeepSeek's advice for R1. Temperature 0 always takes the likeliest token."""

    temperature: float = 0.6
    top_p: float = 0.95
    seed: int = field(default_factory=random_seed)
    max_tokens: int = 32_768


class Sampler:
    """A sampler chain: temperature, then top-p, then a random draw.

    The order is that of the tools DeepSeek evaluated R1 with; llama.cpp's default chain applies top-p before the
    temperature, which lets less likely tokens through at 0.6.
    """

    def __init__(self, params: SamplingParams) -> None:
        from r1.engine.llama import llama  # here, as ctypes below, because the settings need only MAX_SEED

        self._llama = llama()
        chain_params = self._llama.llama_sampler_chain_default_params()
        self._chain = self._llama.llama_sampler_chain_init(chain_params)
        for sampler in self._samplers(params):
            self._llama.llama_sampler_chain_add(self._chain, sampler)

    def _samplers(self, params: SamplingParams) -> list[object]:
        if params.temperature < _MIN_TEMPERATURE:
            return [self._llama.llama_sampler_init_greedy()]
        return [
            self._llama.llama_sampler_init_temp(params.temperature),
            self._llama.llama_sampler_init_top_p(params.top_p, 1),
            self._llama.llama_sampler_init_dist(params.seed),
        ]

    def sample(self, context: Context, place: int) -> int:
        """The token to follow the one at `place` in the batch that `context` decoded last."""
        return int(self._llama.llama_sampler_sample(self._chain, context.handle, place))

    def sample_from(self, logits: Logits, table: Candidates) -> int:
        """The token that `sample` would choose for these logits. Threads may do so at once, each with its own table."""
        return self._draw_from(table.fill(logits))

    def sample_allowed(self, logits: Logits, table: Candidates, token_filter: TokenFilter) -> int | None:
        """A token among those that the filter allows; None if there are none."""
        candidates = token_filter.fill(table, logits)
        return None if candidates is None else self._draw_from(candidates)

    def _draw_from(self, candidates: Any) -> int:
        import ctypes

        self._llama.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        token = int(candidates.data[candidates.selected].id)
        self._llama.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        if self._chain:
            self._llama.llama_sampler_free(self._chain)
            self._chain = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
