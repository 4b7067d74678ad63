"""`r1.evaluate.vote_report`: a vote in words, and in the JSON object."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from r1.evaluate.vote import Vote, VoteOptions, VoteResult
from r1.evaluate.vote_report import closing_line, tally_wordings, vote_fields
from r1.evaluate.voting import Voting
from tests.fakes.replies import reply


def held(answers: list[str], options: VoteOptions) -> Vote:
    vote = Vote(options, 7, lambda answer: answer if len(answer.split()) == 1 else None, str.__eq__)
    for answer in answers:
        vote.add(vote.begin()[0], reply(answer))
    return vote


def result(answers: list[str], options: VoteOptions) -> VoteResult:
    return held(answers, options).result()


class TestTally:
    """The line while it goes on, in fewer and fewer words."""

    def test_the_first_has_all(self) -> None:
        vote = held(["42", "41", "42"], VoteOptions(16, confidence=1))
        voting = cast(Voting, SimpleNamespace(vote=vote, running=4, tokens=570, seconds=10.0))
        assert tally_wordings(voting) == [
            "3 of 16 · 42 ×2 · 41 ×1 · 4 running · 57 tok/s",
            "3 of 16 · 42 ×2 · 41 ×1 · 4 running",
            "3 of 16 · 42 ×2 · 41 ×1",
            "3 of 16 · 42 ×2",
            "3 of 16",
        ]

    def test_a_long_answer_is_shortened_to_one_line(self) -> None:
        vote = held(["x" * 90, "{\n1}".replace("\n", "")], VoteOptions(16, confidence=1))
        voting = cast(Voting, SimpleNamespace(vote=vote, running=0, tokens=0, seconds=0.0))
        assert tally_wordings(voting)[2] == f"2 of 16 · {'x' * 23}… ×1 · {{1}} ×1"


class TestClosingLine:
    """What the vote came to."""

    @pytest.mark.parametrize(
        ("answers", "options", "line"),
        [
            (["a", "a", "a", "a"], VoteOptions(16), "4 of 4 votes for a; 12 of 16 samples were not needed"),
            (["a", "b", "a"], VoteOptions(3), "2 of 3 votes for a, 1 for b"),
            (["a", "b", "c", "d", "e"], VoteOptions(5), "1 of 5 votes for a, 1 for b, 1 for c, 2 for others"),
            (["a"], VoteOptions(9, first=1), "1 of 1 vote for a"),
            (["a", "", ""], VoteOptions(3), "1 of 1 vote for a"),
            (["", ""], VoteOptions(2), "none of 2 samples has an answer to vote on"),
            (
                ["Once upon", "a time"],
                VoteOptions(8),
                "the answers have nothing short in them to vote on; this is the first one",
            ),
        ],
    )
    def test_each_kind(self, answers: list[str], options: VoteOptions, line: str) -> None:
        assert closing_line(result(answers, options), options) == line


def test_the_object_has_each_sample_in_order() -> None:
    fields = vote_fields(result(["a", "b", "a"], VoteOptions(3, confidence=1)))
    assert (fields["votes"], fields["agreement"], fields["stopped_early"]) == (
        [{"answer": "a", "count": 2}, {"answer": "b", "count": 1}],
        0.6667,
        False,
    )
    assert [sample["final"] for sample in fields["samples"]] == ["a", "b", "a"]
    assert fields["samples"][0] == {
        "seed": 7,
        "final": "a",
        "answer": "a",
        "thinking": "Hm.",
        "finish_reason": "stop",
        "thinking_end": None,
        "thinking_tokens": 10,
        "answer_tokens": 3,
    }
