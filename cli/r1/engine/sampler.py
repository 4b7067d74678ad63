"""Chooses the next token: temperature, top-p and a random draw, by llama.cpp's samplers and, for top-p, NumPy."""

from __future__ import annotations

import ctypes
from typing import Any, Self

from r1.engine.candidates import Candidates, Logits, logits_at
from r1.engine.context import Context
from r1.engine.grammar import TokenFilter
from r1.engine.llama import llama
from r1.engine.nucleus import likeliest, nucleus
from r1.engine.sampling import SamplingParams

_LARGE = 1 << 15  # tokens in a vocabulary from which NumPy is faster than llama.cpp
_MIN_TEMPERATURE = 1e-6  # below this dividing the logits could overflow, and the likeliest token always wins anyway


class Sampler:
    """A sampler chain: temperature, then top-p, then a random draw.

    The order is that of the tools DeepSeek evaluated R1 with; llama.cpp's default chain applies top-p before the
    temperature, which lets less likely tokens through at 0.6.

    With a large vocabulary, NumPy does what takes llama.cpp milliseconds (`r1.engine.nucleus`), except for the first
    token of a reply, which should not wait until NumPy is loaded. Alone and beside others a reply has the same tokens.
    """

    def __init__(self, params: SamplingParams) -> None:
        self._llama = llama()
        self._params = params
        self._is_greedy = params.temperature < _MIN_TEMPERATURE
        self._has_drawn = False
        chain_params = self._llama.llama_sampler_chain_default_params()
        self._chain = self._llama.llama_sampler_chain_init(chain_params)
        samplers = self._samplers()
        for sampler in samplers:
            self._llama.llama_sampler_chain_add(self._chain, sampler)
        self._draw = samplers[-1]

    def _samplers(self) -> list[object]:
        if self._is_greedy:
            return [self._llama.llama_sampler_init_greedy()]
        return [
            self._llama.llama_sampler_init_temp(self._params.temperature),
            self._llama.llama_sampler_init_top_p(self._params.top_p, 1),
            self._llama.llama_sampler_init_dist(self._params.seed),
        ]

    def sample(self, context: Context, place: int) -> int:
        """The token to follow the one at `place` in the batch that `context` decoded last."""
        if self._uses_numpy(context.model.vocabulary_size):
            return self._draw_by_numpy(logits_at(context, place))
        self._has_drawn = True
        return int(self._llama.llama_sampler_sample(self._chain, context.handle, place))

    def sample_from(self, logits: Logits, table: Candidates) -> int:
        """The token that `sample` would choose for these logits. Threads may do so at once, each with its own table."""
        if self._uses_numpy(len(logits)):
            return self._draw_by_numpy(logits)
        return self._draw_from(table.fill(logits))

    def sample_allowed(self, logits: Logits, table: Candidates, token_filter: TokenFilter) -> int | None:
        """A token among those that the filter allows; None if there are none."""
        candidates = token_filter.fill(table, logits)
        return None if candidates is None else self._draw_from(candidates)

    def _uses_numpy(self, vocabulary_size: int) -> bool:
        return self._has_drawn and vocabulary_size >= _LARGE and (self._is_greedy or self._params.top_p < 1)

    def _draw_by_numpy(self, logits: Logits) -> int:
        if self._is_greedy:
            return likeliest(logits)
        table = nucleus(logits, self._params.temperature, self._params.top_p)
        data = ctypes.cast(table.ctypes.data, self._llama.llama_token_data_p)
        candidates = self._llama.llama_token_data_array(data=data, size=len(table), selected=-1, sorted=True)
        self._llama.llama_sampler_apply(self._draw, ctypes.byref(candidates))
        return int(table["id"][candidates.selected])

    def _draw_from(self, candidates: Any) -> int:
        self._has_drawn = True
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
