"""`r1.evaluate.vote_report`: a vote in words, and in the JSON object."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.cells import cell_len

from r1.engine.events import Prefill
from r1.evaluate.vote import Vote, VoteOptions, VoteResult
from r1.evaluate.vote_report import closing_line, literal_line, tally_wordings, vote_fields
from r1.evaluate.voting import Voting
from tests.fakes.replies import reply


def held(answers: list[str], options: VoteOptions) -> Vote:
    vote = Vote(options, 7, lambda answer: answer if len(answer.split()) == 1 else None, str.__eq__)
    for answer in answers:
        vote.add(vote.begin()[0], reply(answer))
    return vote


def result(answers: list[str], options: VoteOptions) -> VoteResult:
    return held(answers, options).result()


def under_way(vote: Vote, **values: Any) -> Voting:
    return cast(Voting, SimpleNamespace(vote=vote, **{"is_reading": False, "running": 0, "rate": 0.0, **values}))


class TestTally:
    """The line while it goes on, in fewer and fewer words."""

    def test_the_first_has_all(self) -> None:
        vote = held(["42", "41", "42"], VoteOptions(16, confidence=1))
        assert tally_wordings(under_way(vote, running=4, rate=57.0)) == [
            "3 of 16 · 42 ×2 · 41 ×1 · 4 running · 57 tok/s",
            "3 of 16 · 42 ×2 · 41 ×1 · 4 running",
            "3 of 16 · 42 ×2 · 41 ×1",
            "3 of 16 · 42 ×2",
            "3 of 16",
        ]

    def test_a_long_answer_is_shortened_to_one_line(self) -> None:
        vote = held(["x" * 90, "{\n1}".replace("\n", "")], VoteOptions(16, confidence=1))
        assert tally_wordings(under_way(vote))[2] == f"2 of 16 · {'x' * 23}… ×1 · {{1}} ×1"

    def test_answers_are_shortened_by_the_columns_they_take(self) -> None:
        """A Chinese character takes two."""
        vote = held(["答" * 12, "数" * 13], VoteOptions(16, confidence=1))
        first, second = tally_wordings(under_way(vote))[2].removeprefix("2 of 16 · ").split(" · ")
        assert first == f"{'答' * 12} ×1"
        assert second == f"{'数' * 11}… ×1"
        assert cell_len(second) <= cell_len(first)

    def test_before_the_first_token_it_says_how_much_of_the_prompt_is_read(self) -> None:
        vote = held([], VoteOptions(16))
        assert tally_wordings(under_way(vote, is_reading=True, prefill=Prefill(512, 2048))) == [
            "reading the prompt · 512 of 2,048 tokens",
            "reading the prompt",
        ]
        assert tally_wordings(under_way(vote, is_reading=True, prefill=None)) == ["reading the prompt"]

    def test_more_than_were_waited_for_count_as_many(self) -> None:
        vote = held(["a"], VoteOptions(9, first=1))
        vote.add(1, reply("b"))
        assert tally_wordings(under_way(vote))[-1] == "1 of 1"


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

    def test_one_that_ended_before_its_first_vote(self) -> None:
        options = VoteOptions(8)
        vote = held([], options)
        vote.add(vote.begin()[0], reply("a", reason="interrupted"))
        assert closing_line(vote.result(), options) == (
            "the vote was interrupted before a sample had an answer to vote on"
        )

    def test_one_that_ended_before_it_was_over_says_so(self) -> None:
        options = VoteOptions(8, confidence=1)
        vote = held(["42", "42"], options)
        vote.add(vote.begin()[0], reply("4", reason="interrupted"))
        assert closing_line(vote.result(), options) == "2 of 2 votes for 42; the vote was interrupted"

    def test_no_sample_was_unneeded_where_all_ended_together(self) -> None:
        options = VoteOptions(5, confidence=1)
        vote = held(["a", "a", "a"], options)
        for number in (3, 4):
            vote.add(number, reply("b"))
        assert closing_line(vote.result(), options) == "3 of 5 votes for a, 2 for b"


class TestLiteralLine:
    """Says why formulas were compared as texts, and what helps."""

    def test_with_math_verify(self) -> None:
        assert literal_line(1, has_math_verify=True) == (
            "1 pair of answers could only be compared as text, because math-verify found no result"
        )

    def test_without_it(self) -> None:
        assert literal_line(2, has_math_verify=False) == (
            '2 pairs of answers could only be compared as text, without math-verify; pip install "r1-local[math]"'
        )


def test_the_object_has_each_sample_in_order() -> None:
    fields = vote_fields(result(["a", "b", "a"], VoteOptions(3, confidence=1)), 2)
    assert (fields["votes"], fields["agreement"], fields["stopped_early"]) == (
        [{"answer": "a", "count": 2}, {"answer": "b", "count": 1}],
        0.6667,
        False,
    )
    assert (fields["prose"], fields["compared_literally"]) == (False, 2)
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


def test_the_object_of_prose_says_so_and_was_not_stopped_early() -> None:
    fields = vote_fields(result(["Once upon", "a time"], VoteOptions(8)), 0)
    assert (fields["prose"], fields["stopped_early"], fields["votes"]) == (True, False, [])
