"""Drafts from a smaller model with the same vocabulary, such as qwen-1.5b for qwen-32b."""

from __future__ import annotations

from collections.abc import Sequence as Row
from dataclasses import dataclass

from r1.engine.candidates import logits_at
from r1.engine.context import Context, Part
from r1.engine.draft import Prospect
from r1.engine.llama import llama
from r1.engine.model import Model
from r1.engine.sequence import Sequence, common_length
from r1_quantize.errors import UsageError

_HOPE = 0.7  # that a token is right, before any was checked
_SURE = 0.5  # the draft ends before a token that the draft model itself thinks less likely

MOST_PADDING = 128  # tokens by which the sizes may differ: each size of Qwen pads its vocabulary in its own way
_FIRST_COMPARED = 5  # some models name the control tokens before that differently; llama.cpp does not compare them


class DraftModel:
    """A context of the draft model, with a sequence for each one of the model that it drafts for."""

    def __init__(self, context: Context, cost: float, shared_tokens: int) -> None:
        """`cost` is how long one of its passes takes, in passes of the other model. The tokens that it drafts are among
        the first `shared_tokens` of its vocabulary: see `shared_tokens`.
        """
        self.context = context
        self._cost = cost
        self._shared_tokens = shared_tokens

    def drafter(self, number: int) -> ModelDrafter:
        """One that drafts with the sequence of this number, in which it finds what another one has left."""
        return ModelDrafter(self.context, self.context.sequences[number], self._cost, self._shared_tokens)


@dataclass(eq=False)
class ModelDrafter:
    """Takes the likeliest token of the draft model, one after the other.

    Behind a long prompt it catches up by one chunk for each pass of the other model, and drafts nothing until then.
    """

    context: Context
    sequence: Sequence
    cost: float
    shared_tokens: int
    spent: float = 0.0
    _tokens: Row[int] = ()
    _last: int = 0

    def look(self, tokens: list[int], last: int, most: int) -> Prospect | None:
        self._tokens, self._last = tokens, last
        held = common_length(self.sequence.tokens, tokens)
        self.sequence.truncate(held)
        room = min(self.context.length - len(tokens), self.context.free_cells - (len(tokens) - held))
        return Prospect("model", _HOPE, min(most, room)) if room > 0 else None

    def draft(self, length: int) -> list[int]:
        """Ends early before a token that is not likely enough. Raises Stopped, and R1Error when llama.cpp fails."""
        self.spent = 0.0
        lacking, chunk = self._tokens[len(self.sequence) :], self.context.chunk
        if len(lacking) >= chunk:
            self.context.decode([Part(self.sequence, lacking[:chunk], has_logits=False)])
            return []
        drafted: list[int] = []
        following = [*lacking, self._last]
        while len(drafted) < length:
            [place] = self.context.decode([Part(self.sequence, following)])
            self.spent += self.cost
            token = self._likeliest(place)
            if token is None:
                break
            drafted.append(token)
            following = [token]
        return drafted

    def _likeliest(self, place: int) -> int | None:
        """The likeliest token; None: it is not likely enough."""
        import numpy as np

        logits = np.asarray(logits_at(self.context, place))[: self.shared_tokens]
        token = int(logits.argmax())
        return token if np.exp(logits - logits[token]).sum() * _SURE <= 1 else None


def shared_tokens(model: Model, draft: Model) -> int | None:
    """How many tokens both have, from the first one on; None: not all of them stand for the same text, so that the one
    cannot draft for the other. Takes a tenth of a second.
    """
    sizes = model.vocabulary_size, draft.vocabulary_size
    get_text = llama().llama_vocab_get_text
    is_same = (
        max(sizes) - min(sizes) <= MOST_PADDING
        and model.control == draft.control
        and all(
            get_text(model.vocabulary, token) == get_text(draft.vocabulary, token)
            for token in range(_FIRST_COMPARED, min(sizes))
        )
    )
    return min(sizes) if is_same else None


def other_vocabulary(model: str, draft: str) -> UsageError:
    """The error for a draft model that cannot draft for this one."""
    return UsageError(
        f"{draft} cannot draft for {model}: they have different vocabularies; "
        "a Qwen drafts for a larger Qwen, a Llama for a larger Llama"
    )
