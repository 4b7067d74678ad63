"""Whether a chat shows the thinking, and the last turn whose thinking the user has not seen."""

from __future__ import annotations

from r1.chat.notices import Notices
from r1.chat.view import View
from r1.history.history import StoredTurn
from r1.render.reply import ReplyView
from r1.render.trace import render_trace


class ThinkingDisplay:
    """`is_shown` changes with Ctrl-T and /think."""

    def __init__(self, view: View, notices: Notices, *, is_shown: bool) -> None:
        self.is_shown = is_shown
        self._view = view
        self._notices = notices
        self._unseen: StoredTurn | None = None

    def show(self, is_shown: bool, reply: ReplyView | None) -> None:
        """Shows or hides the thinking of the running reply; between replies, shows the last trace if it was hidden."""
        self.is_shown = is_shown
        if reply is not None:
            reply.shows_thinking = is_shown
        elif is_shown and self._unseen is not None:
            self.print(self._unseen)

    def print(self, turn: StoredTurn) -> None:
        """Prints the thinking of a turn."""
        self._view.print(render_trace(turn.thinking, self._view.style))
        self._notices.say(f"thinking of turn {turn.number}")
        self._unseen = None

    def turn_ended(self, turn: StoredTurn, *, was_shown: bool) -> None:
        """`turn` is the last one now; `was_shown`: its thinking is on the screen."""
        self._unseen = turn if turn.thinking and not was_shown else None

    def forget(self) -> None:
        """The last turn was removed, or the chat was replaced."""
        self._unseen = None
