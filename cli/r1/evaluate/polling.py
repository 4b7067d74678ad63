"""The votes of one command: what they come to, in words and as the keys of a JSON object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.evaluate.equivalence import Equivalence
from r1.evaluate.final_answer import final_answer
from r1.evaluate.symbolic import Verifier
from r1.evaluate.vote import Vote, VoteOptions
from r1.evaluate.vote_report import closing_line, vote_fields
from r1.evaluate.voting import Engine, Voting
from r1.render.reply_text import Reply
from r1_quantize import units

if TYPE_CHECKING:
    from r1.forms.form import Form


@dataclass(frozen=True, slots=True)
class Voted:
    """The reply that a vote came to, and its seed. Its timings are those of the whole vote; a vote that was interrupted
    makes it an interrupted reply.

    `fields` are further keys of its JSON object. `problem` says why there is no winner; None if there is one, or if the
    answers are prose. `remarks` are for people.
    """

    reply: Reply
    seed: int
    load_s: float
    fields: dict[str, Any]
    problem: str | None
    remarks: tuple[str, ...]


class Polling:
    """Holds votes, one after the other; all share the process that compares formulas. Close it when done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._equivalence = Equivalence(Verifier.if_installed())

    def voting(
        self, options: VoteOptions, seed: int | None, form: Form | None, request: Callable[[int], Request]
    ) -> Voting:
        """A vote to `run`. `request` makes the request of a sample with a seed; `seed` None: a random one."""
        seed = SamplingParams().seed if seed is None else seed
        vote = Vote(options, seed, lambda answer: final_answer(answer, form), self._same(form))
        return Voting(self._engine, vote, request)

    def voted(self, voting: Voting) -> Voted:
        """What a vote came to that was run."""
        result = voting.vote.result()
        shown = result.shown
        assert shown is not None, "a sample is drawn before the vote ends"
        finished = shown.reply.finished
        line = closing_line(result, voting.vote.options)
        has_no_winner = not result.candidates and not result.is_prose
        rate = voting.tokens / voting.seconds if voting.seconds else 0.0
        timings = replace(finished.timings, total_s=voting.seconds, decode_tps=rate)
        reason = finished.reason if voting.vote.is_over else "interrupted"
        return Voted(
            reply=replace(shown.reply, finished=replace(finished, reason=reason, timings=timings)),
            seed=shown.seed,
            load_s=voting.load_s,
            fields=vote_fields(result),
            problem=line if has_no_winner else None,
            remarks=() if has_no_winner else (line, *self._literally()),
        )

    def close(self) -> None:
        self._equivalence.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _same(self, form: Form | None) -> Callable[[str, str], bool]:
        """Answers of a form say the same if they are the same; others may say it in different ways."""
        if form is not None:
            return str.__eq__
        return lambda one, other: self._equivalence.same(one, other).value

    def _literally(self) -> tuple[str, ...]:
        pairs = self._equivalence.literally
        return (f"{units.count(pairs, 'pair')} of answers could only be compared as text",) if pairs else ()
