"""Holds an answer to a grammar, by llama.cpp's own grammar sampler.

A grammar sampler that looks at the whole vocabulary takes tens of milliseconds for 150,000 tokens. So the token that
was drawn is tested first, as llama.cpp's own tools do: mostly it fits. Otherwise the likeliest tokens are looked at,
and all of them only if none of those fits.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, Protocol, Self

from r1.engine.candidates import Candidates, Logits
from r1.engine.llama import llama
from r1.engine.model import Model
from r1_quantize.errors import UsageError

_LIKELIEST = 1024
"""Candidates that are looked at first. At R1's temperature all others together have next to no probability."""


class TokenFilter(Protocol):
    """Which tokens may come next."""

    def allows(self, token: int) -> bool:
        """Whether this token may come next."""

    def fill(self, table: Candidates, logits: Logits) -> Any | None:
        """The candidates that may come next, as a `llama_token_data_array`; None if there are none."""


class NoEnd:
    """Any token but those that end the turn."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def allows(self, token: int) -> bool:
        return not self._model.ends_turn(token)

    def fill(self, table: Candidates, logits: Logits) -> Any:
        candidates = table.fill(logits)
        for token in self._model.turn_endings:
            candidates.data[token].logit = -math.inf
        return candidates


class Constraint:
    """The grammar of one answer, and how far the answer has got in it. Close it when done."""

    def __init__(self, model: Model, gbnf: str) -> None:
        """`gbnf` is a grammar in llama.cpp's notation, with a rule `root`. Raises UsageError if it is not."""
        self._llama = llama()
        self._model = model
        self._likeliest = self._llama.llama_sampler_init_top_k(_LIKELIEST)
        self._grammar = self._llama.llama_sampler_init_grammar(model.vocabulary, gbnf.encode(), b"root")
        self._one = (self._llama.llama_token_data * 1)()
        if not self._grammar:
            self.close()
            raise UsageError("llama.cpp cannot read the grammar of the answer with this model's vocabulary")

    def allows(self, token: int) -> bool:
        if not self._is_text_or_end(token):
            return False
        self._one[0].id, self._one[0].logit = token, 0.0
        candidates = self._llama.llama_token_data_array(data=self._one, size=1, selected=-1, sorted=False)
        self._llama.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        return bool(self._one[0].logit == 0.0)

    def fill(self, table: Candidates, logits: Logits) -> Any | None:
        for is_quick in (True, False):
            candidates = table.fill(logits)
            if is_quick:
                self._llama.llama_sampler_apply(self._likeliest, ctypes.byref(candidates))
            self._llama.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
            if self._keep_allowed(candidates, table.logits[: candidates.size]):
                return candidates
        return None

    def accept(self, token: int) -> None:
        """Goes on by a token that `allows` allowed; llama.cpp would end the process at any other."""
        self._llama.llama_sampler_accept(self._grammar, token)

    def close(self) -> None:
        for sampler in (self._grammar, self._likeliest):
            if sampler:
                self._llama.llama_sampler_free(sampler)
        self._grammar = self._likeliest = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep_allowed(self, candidates: Any, logits: Logits) -> bool:
        """Moves the candidates that the grammar allows to the front, and drops the others. False if none is left."""
        data, kept = candidates.data, 0
        for index in [index for index, logit in enumerate(logits) if logit > -math.inf]:
            if self._is_text_or_end(data[index].id):
                data[kept] = data[index]
                kept += 1
        candidates.size = kept
        return kept > 0

    def _is_text_or_end(self, token: int) -> bool:
        """A control token has a text, too, but is none; llama.cpp's grammar would let it into a string."""
        return not self._model.is_control(token) or self._model.is_end(token)
