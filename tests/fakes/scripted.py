"""A sampler that draws the tokens of a script and ignores the logits."""

from __future__ import annotations

from typing import Any

from r1.engine.candidates import Candidates, Logits
from r1.engine.context import Context
from r1.engine.grammar import TokenFilter
from r1.engine.model import Model

END = "<end>"
END_THINK = "</think>"


def tokens_of(model: Model, script: str) -> list[int]:
    """The ids of a text, in which `</think>` and `<end>` stand for the tokens."""
    ids: list[int] = []
    for number, part in enumerate(script.split(END_THINK)):
        ids += [model.control.end_think] if number else []
        for index, text in enumerate(part.split(END)):
            ids += [model.control.eos] if index else []
            ids += model.tokenize(text) if text else []
    return ids


class ScriptedSampler:
    """Draws the script's tokens in turn, and ends the turn after the last one. `drawn` counts them.

    Where the next token is not allowed, it draws the likeliest one that is, and the script waits.
    """

    def __init__(self, model: Model, script: str) -> None:
        self._script = tokens_of(model, script)
        self._eos = model.control.eos
        self.drawn = 0
        self.is_closed = False

    def __call__(self, *_: Any) -> ScriptedSampler:
        """Stands in for the class `Sampler`."""
        return self

    def sample(self, context: Context, place: int) -> int:
        return self._next()

    def sample_from(self, logits: Logits, table: Candidates) -> int:
        return self._next()

    def sample_allowed(self, logits: Logits, table: Candidates, token_filter: TokenFilter) -> int | None:
        self.drawn -= 1
        candidates = token_filter.fill(table, logits)
        if candidates is None:
            return None
        rows = [candidates.data[index] for index in range(candidates.size)]
        return int(max(rows, key=lambda row: row.logit).id)

    def close(self) -> None:
        self.is_closed = True

    def _next(self) -> int:
        token = self._script[self.drawn] if self.drawn < len(self._script) else self._eos
        self.drawn += 1
        return token
