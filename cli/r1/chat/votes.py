"""Votes in the chat: what /votes accepts and shows, and how the running turn follows a vote."""

from __future__ import annotations

from dataclasses import replace

from r1.chat.recorder import RunningTurn
from r1.chat.vote_job import Tallied, VoteOver
from r1.render.reply import ReplyView
from r1.settings import Settings, changed
from r1_quantize.errors import UsageError


def with_votes(settings: Settings, word: str) -> Settings:
    """The settings after /votes: a number, or off. A number of replies to wait for that is larger no longer counts.

    Raises UsageError for another word, and at temperature 0.
    """
    number = word.lower()
    if number != "off" and not number.lstrip("-").isdecimal():
        raise UsageError("usage: /votes K, for example /votes 8; or /votes off")
    new = changed(settings, "votes", None if number == "off" else number)
    if new.first is not None and new.first > (new.votes or 1):
        new = replace(new, first=None)
    if is_voting(new) and new.temp == 0:
        raise UsageError("at temperature 0 all votes are the same; raise it first, for example /set temp 0.6")
    return new


def require_different_votes(settings: Settings) -> None:
    """Raises UsageError where the replies that vote would all be the same."""
    if is_voting(settings) and settings.temp == 0:
        raise UsageError("at temperature 0 all votes are the same; use /votes off first")


def is_voting(settings: Settings) -> bool:
    """Whether the next message is answered by a vote."""
    return (settings.votes or 1) > 1


def votes(settings: Settings) -> str:
    """The votes, as /votes shows them."""
    if not is_voting(settings):
        return "no votes: each message gets one reply"
    first = "" if settings.first is None else f", of the first {settings.first} that end"
    return f"votes: up to {settings.votes} replies to a message, and the answer that comes most often{first}"


def follow_vote(event: Tallied | VoteOver, turn: RunningTurn | None, reply: ReplyView | None) -> None:
    """Shows how a vote stands; at its end, notes for the turn what it came to."""
    if turn is None or reply is None:
        return
    if isinstance(event, Tallied):
        reply.show_tally(event.wordings)
        return
    came_to = event.remarks
    if event.is_stopped and came_to:
        came_to = (f"stopped by you: {came_to[0]}", *came_to[1:])
    turn.load_s, turn.remarks, turn.problem = event.load_s, (*came_to, *event.warnings), event.problem
    reply.show_winner(event.thinking_s)
