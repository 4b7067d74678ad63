"""`r1.evaluate.polling`: what a vote comes to, in words and as keys of a JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from r1.engine.events import Answer, Event, Finished, FinishReason, Timings, Usage
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.evaluate.polling import Polling, Voted
from r1.evaluate.symbolic import Verifier
from r1.evaluate.vote import VoteOptions
from r1.forms.form import Form, FormOptions

SUM, ALIKE = r"\boxed{x+1}", r"\boxed{1+x}"


@dataclass
class Readings:
    """An engine that gives the next of its answers to each request, in one step."""

    answers: Iterator[str]
    reason: FinishReason = "stop"
    sequences: int = 2
    context_length: int = 100
    _running: list[Request] = field(default_factory=list)

    def has_room_for(self, request: Request) -> bool:
        return True

    def submit(self, request: Request) -> float:
        self._running.append(request)
        return 0.25

    def step(self) -> list[tuple[Request, Event]]:
        happened: list[tuple[Request, Event]] = []
        for request in self._running:
            reason = "interrupted" if request.is_cancelled else self.reason
            finished = Finished(reason, Usage(90, 5, 5), Timings(0.0, 0.0, 20.0, 0.0), threads=1)
            happened += [(request, Answer(next(self.answers), 5)), (request, finished)]
        self._running.clear()
        return happened


def request(seed: int, _: object) -> Request:
    return Request([], SamplingParams(seed=seed))


def polled(
    *answers: str, reason: FinishReason = "stop", form: Form | None = None, is_interrupted: bool = False
) -> Voted:
    """What a vote of all the answers comes to."""
    with Polling(Readings(iter(answers), reason), lambda: is_interrupted) as polling:
        voting = polling.voting(VoteOptions(len(answers), confidence=1), 7, form, request)
        voting.run(lambda: is_interrupted)
        return polling.voted(voting)


@pytest.fixture
def without_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verifier, "if_installed", classmethod(lambda _: None))


class TestKinds:
    """A winner, prose, or nothing."""

    def test_a_winner(self) -> None:
        voted = polled(r"\boxed{42}", r"\boxed{41}", r"\boxed{42.0}", "Hm.")
        assert (voted.reply.answer, voted.reply.finished.reason) == (r"\boxed{42}", "stop")
        assert (voted.problem, voted.warnings) == (None, ())
        assert voted.remarks == ("2 of 3 votes for 42, 1 for 41",)
        assert (voted.seed, voted.load_s) == (7, 1.0)
        assert voted.fields["votes"] == [{"answer": "42", "count": 2}, {"answer": "41", "count": 1}]
        assert [sample["final"] for sample in voted.fields["samples"]] == ["42", "41", "42.0", None]

    def test_prose_is_no_problem_but_scripts_hear_of_it(self) -> None:
        voted = polled("Once upon a time.", "There was a king.", "And a queen.")
        assert (voted.problem, voted.remarks) == (None, ())
        assert voted.warnings == ("the answers have nothing short in them to vote on; this is the first one",)
        assert (voted.fields["prose"], voted.fields["stopped_early"]) == (True, False)
        assert voted.reply.answer == "Once upon a time."

    def test_no_winner_is_a_problem(self) -> None:
        voted = polled(r"\boxed{42}", r"\boxed{42}", reason="loop")
        assert (voted.remarks, voted.warnings) == ((), ())
        assert voted.problem == "none of 2 samples has an answer to vote on"
        assert voted.reply.finished.reason == "loop"

    def test_an_interrupted_vote_has_the_winner_so_far(self) -> None:
        voted = polled(*[r"\boxed{42}"] * 4, is_interrupted=True)
        assert voted.reply.finished.reason == "interrupted"
        assert voted.remarks == ("2 of 2 votes for 42; the vote was interrupted",)


@pytest.mark.usefixtures("without_math_verify")
class TestLiterally:
    """What would have needed math-verify is said, and each pair counts once."""

    def test_each_pair_once(self) -> None:
        voted = polled(SUM, ALIKE, SUM, ALIKE)
        assert voted.fields["compared_literally"] == 1
        assert [vote["count"] for vote in voted.fields["votes"]] == [2, 2]
        assert voted.warnings == (
            '1 pair of answers could only be compared as text, without math-verify; pip install "r1-local[math]"',
        )

    def test_only_those_of_the_same_vote(self) -> None:
        with Polling(Readings(iter([SUM, ALIKE, "42", "42"]))) as polling:
            for expected in (1, 0):
                voting = polling.voting(VoteOptions(2, confidence=1), 7, None, request)
                voting.run(lambda: False)
                assert polling.voted(voting).fields["compared_literally"] == expected

    def test_not_what_an_interrupt_ended(self) -> None:
        voted = polled(SUM, ALIKE, is_interrupted=True)
        assert (voted.fields["compared_literally"], voted.warnings) == (0, ())

    def test_answers_of_a_form_are_not_read_as_formulas(self) -> None:
        form = FormOptions(choices=f"{SUM},{ALIKE}").compile()
        voted = polled(SUM, ALIKE, SUM, form=form)
        assert [vote["answer"] for vote in voted.fields["votes"]] == [SUM, ALIKE]
        assert voted.fields["compared_literally"] == 0


def test_what_math_verify_cannot_read_is_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing helps against it, and most often a sample that went wrong is the reason."""

    class Unread(Verifier):
        def verify(self, *_: object) -> None:
            return None

    monkeypatch.setattr(Verifier, "if_installed", classmethod(lambda _: Unread()))
    voted = polled(SUM, ALIKE, SUM)
    assert voted.remarks == (
        "2 of 3 votes for x+1, 1 for 1+x",
        "1 pair of answers could only be compared as text, because math-verify found no result",
    )
    assert voted.warnings == ()


def test_math_verify_has_a_bounded_time_in_each_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Verifier):
        def verify(self, *_: object) -> bool:
            self.spent_s += 4.0
            return False

    monkeypatch.setattr(Verifier, "if_installed", classmethod(lambda _: Slow()))
    answers = [rf"\boxed{{{factor}x+1}}" for factor in range(2, 8)]
    with Polling(Readings(iter(answers))) as polling:
        for _ in range(2):
            voting = polling.voting(VoteOptions(3, confidence=1), 7, None, request)
            voting.run(lambda: False)
            assert polling.voted(voting).fields["compared_literally"] == 1  # of three pairs


def test_without_a_seed_each_vote_has_one_of_its_own() -> None:
    with Polling(Readings(iter(["42"] * 4))) as polling:
        seeds = {polling.voting(VoteOptions(2), None, None, request).vote.seed for _ in range(3)}
    assert len(seeds) == 3
