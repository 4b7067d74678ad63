"""`r1.chat.thinking`: showing it between replies prints the last trace, once."""

from __future__ import annotations

from typing import cast

import pytest

from r1.chat.notices import Notices
from r1.chat.thinking import ThinkingDisplay
from r1.history.history import StoredTurn
from tests.fakes.views import FakeView


class Turn:
    """A turn with a trace."""

    number = 2
    thinking = "Hm."


TURN = cast(StoredTurn, Turn)


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
def display(view: FakeView) -> ThinkingDisplay:
    return ThinkingDisplay(view, Notices(view), is_shown=False)


def test_a_hidden_trace_is_printed_when_the_thinking_is_shown(display: ThinkingDisplay, view: FakeView) -> None:
    display.turn_ended(TURN, was_shown=False)
    display.show(True, None)
    display.show(False, None)
    display.show(True, None)
    assert view.printed == "│ Hm.\nthinking of turn 2\n\n"


@pytest.mark.parametrize("forgets", [True, False])
def test_a_trace_that_was_seen_or_removed_is_not_printed(
    display: ThinkingDisplay, view: FakeView, forgets: bool
) -> None:
    display.turn_ended(TURN, was_shown=not forgets)
    if forgets:
        display.forget()
    display.show(True, None)
    assert view.printed == ""
