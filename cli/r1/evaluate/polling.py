"""The votes of one command: what they come to, in words and as the keys of a JSON object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from r1.engine.sampling import SamplingParams
from r1.evaluate.equivalence import Equivalence
from r1.evaluate.final_answer import final_answer
from r1.evaluate.symbolic import Verifier
from r1.evaluate.vote import Vote, VoteOptions
from r1.evaluate.vote_report import closing_line, literal_line, vote_fields
from r1.evaluate.voting import Engine, MakeRequest, Voting
from r1.render.reply_text import Reply

if TYPE_CHECKING:
    from r1.forms.form import Form


@dataclass(frozen=True, slots=True)
class Voted:
    """The reply that a vote came to, and its seed. Its timings and drafts are those of the whole vote; a vote that was
    interrupted makes it an interrupted reply.

    `fields` are further keys of its JSON object. `problem` says why there is no winner; None if there is one, or if the
    answers are prose. `remarks` are for people, `warnings` for scripts, too.
    """

    reply: Reply
    seed: int
    load_s: float
    fields: dict[str, Any]
    problem: str | None
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]


class Polling:
    """Holds votes, one after the other; all share the process that compares formulas. Close it when done."""

    def __init__(self, engine: Engine, interrupted: Callable[[], bool] = lambda: False) -> None:
        """While `interrupted` says yes, no comparison of formulas is waited for."""
        self._engine = engine
        self._interrupted = interrupted
        verifier = Verifier.if_installed()
        self._has_math_verify = verifier is not None
        self._equivalence = Equivalence(verifier, interrupted)
        self._literal: set[frozenset[str]] = set()  # pairs of the present vote

    def voting(
        self,
        options: VoteOptions,
        seed: int | None,
        form: Form | None,
        request: MakeRequest,
        times_hurried: Callable[[], int] = lambda: 0,
    ) -> Voting:
        """A vote to `run`; `seed` None: a random one. `times_hurried` is as in `Voting`."""
        self._literal.clear()
        self._equivalence.begin()
        seed = SamplingParams().seed if seed is None else seed
        vote = Vote(options, seed, lambda answer: final_answer(answer, form), self._same(form))
        return Voting(self._engine, vote, request, times_hurried)

    def voted(self, voting: Voting) -> Voted:
        """What the last vote came to, once it has been run."""
        result = voting.vote.result()
        shown = result.shown
        assert shown is not None, "a sample is drawn before the vote ends"
        reason = "interrupted" if result.is_interrupted else shown.reply.finished.reason
        finished = replace(shown.reply.finished, reason=reason, timings=voting.timings, drafted=voting.drafted)
        line = closing_line(result, voting.vote.options)
        remarks, warnings = self._literally()
        return Voted(
            reply=replace(shown.reply, finished=finished),
            seed=shown.seed,
            load_s=voting.load_s,
            fields=vote_fields(result, len(self._literal)),
            problem=None if result.candidates or result.is_prose else line,
            remarks=(line, *remarks) if result.candidates else remarks,
            warnings=(line, *warnings) if result.is_prose else warnings,
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
        return self._say_the_same

    def _literally(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What is said of literal comparisons: a remark, or without math-verify, which may have counted otherwise, a
        warning.
        """
        if not self._literal:
            return (), ()
        line = literal_line(len(self._literal), has_math_verify=self._has_math_verify)
        return ((line,), ()) if self._has_math_verify else ((), (line,))

    def _say_the_same(self, one: str, other: str) -> bool:
        same = self._equivalence.same(one, other)
        if same.how == "literal" and not self._interrupted():
            self._literal.add(frozenset((one, other)))
        return same.value
