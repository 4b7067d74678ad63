"""How the next token is chosen: DeepSeek's temperature and top-p, as a llama.cpp sampler chain.

Knows: samplers. Does not know: what the tokens mean.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from r1.engine.llama import llama

if TYPE_CHECKING:
    from r1.engine.context import Context

_NO_TEMPERATURE = 1e-6  # logits divided by less overflow; long before, the likeliest token always wins
MAX_SEED = 0xFFFF_FFFE  # 0xFFFFFFFF is llama.cpp's way of asking for a random seed


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """DeepSeek's advice for R1 is the default. Temperature 0 always takes the likeliest token."""

    temperature: float = 0.6
    top_p: float = 0.95
    seed: int = field(default_factory=lambda: secrets.randbelow(MAX_SEED + 1))
    max_tokens: int = 32_768


class Sampler:
    """A sampler chain: temperature, then nucleus, then one draw.

    The order is that of the tools DeepSeek measured R1 with (temperature first); llama.cpp's own chain
    cuts the nucleus before the temperature, which lets unlikelier tokens through at 0.6.
    """

    def __init__(self, params: SamplingParams) -> None:
        self._llama = llama()
        chain_params = self._llama.llama_sampler_chain_default_params()
        self._chain = self._llama.llama_sampler_chain_init(chain_params)
        for sampler in self._samplers(params):
            self._llama.llama_sampler_chain_add(self._chain, sampler)

    def _samplers(self, params: SamplingParams) -> list[object]:
        if params.temperature < _NO_TEMPERATURE:
            return [self._llama.llama_sampler_init_greedy()]
        return [
            self._llama.llama_sampler_init_temp(params.temperature),
            self._llama.llama_sampler_init_top_p(params.top_p, 1),
            self._llama.llama_sampler_init_dist(params.seed),
        ]

    def sample(self, context: Context) -> int:
        """The token that follows what `context` has decoded last."""
        return int(self._llama.llama_sampler_sample(self._chain, context.handle, -1))

    def close(self) -> None:
        if self._chain:
            self._llama.llama_sampler_free(self._chain)
            self._chain = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
