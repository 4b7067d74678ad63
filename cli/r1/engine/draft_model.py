"""Drafts from a smaller model with the same vocabulary, such as qwen-1.5b for qwen-32b."""

from __future__ import annotations

from time import perf_counter

from r1.engine.candidates import logits_at
from r1.engine.context import Context, Part
from r1.engine.draft import Prospect
from r1.engine.llama import llama
from r1.engine.model import Model
from r1.engine.sequence import Sequence, common_length
from r1_quantize.errors import R1Error, UsageError

_HOPE = 0.7  # that a token is right, before any was checked
_PREFILL = 0.1  # passes that a token of a prefill takes: measured on two cores, roughly
_ANY = 0  # token
_SURE = 0.5  # the draft ends before a token that the draft model itself thinks less likely

MOST_PADDING = 128  # tokens by which the sizes may differ: each size of Qwen pads its vocabulary in its own way
_FIRST_COMPARED = 5  # some models name the control tokens before that differently; llama.cpp does not compare them


class DraftModel:
    """A context of the draft model, with as many sequences as the one of the model that it drafts for."""

    def __init__(self, context: Context, cost: float, shared_tokens: int) -> None:
        """`cost` is how long one of its passes takes, in passes of the other model. The tokens that it drafts are among
        the first `shared_tokens` of its vocabulary: see `shared_tokens`.
        """
        self.context = context
        self.cost = cost
        self.shared_tokens = shared_tokens
        self._idle = list(context.sequences)  # the least recently used first

    def drafter(self, *, is_repeatable: bool) -> ModelDrafter:
        """One for one reply. With `is_repeatable`, its drafts do not depend on what was drafted for others before."""
        return ModelDrafter(self, is_repeatable=is_repeatable)

    def claim(self, tokens: list[int]) -> Sequence:
        """The idle sequence that holds most of these tokens."""
        chosen = max(self._idle, key=lambda sequence: common_length(sequence.tokens, tokens))
        self._idle.remove(chosen)
        return chosen

    def give_back(self, sequence: Sequence) -> None:
        self._idle.append(sequence)

    @property
    def available_cells(self) -> int:
        """Cells that are free, or that idle sequences hold."""
        return self.context.free_cells + sum(map(len, self._idle))

    def make_room(self, cells: int) -> None:
        """Frees so many cells, as far as idle sequences hold them."""
        for sequence in self._idle:
            if self.context.free_cells >= cells:
                return
            sequence.truncate(0)


class ModelDrafter:
    """Takes the likeliest token of the draft model, one after the other.

    The draft model has to read the prompt, too, some of it with each pass of the other model; until then there are no
    drafts.
    """

    def __init__(self, model: DraftModel, *, is_repeatable: bool) -> None:
        self.cost = model.cost
        self.spent = 0.0
        self._model = model
        self._context = model.context
        self._is_repeatable = is_repeatable
        self._sequence: Sequence | None = None
        self._is_broken = False
        self._tokens: list[int] = []
        self._last = 0

    def look(self, tokens: list[int], last: int, most: int) -> Prospect | None:
        self._tokens, self._last = tokens, last
        if self._is_broken:
            return None
        sequence = self._claimed()
        held = common_length(sequence.tokens, tokens)
        sequence.truncate(held)
        behind = len(tokens) - held
        room = min(self._context.length - len(tokens), self._model.available_cells - behind)
        reading = behind * _PREFILL * self.cost if behind >= self._context.rows.several else 0.0
        return Prospect("model", _HOPE, min(most, room), reading) if room > 0 else None

    def draft(self, length: int) -> list[int]:
        """Ends early before a token that is not likely enough. Raises Stopped."""
        self.spent = 0.0
        sequence = self._claimed()
        self._model.make_room(len(self._tokens) - len(sequence) + length)
        try:
            return self._draft(sequence, length)
        except R1Error:  # a guess must not cost a reply
            self._is_broken = True
            return []

    def trial_s(self) -> float:
        """Of two passes the second: the first one reads weights that are not in memory yet. Raises Stopped."""
        if self._is_broken:
            return 0.0
        try:
            sequence = self._claimed()
            sequence.truncate(0)
            self._model.make_room(2)
            for _ in range(2):
                began = perf_counter()
                self._context.decode([Part(sequence, [_ANY])])
            sequence.truncate(0)
        except R1Error:
            self._is_broken = True
            return 0.0
        return perf_counter() - began

    def release(self) -> None:
        if self._sequence is not None:
            self._model.give_back(self._sequence)
            self._sequence = None

    def _claimed(self) -> Sequence:
        if self._sequence is None:
            self._sequence = self._model.claim(self._tokens)
            if self._is_repeatable:
                self._sequence.truncate(0)
        return self._sequence

    def _draft(self, sequence: Sequence, length: int) -> list[int]:
        lacking, rows = self._tokens[len(sequence) :], self._context.rows.several
        if len(lacking) >= rows:
            self._context.decode([Part(sequence, lacking[:rows], has_logits=False)])
            return []
        drafted: list[int] = []
        following = [*lacking, self._last]
        while len(drafted) < length:
            [place] = self._context.decode([Part(sequence, following)])
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

        logits = np.asarray(logits_at(self._context, place))[: self._model.shared_tokens]
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
        "choose a smaller model of the same family with --draft, or go without one (--speculate lookup)"
    )
