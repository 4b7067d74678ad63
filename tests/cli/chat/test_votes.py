"""`r1.chat.votes`: what /votes accepts and shows, and how a turn follows its vote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r1.chat.recorder import RunningTurn
from r1.chat.vote_job import Tallied, VoteOver
from r1.chat.votes import follow_vote, is_voting, require_different_votes, votes, with_votes
from r1.render.reply import ReplyView
from r1.render.style import Style
from r1.settings import Settings
from r1_quantize.errors import UsageError
from tests.fakes.chats import asked

OFF = "no votes: each message gets one reply"


class TestSetting:
    """A number of replies, or off."""

    @pytest.mark.parametrize(
        ("word", "count", "shown"),
        [
            ("8", 8, "votes: up to 8 replies to a message, and the answer that comes most often"),
            ("1024", 1024, "votes: up to 1024 replies to a message, and the answer that comes most often"),
            ("1", None, OFF),
            ("off", None, OFF),
            ("OFF", None, OFF),
        ],
    )
    def test_each_word(self, word: str, count: int | None, shown: str) -> None:
        for before in (Settings(), Settings(votes=16)):
            settings = with_votes(before, word)
            assert is_voting(settings) == (count is not None)
            assert count is None or settings.votes == count
            assert votes(settings) == shown

    @pytest.mark.parametrize("word", ["many", "1.5", "8 16", "²", "on"])
    def test_another_word_is_refused(self, word: str) -> None:
        with pytest.raises(UsageError, match="usage: /votes K, for example /votes 8; or /votes off"):
            with_votes(Settings(), word)

    @pytest.mark.parametrize("word", ["0", "-1", "1025"])
    def test_a_number_out_of_range_is_refused(self, word: str) -> None:
        with pytest.raises(UsageError, match=f"votes: '{word}' is not a whole number from 1 to 1024"):
            with_votes(Settings(), word)

    def test_the_first_replies_that_end_decide_where_there_are_as_many(self) -> None:
        before = Settings(votes=16, first=5)
        assert votes(before).endswith("comes most often, of the first 5 that end")
        assert with_votes(before, "8").first == 5
        assert with_votes(before, "4").first is None

    def test_temperature_0_is_refused_in_either_order(self) -> None:
        with pytest.raises(UsageError, match=r"all votes are the same; raise it first, for example /set temp 0\.6"):
            with_votes(Settings(temp=0), "4")
        with pytest.raises(UsageError, match="all votes are the same; use /votes off first"):
            require_different_votes(Settings(temp=0, votes=4))
        for possible in (Settings(temp=0), Settings(temp=0, votes=1), Settings(votes=4)):
            require_different_votes(possible)
        assert not is_voting(with_votes(Settings(temp=0, votes=4), "off"))


class TestFollow:
    """The reply shows the tally, and the turn keeps what the vote came to."""

    def test_a_vote_to_its_end(self) -> None:
        reply = ReplyView(Style(80, colour=False), shows_thinking=False)
        turn = RunningTurn(1, asked(), reply.text)
        follow_vote(Tallied(("1 of 4 · 42 ×1", "1 of 4")), turn, reply)
        assert reply.frame(9).activity.startswith("1 of 4 · 42 ×1 · ")
        over = VoteOver(0.5, 2.0, ("3 of 4 votes for 42",), ("1 pair",), None)
        follow_vote(over, turn, reply)
        assert (turn.load_s, turn.remarks, turn.problem) == (0.5, ("3 of 4 votes for 42", "1 pair"), None)
        assert reply.thinking_s == 2.0
        follow_vote(replace(over, is_stopped=True), turn, reply)
        assert turn.remarks == ("stopped by you: 3 of 4 votes for 42", "1 pair")
        follow_vote(replace(over, is_stopped=True, remarks=(), warnings=(), problem="none"), turn, reply)
        assert (turn.remarks, turn.problem) == ((), "none")
        follow_vote(over, None, None)  # the chat was ended meanwhile
