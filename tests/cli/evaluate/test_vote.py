"""`r1.evaluate.vote`: which samples are drawn, when the vote is over, and which answer is given."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest

from r1.engine.events import FinishReason
from r1.evaluate.tally import Sample, Tally, lead_confidence
from r1.evaluate.vote import Vote, VoteOptions, vote_options
from r1.settings import Settings
from tests.fakes.replies import reply


def vote_of(options: VoteOptions) -> Vote:
    """Answers of one letter have a vote."""
    return Vote(options, 7, lambda answer: answer if len(answer) == 1 else None, str.__eq__)


def held(answers: Sequence[str], options: VoteOptions, reason: FinishReason = "stop") -> Vote:
    """The vote after as many of the answers, one after the other, as it takes."""
    vote = vote_of(options)
    for answer in answers:
        if not vote.has_more:
            break
        vote.add(vote.begin()[0], reply(answer, reason=reason))
    return vote


class TestEnd:
    """It ends when all are finished, when the winner is certain, or likely enough, or after the first so many."""

    @pytest.mark.parametrize(
        ("answers", "options", "finished", "stopped_early"),
        [
            ("abab", VoteOptions(4, confidence=1), 4, False),
            ("aaab", VoteOptions(4, confidence=1), 3, True),
            ("aaaaaaaa", VoteOptions(64), 4, True),
            ("abaaaaaaa", VoteOptions(9), 6, True),  # at 5 to 1, with 3 left
            ("ab" + "a" * 60, VoteOptions(64), 7, True),  # at 6 to 1: P = 1 - 9/256
            ("abcdefgh", VoteOptions(8, first=3), 3, False),
            ("ab", VoteOptions(2, first=2, confidence=1), 2, False),
            ("aab", VoteOptions(8, first=3, confidence=1), 2, True),
            ("a", VoteOptions(1), 1, False),
        ],
    )
    def test_when(self, answers: str, options: VoteOptions, finished: int, stopped_early: bool) -> None:
        vote = held(answers, options)
        assert vote.is_over
        assert vote.finished == finished
        assert vote.result().stopped_early is stopped_early

    def test_samples_that_end_together_with_the_deciding_one_have_their_votes(self) -> None:
        """They were complete; which of them is looked at first is chance."""
        vote = vote_of(VoteOptions(8, confidence=1, first=1))
        numbers = [vote.begin()[0] for _ in range(4)]
        vote.add(numbers[1], reply("b"))
        assert vote.is_over
        vote.add(numbers[0], reply("a"))
        vote.add(numbers[3], reply("a"))
        vote.add(numbers[2], reply("a", reason="interrupted"))
        result = vote.result()
        assert [(candidate.answer, candidate.votes) for candidate in result.candidates] == [("a", 2), ("b", 1)]
        assert [sample.number for sample in result.samples] == [0, 1, 2, 3]
        assert [sample.final for sample in result.samples] == ["a", "b", None, "a"]

    def test_one_that_ends_together_with_the_deciding_one_can_make_it_uncertain_again(self) -> None:
        vote = held("aaaa", VoteOptions(64))
        assert vote.is_over
        vote.add(4, reply("b"))
        assert not vote.is_over

    @pytest.mark.parametrize("reason", ["loop", "length", "context"])
    def test_the_first_to_end_are_those_with_a_vote(self, reason: FinishReason) -> None:
        """One that went round in circles or was cut off did not finish its thought, and may be the first to end."""
        vote = vote_of(VoteOptions(6, first=2, confidence=1))
        for _ in range(4):
            vote.add(vote.begin()[0], reply("a", reason=reason))
        assert (vote.finished, vote.is_over) == (0, False)
        for answer in "ab":
            vote.add(vote.begin()[0], reply(answer))
        assert (vote.finished, vote.is_over) == (2, True)

    def test_it_ends_without_as_many_when_all_have_ended(self) -> None:
        vote = vote_of(VoteOptions(3, first=2, confidence=1))
        for reason in ("loop", "stop", "loop"):
            assert not vote.is_over
            vote.add(vote.begin()[0], reply("a", reason=reason))  # type: ignore[arg-type]
        assert (vote.finished, vote.is_over, vote.result().stopped_early) == (1, True, False)

    def test_one_that_was_ended_before_it_was_over_is_interrupted(self) -> None:
        vote = vote_of(VoteOptions(3))
        vote.add(vote.begin()[0], reply("a", reason="interrupted"))
        assert vote.result().is_interrupted
        assert not held("aaaa", VoteOptions(64)).result().is_interrupted

    @pytest.mark.parametrize("reason", ["length", "context", "loop"])
    def test_an_answer_that_is_cut_off_counts_as_finished_and_has_no_vote(self, reason: FinishReason) -> None:
        result = held("aaa", VoteOptions(3), reason).result()
        assert (result.candidates, result.agreement, result.votes) == ((), None, 0)
        assert not result.stopped_early
        assert result.shown is not None

    def test_agreement_is_among_those_that_voted(self) -> None:
        assert held(["a", "a", "b", ""], VoteOptions(4, confidence=1)).result().agreement == pytest.approx(2 / 3)
        assert held(["", ""], VoteOptions(2)).result().agreement is None

    def test_without_any_sample_there_is_nothing_to_show(self) -> None:
        assert vote_of(VoteOptions(3)).result().shown is None


class TestOptions:
    """The settings that say whether a vote is held."""

    def test_without_votes_the_others_do_nothing(self) -> None:
        """They may stand in the environment or in config.toml."""
        assert vote_options(Settings(first=4)) is None
        assert vote_options(Settings(votes=1, first=4)) is None

    def test_with_votes_they_count(self) -> None:
        assert vote_options(Settings(votes=8, first=4, confidence=0.9)) == VoteOptions(8, 4, 0.9)


class TestProse:
    """Two answers with nothing short in them: no vote is held, and the first one is given."""

    def test_it_ends_after_two(self) -> None:
        result = held(["Once upon a time", "There was", "a"], VoteOptions(16)).result()
        assert result.is_prose
        assert not result.stopped_early  # there is no winner to be certain of
        assert result.shown is not None
        assert result.shown.reply.answer == "Once upon a time"

    @pytest.mark.parametrize("answers", [["a", "Once"], ["Once", "a"]])
    def test_one_short_answer_is_enough_for_a_vote(self, answers: list[str]) -> None:
        vote = held(answers, VoteOptions(16))
        assert not vote.is_over
        assert not vote.result().is_prose

    def test_empty_answers_are_not_prose(self) -> None:
        assert not held(["", "", ""], VoteOptions(16)).is_over

    def test_the_first_seed_s_answer_is_given_whichever_ends_first(self) -> None:
        vote = vote_of(VoteOptions(4))
        for _ in range(4):
            vote.begin()
        vote.add(2, reply("Two."))
        vote.add(0, reply("Zero."))
        shown = vote.result().shown
        assert shown is not None
        assert (shown.number, shown.seed) == (0, 7)


@cache
def ended_with(count: int, other: int) -> str | None:
    """The winner with so many votes for two answers of at most 64; None if the vote goes on."""
    tally = Tally(str.__eq__)
    for number, answer in enumerate("a" * count + "b" * other):
        tally.add(Sample(number, 0, reply(answer), answer))
    return tally.candidates[0].answer if tally.is_decided(64 - count - other, 0.95) else None


def test_the_rule_keeps_its_promise() -> None:
    """10,000 questions with two answers in random shares: of the votes that the rule ended, the winner is the answer
    that the model gives more often in 95 %.
    """
    rng = random.Random(16)
    ended = wrong = 0
    for _ in range(10_000):
        share = rng.random()
        drawn: Counter[bool] = Counter()
        winner = None
        while winner is None:
            drawn[rng.random() < share] += 1
            winner = "" if drawn.total() == 64 else ended_with(drawn[True], drawn[False])
        counts = sorted(drawn.values(), reverse=True)
        if lead_confidence(counts[0], counts[1:]) >= 0.95:
            ended += 1
            wrong += (winner or max("ab", key=lambda answer: drawn[answer == "a"])) != ("a" if share > 0.5 else "b")
    assert ended > 8_000
    assert 0.02 < wrong / ended < 0.05
