"""`r1.chat.recorder`: what is in the history at each moment, and what happens while it cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from r1.chat import recorder as module
from r1.chat.recorder import Recorder, RunningTurn
from r1.engine.events import Answer, Rewound, Thinking
from r1.history.history import History, StoredTurn
from r1.render.reply_text import ReplyText
from r1_quantize.errors import BadFile
from tests.fakes.chats import asked, finished


class Notebook:
    """A recorder, the errors it has shown, and the history as another process reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failures: list[str] = []
        self.recorder = Recorder(History.open(path, lock_timeout_s=0.01), self.failures.append)

    def begin(self, question: str = "why?", number: int = 1) -> ReplyText:
        text = ReplyText()
        self.recorder.begin(RunningTurn(number=number, asked=asked(question), text=text))
        return text

    def saved(self) -> list[StoredTurn]:
        with History.open(self.path) as history:
            latest = history.latest()
            return history.turns(latest) if latest is not None else []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another program is in the middle of a write."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    made = Notebook(tmp_path / "history.db")
    yield made
    made.recorder.close()


class TestRunningTurn:
    """A turn is saved from its question on, piece by piece."""

    def test_the_question_is_saved_before_the_first_token(self, notebook: Notebook) -> None:
        notebook.begin("why?")
        assert [(turn.asked.question, turn.answer) for turn in notebook.saved()] == [("why?", "")]

    def test_each_piece_is_saved_once(self, notebook: Notebook) -> None:
        text = notebook.begin()
        text.add(Thinking("Hm, ", 1))
        notebook.recorder.save()
        text.add(Thinking("so.", 2))
        text.add(Answer("Because", 1))
        notebook.recorder.save()
        notebook.recorder.save()
        assert [(turn.thinking, turn.answer) for turn in notebook.saved()] == [("Hm, so.", "Because")]

    def test_thinking_that_went_back_replaces_what_was_saved(self, notebook: Notebook) -> None:
        text = notebook.begin()
        text.add(Thinking("So 42. ", 3))
        text.add(Thinking("So 42. ", 6))
        notebook.recorder.save()
        text.add(Rewound("So 42.", 3, 3))
        assert [turn.thinking for turn in notebook.saved()] == ["So 42. So 42. "]  # what a kill leaves here
        text.add(Thinking(" Or 43.", 6))
        notebook.recorder.save()
        assert [turn.thinking for turn in notebook.saved()] == ["So 42. Or 43."]
        text.add(Thinking(" No.", 8))
        text.add(Rewound("So", 1, 7))
        text.add(Rewound("S", 1, 1))
        text.add(Thinking("top.", 3))
        text.add(Answer("42", 1))
        notebook.recorder.save()
        notebook.recorder.save()
        assert [(turn.thinking, turn.answer) for turn in notebook.saved()] == [("Stop.", "42")]

    def test_a_kill_between_replacing_and_adding_loses_only_what_is_new(
        self, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = notebook.begin()
        text.add(Thinking("So 42. So 42. ", 6))
        notebook.recorder.save()
        text.add(Rewound("So 42.", 3, 3))
        notebook.recorder.save()
        text.add(Thinking(" Or 43.", 6))

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(History, "add", killed)
            with pytest.raises(KeyboardInterrupt):
                notebook.recorder.save()
        assert [turn.thinking for turn in notebook.saved()] == ["So 42."]

    def test_ticks_save_only_after_the_interval(self, notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
        text = notebook.begin()
        text.add(Answer("Be", 1))
        monkeypatch.setattr(module, "_SAVE_INTERVAL_S", 1000.0)
        notebook.recorder.tick()
        assert notebook.saved()[0].answer == ""
        monkeypatch.setattr(module, "_SAVE_INTERVAL_S", 0.0)
        notebook.recorder.tick()
        assert notebook.saved()[0].answer == "Be"

    def test_a_finished_turn_is_as_the_history_has_it(self, notebook: Notebook) -> None:
        text = notebook.begin()
        text.add(Answer("Because.", 2))
        stored = notebook.recorder.finish(finished(), 1.5)
        (saved,) = notebook.saved()
        assert notebook.recorder.turn is None
        assert (saved.answer, saved.finish_reason, saved.thinking_s) == ("Because.", "stop", 1.5)
        assert (stored.id, stored.answer, stored.usage) == (saved.id, saved.answer, saved.usage)

    def test_a_turn_that_broke_off_keeps_its_text_and_has_no_finish_reason(self, notebook: Notebook) -> None:
        text = notebook.begin()
        text.add(Answer("Beca", 1))
        stored = notebook.recorder.break_off(None)
        assert (stored.answer, stored.finish_reason) == ("Beca", None)
        assert [(turn.answer, turn.finish_reason) for turn in notebook.saved()] == [("Beca", None)]

    def test_a_discarded_first_question_leaves_no_session(self, notebook: Notebook) -> None:
        notebook.begin()
        notebook.recorder.discard(with_session=True)
        assert (notebook.recorder.session, notebook.saved()) == (None, [])

    def test_a_discarded_later_question_leaves_the_session(self, notebook: Notebook) -> None:
        notebook.begin("one")
        notebook.recorder.finish(finished(), None)
        session = notebook.recorder.session
        notebook.begin("two", number=2)
        notebook.recorder.discard(with_session=False)
        assert notebook.recorder.session == session
        assert [turn.asked.question for turn in notebook.saved()] == ["one"]


class TestLockedHistory:
    """A lock is waited for without a word; writes happen later, in order."""

    def test_a_turn_that_ran_while_the_history_was_locked_is_saved_afterwards(self, notebook: Notebook) -> None:
        with notebook.locked():
            text = notebook.begin("why?")
            text.add(Thinking("Hm.", 1))
            notebook.recorder.save()
            text.add(Answer("Because.", 1))
            notebook.recorder.finish(finished(), 0.5)
            assert notebook.recorder.session is None
        assert notebook.saved() == []
        notebook.recorder.write_pending()
        (turn,) = notebook.saved()
        assert (turn.asked.question, turn.thinking, turn.answer) == ("why?", "Hm.", "Because.")
        assert notebook.failures == []

    def test_the_end_of_a_reply_that_broke_off_is_saved_afterwards(self, notebook: Notebook) -> None:
        text = notebook.begin("why?")
        text.add(Answer("Be", 1))
        notebook.recorder.save()
        with notebook.locked():
            text.add(Answer("cause", 2))
            notebook.recorder.break_off(None)
        notebook.recorder.write_pending()
        assert [(turn.answer, turn.finish_reason) for turn in notebook.saved()] == [("Because", None)]

    def test_thinking_that_went_back_meanwhile_is_saved_afterwards(self, notebook: Notebook) -> None:
        text = notebook.begin("why?")
        text.add(Thinking("So 42. So 42. ", 6))
        notebook.recorder.save()
        with notebook.locked():
            text.add(Rewound("So 42.", 3, 3))
            notebook.recorder.save()
            text.add(Thinking(" Or 43.", 6))
            notebook.recorder.break_off(None)
        notebook.recorder.write_pending()
        assert [(turn.thinking, turn.finish_reason) for turn in notebook.saved()] == [("So 42. Or 43.", None)]

    def test_a_trim_is_saved_afterwards(self, notebook: Notebook) -> None:
        notebook.begin("one").add(Answer("1", 1))
        turn = notebook.recorder.finish(finished(), None)
        with notebook.locked():
            notebook.recorder.trim([turn.id])
        assert [saved.trimmed for saved in notebook.saved()] == [False]
        notebook.recorder.write_pending()
        assert [saved.trimmed for saved in notebook.saved()] == [True]

    def test_closing_waits_for_the_lock(self, tmp_path: Path) -> None:
        notebook = Notebook(tmp_path / "history.db")
        with notebook.locked():
            notebook.begin().add(Answer("Yes.", 1))
            notebook.recorder.finish(finished(), None)
        notebook.recorder.close()
        assert [turn.answer for turn in notebook.saved()] == ["Yes."]


class TestHistoryThatFails:
    """The failure is shown once, until saving works again."""

    def test_the_failure_is_shown_once(self, notebook: Notebook) -> None:
        text = notebook.begin()
        with closing(sqlite3.connect(notebook.path)) as other:
            other.execute("ALTER TABLE pieces RENAME TO elsewhere")
            for _ in range(3):
                text.add(Answer("x", 1))
                notebook.recorder.save()
            assert len(notebook.failures) == 1
            assert notebook.failures[0].startswith("this chat is not being saved: ")
            other.execute("ALTER TABLE elsewhere RENAME TO pieces")
        notebook.recorder.save()
        assert notebook.saved()[0].answer == "xxx"

    def test_a_session_that_another_process_deleted_is_replaced_by_a_new_one(self, notebook: Notebook) -> None:
        notebook.begin("one")
        notebook.recorder.finish(finished(), None)
        first = notebook.recorder.session
        with History.open(notebook.path) as other:
            other.delete(first or 0)
        notebook.begin("two", number=2)
        assert notebook.recorder.session != first
        assert [turn.asked.question for turn in notebook.saved()] == ["two"]


class TestOpeningASession:
    """Another chat takes the place of the present one only when it could be read."""

    def test_a_chat_that_cannot_be_read_leaves_the_present_one(
        self, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        notebook.begin("one").add(Answer("1", 1))
        notebook.recorder.finish(finished(), None)
        present = notebook.recorder.session

        def unreadable(_history: History, _session: int) -> list[StoredTurn]:
            raise BadFile("history.db is damaged")

        monkeypatch.setattr(History, "turns", unreadable)
        with pytest.raises(BadFile):
            notebook.recorder.open_session(7)
        assert notebook.recorder.session == present


class TestOwner:
    """What is kept of the KV cache belongs to the chat, as long as there is one."""

    def test_is_the_chat_in_the_history(self, notebook: Notebook) -> None:
        assert (notebook.recorder.owner, notebook.recorder.deleted_owners()) == ("", [])
        notebook.begin()
        assert (notebook.recorder.owner, notebook.recorder.deleted_owners()) == ("chat 1", [])

    def test_a_chat_that_another_process_has_deleted_is_noticed(self, notebook: Notebook) -> None:
        notebook.begin()
        with History.open(notebook.path) as history:
            history.delete(1)
        assert notebook.recorder.deleted_owners() == ["chat 1"]

    def test_a_history_that_cannot_be_read_has_deleted_nothing(
        self, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise BadFile("damaged")

        notebook.begin()
        with monkeypatch.context() as damaged:
            damaged.setattr(History, "info", fail)
            assert notebook.recorder.deleted_owners() == []
