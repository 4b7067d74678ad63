"""`r1.chat.plain`: the view of a chat that prints lines, and in which order."""

from __future__ import annotations

import pytest

from r1.chat.plain import PlainChat
from r1.console import Console
from r1.engine.events import Answer, Event, Prefill, Thinking, Thought
from tests.fakes.chats import finished
from tests.fakes.consoles import console, written

BEGUN: list[Event] = [Prefill(9, 9), Thinking("Hm.", 2), Thought(2), Answer("It is", 2)]


@pytest.fixture
def terminal() -> Console:
    return console(stdout_is_terminal=True, stderr_is_terminal=True, environ={"NO_COLOR": "1"})


@pytest.fixture
def view(terminal: Console) -> PlainChat:
    terminal.stderr = terminal.stdout  # both on one screen
    return PlainChat(terminal)


def reply_with(view: PlainChat, events: list[Event], *, shows_thinking: bool = False) -> None:
    reply = view.open_reply(shows_thinking=shows_thinking)
    for event in events:
        reply.show(event)


class TestOrder:
    """Lines that are printed during a reply come after it, and never in the middle of a line."""

    def test_after_a_reply(self, view: PlainChat, terminal: Console) -> None:
        reply_with(view, BEGUN)
        view.print("this chat is not being saved\n\n")
        assert written(terminal.stdout) == "It is"
        view.close_reply("stopped\n\n")
        assert written(terminal.stdout) == "It is\nstopped\nthis chat is not being saved\n"

    def test_after_a_complete_reply(self, view: PlainChat, terminal: Console) -> None:
        reply_with(view, [*BEGUN, Answer(" 42.", 4), finished()])
        view.close_reply("")
        view.print("next\n")
        assert written(terminal.stdout) == "It is 42.\nnext\n"

    def test_while_the_model_is_still_loading_they_are_printed_at_once(
        self, view: PlainChat, terminal: Console
    ) -> None:
        view.open_reply(shows_thinking=False)
        view.print("half of it is on the GPU\n")
        assert written(terminal.stdout) == "half of it is on the GPU\n"
        view.close_reply("")

    def test_the_thinking_is_shown_only_if_asked_for(self, view: PlainChat, terminal: Console) -> None:
        reply_with(view, BEGUN, shows_thinking=True)
        view.close_reply("")
        assert written(terminal.stdout) == "Hm.\n\nIt is\n"
