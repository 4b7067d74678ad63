"""One batch: decodes it with as many threads as the pace says, and chooses the tokens that follow.

A sequence that generates may have a draft in the batch. Its tokens are then chosen one after the other, each from the
model's logits, as long as they are those of the draft.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Row
from time import perf_counter
from typing import Protocol

from r1.engine.candidates import Logits, kept, logits_at
from r1.engine.context import Context, Part
from r1.engine.draft import PassCosts
from r1.engine.events import Event
from r1.engine.generation import Generation
from r1.engine.kv_types import most_outputs
from r1.engine.sampling_pool import SamplingPool
from r1.machine.cores import Threads

Planned = tuple[Generation, Part]
"""What a batch decodes of a request."""


class Pace(Protocol):
    """Chooses the numbers of threads."""

    def threads(self) -> Threads:
        """For the next batch."""

    def measured(self, seconds: float, tokens: int, threads: int) -> None:
        """The time that the last batch took, with as many threads."""


class Decoding:
    """The batches of one context."""

    def __init__(self, context: Context, pace: Pace | None) -> None:
        """Without `pace`, the number of threads stays as it is."""
        self._context = context
        self._pace = pace
        self._pool = SamplingPool(context)
        self._costs = PassCosts()

    def decode(self, planned: Row[Planned]) -> list[tuple[Generation, Event]]:
        """Decodes a batch, with drafts where they pay, and lets each request take the tokens that follow.

        Raises Stopped, and R1Error when llama.cpp fails.
        """
        began = perf_counter()
        planned = self._with_drafts(planned)
        places = self._timed(planned)
        alone_s = perf_counter() - began if len(planned) == 1 else None
        events: list[tuple[Generation, Event]] = []
        checks = []
        for (generation, part), place in zip(planned, places, strict=True):
            is_prompt = generation.token is None
            if is_prompt:
                events.append((generation, generation.prefilled))
            elif part.has_logits:
                generation.passed(alone_s)
            if part.has_logits:
                if is_prompt and len(self._context.sequences) > 1:
                    generation.sequence.last_logits = len(generation.sequence), kept(logits_at(self._context, place))
                checks.append(_Check(generation, part, place))
        events += self._choose(checks)
        for check in checks:
            check.end()
        return events

    def choose_from(self, generation: Generation, logits: Logits) -> list[Event]:
        """Lets a request take the token that follows these logits, which were kept."""
        return generation.take(self._pool.sample_from(generation.draw(-1), logits))

    def follow_pace(self, running: Iterable[Generation]) -> None:
        """Sets the numbers of threads for the next batch of these requests."""
        if self._pace is not None:
            threads = self._pace.threads()
            held = (each.decoded_with for each in running if each.request.keeps_threads and each.decoded_with)
            self._context.set_threads(Threads(decode=next(held, threads.decode), prefill=threads.prefill))

    def close(self) -> None:
        self._pool.close()

    def _with_drafts(self, planned: Row[Planned]) -> Row[Planned]:
        """The same, with drafts unless a prompt is among them."""
        rows = sum(len(part.tokens) for _, part in planned)
        room = min(most_outputs(len(self._context.sequences)), self._context.free_cells) - rows
        if rows > len(planned) or room <= 0:
            return planned
        drafted = []
        for generation, part in planned:
            draft = generation.draft(room, self._costs, rows - 1) if part.has_logits else []
            rows, room = rows + len(draft), room - len(draft)
            drafted.append((generation, part._replace(draft=draft)))
        return drafted

    def _timed(self, planned: Row[Planned]) -> list[int]:
        """The places of the parts' last tokens in the batch that this decodes."""
        parts = [part for _, part in planned]
        tokens = sum(len(part.tokens) + len(part.draft) for part in parts)
        threads = self._set_threads(planned, tokens)
        began = perf_counter()
        places = self._context.decode(parts)
        seconds = perf_counter() - began
        if all(len(part.tokens) == 1 for part in parts):
            self._costs.measured(tokens, seconds)
        if self._pace is not None:
            self._pace.measured(seconds, tokens, threads)
        return places

    def _set_threads(self, planned: Row[Planned], tokens: int) -> int:
        """The number of threads for a batch of so many tokens."""
        self.follow_pace(generation for generation, _ in planned)
        number = self._context.threads.decode if tokens == 1 else self._context.threads.prefill
        for generation, part in planned:
            if not generation.to_prefill and not part.draft:  # several tokens have the same bits with any number
                generation.note_threads(number)
        return number

    def _choose(self, checks: list[_Check]) -> list[tuple[Generation, Event]]:
        """One token of each sequence, and more as long as its draft is right."""
        events = []
        going_on = checks
        while going_on:
            tokens = self._pool.sample([check.generation.draw(check.place) for check in going_on])
            for check, token in zip(going_on, tokens, strict=True):
                events += [(check.generation, event) for event in check.generation.take(token)]
            going_on = [check for check in going_on if check.is_right()]
        return events


class _Check:
    """Compares the draft of a part with the tokens that are chosen. `place` has the logits of the next one."""

    def __init__(self, generation: Generation, part: Part, place: int) -> None:
        self.generation = generation
        self.place = place
        self._part = part
        self._length = len(part.sequence)
        self._accepted = 0

    def is_right(self) -> bool:
        """Whether the token chosen last is the next one of the draft, so that the one after it can be chosen, too."""
        generation, sequence, draft = self.generation, self._part.sequence, self._part.draft
        has_gone_back = len(sequence) != self._length + self._accepted
        if self._accepted == len(draft) or generation.has_ended or has_gone_back:
            return False
        is_right = generation.token == draft[self._accepted]
        generation.checked(is_right=is_right)
        if is_right:
            sequence.extend([draft[self._accepted]])
            self._accepted += 1
            self.place += 1
        return is_right

    def end(self) -> None:
        """Takes the rest of the draft out of the cache."""
        if self._part.draft:
            self._part.sequence.forget_undecoded()
