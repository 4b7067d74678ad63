"""`r1.chat.turns`: the turns that the model sees."""

from __future__ import annotations

import pytest

from r1.chat.turns import ChatTurns, prompt_of
from r1.history.history import StoredTurn
from tests.fakes.chats import TIMINGS, USAGE, asked


def turn(number: int, answer: str = "Yes.") -> StoredTurn:
    return StoredTurn(
        id=10 * number,
        number=number,
        asked=asked(f"question {number}"),
        thinking="Hm.",
        answer=answer,
        finish_reason="stop",
        thinking_s=1.0,
        usage=USAGE,
        timings=TIMINGS,
        load_s=0.0,
        started=0.0,
        trimmed=False,
    )


@pytest.fixture
def turns() -> ChatTurns:
    return ChatTurns([turn(1), turn(2, answer=""), turn(3)])


class TestChatTurns:
    """Answered turns are in the context, until they are trimmed or replaced."""

    def test_a_turn_without_an_answer_is_not_in_the_context(self, turns: ChatTurns) -> None:
        assert [one.number for one in turns.in_context] == [1, 3]

    def test_trimmed_turns_stay_in_the_list_but_not_in_the_context(self, turns: ChatTurns) -> None:
        turns.trim({10})
        assert [one.trimmed for one in turns] == [True, False, False]
        assert [one.number for one in turns.in_context] == [3]

    def test_the_prompt_leaves_out_the_turn_being_replaced(self, turns: ChatTurns) -> None:
        prompts = [one.prompt for one in turns.for_prompt(without=turns[0])]
        assert prompts == ["question 3"]
        assert len(turns.for_prompt(without=None)) == 2

    def test_numbers_continue_unless_the_last_turn_is_replaced(self, turns: ChatTurns) -> None:
        assert ChatTurns().next_number(None) == 1
        assert turns.next_number(None) == 4
        assert turns.next_number(turns[2]) == 3


def test_the_prompt_has_the_attached_files() -> None:
    question = asked("Why?", ("a.txt", "content of a"))
    assert "content of a" in prompt_of(question)
    assert prompt_of(question).endswith("Why?")
