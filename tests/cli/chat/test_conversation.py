"""`r1.chat.conversation`: the turns of a chat that is opened again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from r1.engine.events import FinishReason, ThinkingEnd
from r1.history.history import History
from tests.cli.chat.conftest import OpenTalk
from tests.fakes.chats import asked, finished, say


def reopened(open_talk: OpenTalk, session: int) -> str:
    """What is printed when a chat is opened."""
    return open_talk().say(f"/load {session}")


class TestTurns:
    """Each is shown as it was when it was answered."""

    @pytest.mark.parametrize(
        ("end", "line"),
        [
            ("natural", "thought for 1.5 s · 22 tokens\n"),
            (None, "thought for 1.5 s · 22 tokens\n"),
            ("eos", "thought for 1.5 s · 22 tokens · the model was made to answer\n"),
        ],
    )
    def test_how_the_thinking_ended(
        self, open_talk: OpenTalk, tmp_path: Path, end: ThinkingEnd | None, line: str
    ) -> None:
        with History.open(tmp_path / "history.db") as history:
            session, turn = history.begin(None, asked())
            history.add(turn, "Hm.", "Because.")
            history.finish(turn, replace(finished(), thinking_end=end), 1.5, 0.0)
        assert line in reopened(open_talk, session)

    @pytest.mark.parametrize(
        ("reason", "said"),
        [
            ("interrupted", "this reply was stopped"),
            (None, "this reply was cut off when the program ended"),
            ("stop", ""),
        ],
    )
    def test_a_reply_that_is_incomplete_says_so(
        self, open_talk: OpenTalk, tmp_path: Path, reason: FinishReason | None, said: str
    ) -> None:
        """Only the last question can be asked again."""
        with History.open(tmp_path / "history.db") as history:
            session, _ = say(history, None, asked("first?", model="Q8_0.gguf"), "It floats.", reason=reason)
        alone = reopened(open_talk, session)
        assert "It floats." in alone
        assert alone.partition("It floats.\n")[2].strip() == (f"{said}; /retry to ask again" if said else "")
        with History.open(tmp_path / "history.db") as history:
            say(history, session, "second?")
        below = reopened(open_talk, session).partition("It floats.\n")[2]
        assert below.startswith(f"\n{said}\n" if said else "\n> second?")

    def test_an_answer_that_had_to_have_a_form_is_not_markdown(self, open_talk: OpenTalk, tmp_path: Path) -> None:
        answer = '{"a*b*c": "$x$"}'
        with History.open(tmp_path / "history.db") as history:
            session, _ = say(history, None, replace(asked(), form="schema person.json"), answer)
            other, _ = say(history, None, asked(), answer)
        assert f"\n{answer}\n" in reopened(open_talk, session)
        assert answer not in reopened(open_talk, other)

    def test_a_long_chat_shows_its_last_turns(self, open_talk: OpenTalk, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            session, _ = say(history, None, "number 1?")
            for number in range(2, 23):
                say(history, session, f"number {number}?")
        printed = reopened(open_talk, session)
        assert "… 2 older turns (/export writes them all)" in printed
        assert "> number 2?" not in printed
        assert printed.count("> number") == 20
