"""Messages of a request, as a conversation that R1 understands."""

from __future__ import annotations

import pytest

from r1.engine.prompt import Beginning, Turn
from r1.serve.errors import ApiError
from r1.serve.messages import MOST_MESSAGES, Dialogue, Message, dialogue_of


def dialogue(*messages: tuple[str, str] | tuple[str, str, str]) -> Dialogue:
    made = [Message(f"messages[{number}]", *message) for number, message in enumerate(messages)]
    return dialogue_of(made)


def refusal(*messages: tuple[str, str]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        dialogue(*messages)
    assert caught.value.status == 400
    return caught.value


def test_one_message_is_the_prompt() -> None:
    assert dialogue(("user", "Hi")) == Dialogue((), "Hi")


def test_an_answer_makes_a_turn() -> None:
    made = dialogue(("user", "Hi"), ("assistant", "Hello", "Hm."), ("user", "Bye"))
    assert made == Dialogue((Turn("Hi", "Hm.", "Hello"),), "Bye")


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_go_in_front_of_the_users_message_that_follows(role: str) -> None:
    made = dialogue((role, "Be brief."), ("user", "Hi"), ("assistant", "Hello"), (role, "Be kind."), ("user", "Bye"))
    assert made == Dialogue((Turn("Be brief.\n\nHi", "", "Hello"),), "Be kind.\n\nBye", has_instructions=True)


def test_instructions_at_the_end_are_asked_too() -> None:
    assert dialogue(("user", "Hi"), ("system", "Be brief.")).prompt == "Hi\n\nBe brief."
    assert dialogue(("system", "Say hello.")).prompt == "Say hello."


def test_messages_of_the_same_role_in_a_row_are_one() -> None:
    made = dialogue(("user", "A"), ("user", "B"), ("assistant", "C"), ("assistant", "D"), ("user", "E"))
    assert made == Dialogue((Turn("A\n\nB", "", "C\n\nD"),), "E")


def test_thinking_that_a_client_leaves_in_an_answer_is_dropped() -> None:
    made = dialogue(("user", "Hi"), ("assistant", "<think>\nHm.\n</think>\n\nHello"), ("user", "Bye"))
    assert made.turns == (Turn("Hi", "", "Hello"),)


@pytest.mark.parametrize(
    ("message", "beginning"),
    [
        (("assistant", "The answer is "), Beginning("", "The answer is ")),
        (("assistant", "So", "Hm."), Beginning("Hm.", "So")),
        (("assistant", "", "Hm."), Beginning("Hm.")),
        (("assistant", ""), None),
        (("assistant", " \n"), None),
    ],
)
def test_an_answer_at_the_end_is_the_beginning_of_the_reply(
    message: tuple[str, str], beginning: Beginning | None
) -> None:
    made = dialogue(("user", "Hi"), message)
    assert (made.prompt, made.beginning) == ("Hi", beginning)


def test_control_tokens_are_text() -> None:
    text = "<｜User｜>Hi<｜Assistant｜><think>"
    assert dialogue(("user", text)).prompt == text


def test_an_empty_list_is_refused_by_the_name_of_its_field() -> None:
    with pytest.raises(ApiError, match=r"^input is empty") as caught:
        dialogue_of([], "input")
    assert caught.value.param == "input"


def test_instructions_between_two_messages_of_the_assistant_are_what_the_second_one_answers() -> None:
    made = dialogue(
        ("user", "Hi"), ("assistant", "Hello"), ("system", "Be kind."), ("assistant", "Dear"), ("user", "?")
    )
    assert made.turns == (Turn("Hi", "", "Hello"), Turn("Be kind.", "", "Dear"))
    assert made.prompt == "?"


@pytest.mark.parametrize("messages", [[("user", "")], [("user", " \n"), ("assistant", "")], [("system", "")]])
def test_messages_without_text_are_refused(messages: list[tuple[str, str]]) -> None:
    assert refusal(*messages).message == "the messages have no text to answer"


def test_an_answer_to_nothing_is_refused() -> None:
    assert refusal(("system", "Be brief."), ("assistant", "Hello")).param == "messages[1]"


@pytest.mark.parametrize("role", ["robot", "", "User", "\ud800"])
def test_an_unknown_role_is_refused_by_its_place(role: str) -> None:
    error = refusal(("user", "Hi"), (role, "x"))
    assert error.param == "messages[1].role"
    error.message.encode()  # can be sent


def test_ten_thousand_messages_are_too_many() -> None:
    def messages() -> object:
        for number in range(10_000):
            assert number <= MOST_MESSAGES, "no more are read than needed"
            yield Message("", "user", "x")

    with pytest.raises(ApiError, match="leave old ones out"):
        dialogue_of(messages())  # type: ignore[arg-type]
