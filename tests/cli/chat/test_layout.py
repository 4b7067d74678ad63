"""`r1.chat.layout`: the lines between the reply and the draft, and the toolbar."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.output import DummyOutput

from r1.chat.chat import Chat
from r1.chat.layout import BottomLines
from r1.chat.pastes import Pastes
from r1.engine.prompt import Attachment


class Output(DummyOutput):
    """A terminal of a given height."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def get_size(self) -> Size:
        return Size(rows=self.rows, columns=80)


def bottom(rows: int = 24, draft: str = "", **facts: Any) -> BottomLines:
    lines = BottomLines(Buffer(document=Document(draft)), Output(rows), Pastes())
    model = SimpleNamespace(is_nearly_full=facts.pop("nearly_full", False), left=20)
    upcoming = SimpleNamespace(**{"replaces": None, "files": [], "form": None} | facts.pop("upcoming", {}))
    chat = {"next": upcoming, "queue": [], "busy": False, "model": model}
    lines.chat = cast(Chat, SimpleNamespace(**{**chat, **facts}))
    return lines


def pending(lines: BottomLines) -> str:
    return "".join(fragment[1] for fragment in lines._pending_text())


class TestPendingText:
    """Everything that belongs to the next message, one line each."""

    def test_there_is_none_for_an_ordinary_message(self) -> None:
        assert pending(bottom()) == ""

    def test_an_edit_files_a_form_and_queued_messages(self) -> None:
        lines = bottom(
            upcoming={
                "replaces": SimpleNamespace(number=3),
                "files": [Attachment("a.txt", "x"), Attachment("b.txt", "y")],
                "form": SimpleNamespace(description="choices yes, no"),
            },
            queue=["two\nlines", "/undo"],
        )
        assert pending(lines).split("\n") == [
            "replaces turn 3",
            "attached: a.txt",
            "attached: b.txt",
            "format: choices yes, no",
            "queued: two lines",
            "queued: /undo",
        ]

    def test_a_context_that_is_nearly_full_is_announced_only_during_a_reply(self) -> None:
        said = "the context is nearly full: 20 tokens left"
        assert pending(bottom(busy=True, nearly_full=True)) == said
        assert pending(bottom(busy=True, nearly_full=True, queue=["x"])) == f"{said}\nqueued: x"
        assert pending(bottom(nearly_full=True)) == ""


class TestRows:
    """The live lines leave room for the draft and the toolbar; a tiny screen gets neither live lines nor activity."""

    def test_a_longer_draft_leaves_fewer_live_lines(self) -> None:
        assert bottom(24).rows_for_live_lines() == bottom(24, draft="one\ntwo").rows_for_live_lines() + 1

    def test_there_are_never_fewer_than_none(self) -> None:
        assert bottom(3, draft="one\ntwo\nthree").rows_for_live_lines() == 0

    def test_activity_needs_five_rows(self) -> None:
        for rows, shown in ((4, []), (5, [("class:quiet", "thinking")])):
            lines = bottom(rows)
            lines.activity = "thinking"
            assert lines._activity_text() == shown


class TestHint:
    """A hint takes the place of the toolbar."""

    def test_it_is_shown_alone(self) -> None:
        lines = bottom()
        lines.hint = "press Ctrl-C again to quit"
        assert lines._toolbar_text() == [("class:quiet", "press Ctrl-C again to quit")]
