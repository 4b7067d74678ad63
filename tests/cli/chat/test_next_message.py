"""`r1.chat.next_message`: what is attached to it, and which turn it replaces."""

from __future__ import annotations

from typing import Any, cast

from r1.chat.next_message import NextMessage
from r1.engine.prompt import Attachment
from r1.history.history import StoredTurn
from tests.fakes.chats import asked

FILE = Attachment("a.txt", "x")


class Turn:
    """A turn with one file."""

    asked = asked("why?", ("b.txt", "y"))


def test_an_edit_has_the_files_of_its_turn_and_ends_without_them() -> None:
    message = NextMessage()
    message.attach(FILE)
    message.begin_edit(cast(StoredTurn, Turn))
    assert [file.name for file in message.files] == ["b.txt"]
    message.end_edit()
    assert message.replaces is None


def test_clearing_leaves_nothing() -> None:
    message = NextMessage()
    message.attach(FILE)
    message.begin_edit(cast(StoredTurn, Turn))
    message.clear()
    assert (message.files, message.replaces) == ([], None)


def test_the_form_stays_for_the_messages_after_it() -> None:
    message, form = NextMessage(), cast(Any, object())
    message.form = form
    message.clear()
    assert message.form is form


def test_the_files_of_a_stored_question_stay_as_they_are() -> None:
    message = NextMessage()
    message.begin_edit(cast(StoredTurn, Turn))
    message.attach(FILE)
    assert [file.name for file in Turn.asked.files] == ["b.txt"]
