"""`r1.chat.chat`, with the real model and a view that only records."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from r1.chat.worker import Failed
from r1.engine.events import Answer
from r1.history.history import History
from r1.settings import Settings
from r1_quantize.errors import R1Error
from tests.cli.chat.conftest import LETTERS, SETTINGS, SUM, SUM_ANSWER, OpenTalk
from tests.fakes.views import Talk


class TestTurns:
    """Questions are asked, answered and saved."""

    def test_an_answer_is_shown_and_saved_with_its_measurements(self, talk: Talk) -> None:
        assert talk.say(SUM).endswith("\n\n17 + 25 = 42\n")
        (turn,) = talk.history.turns(talk.chat.session or 0)
        assert (turn.asked.question, turn.answer, turn.finish_reason) == (SUM, SUM_ANSWER, "stop")
        assert (turn.asked.model, turn.asked.seed, turn.asked.temp) == ("Q8_0.gguf", 1, 0)
        assert turn.thinking
        assert turn.usage
        assert turn.timings
        assert turn.timings.decode_tps > 0

    def test_a_message_sent_during_a_reply_waits_for_its_end(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.chat.submit(LETTERS)
        assert talk.chat.queue == [LETTERS]
        talk.until(lambda: len(talk.chat.turns) == 2)
        assert [turn.asked.question for turn in talk.chat.turns] == [SUM, LETTERS]

    def test_stopping_puts_the_queued_message_back_into_the_draft(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.chat.submit(LETTERS)
        talk.chat.interrupt()
        talk.until(lambda: not talk.chat.busy)
        assert (talk.view.draft, talk.chat.queue) == (LETTERS, [])

    def test_a_reply_cut_off_by_the_token_limit_says_so(self, open_talk: OpenTalk) -> None:
        printed = open_talk(Settings(temp=0, seed=1, threads=1, ctx=1024, max_tokens=5)).say(SUM)
        limit = "the limit of 5 tokens was reached; /set max-tokens N, then /retry"
        assert f"no answer yet, the model was still thinking: {limit}" in " ".join(printed.split())

    def test_a_conversation_continues_in_the_next_run(self, open_talk: OpenTalk) -> None:
        first = open_talk()
        first.say(SUM)
        session = first.chat.session
        first.chat.close()
        second = open_talk(session=session)
        assert [turn.asked.question for turn in second.chat.turns] == [SUM]
        second.say(LETTERS)
        assert [turn.number for turn in second.history.turns(session or 0)] == [1, 2]

    def test_a_prompt_that_is_too_long_can_be_restored_and_changes_nothing(self, open_talk: OpenTalk) -> None:
        talk = open_talk(Settings(temp=0, seed=1, threads=1, ctx=128))
        printed = " ".join(talk.say("word " * 200).split())
        assert "and the context holds 128; press Up to restore and shorten it, or make room: /set ctx 2048," in printed
        assert talk.history.typed(1) == ["word " * 200]
        assert (talk.chat.turns, talk.history.sessions()) == ([], [])

    def test_a_full_context_ends_the_reply_and_names_the_remedies(self, open_talk: OpenTalk) -> None:
        talk = open_talk(Settings(temp=0, seed=1, threads=1, ctx=64))
        printed = " ".join(talk.say(LETTERS).split())
        assert "the context of 64 tokens is full; make room: /set ctx 256, /trim (oldest turns)" in printed
        assert talk.chat.turns[-1].finish_reason == "context"

    def test_a_context_that_is_nearly_full_is_announced(self, open_talk: OpenTalk) -> None:
        talk = open_talk(Settings(temp=0, seed=1, threads=1, ctx=200))
        talk.say(LETTERS)
        talk.say("/set ctx 100")
        talk.settle()
        assert "the context is nearly full" in talk.view.printed


class TestEditing:
    """An edited question replaces its turn; an edit that was given up changes nothing."""

    def test_the_next_message_replaces_the_turn(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.chat.begin_edit(talk.chat.turns[0])
        assert (talk.view.draft, talk.chat.turns.for_prompt(talk.chat.next.replaces)) == (SUM, [])
        talk.say(LETTERS)
        assert [(turn.number, turn.asked.question) for turn in talk.chat.turns] == [(1, LETTERS)]
        assert talk.chat.next.replaces is None

    def test_an_edit_that_has_ended_replaces_nothing(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.chat.begin_edit(talk.chat.turns[0])
        talk.chat.next.end_edit()
        talk.say(LETTERS)
        assert [turn.asked.question for turn in talk.chat.turns] == [SUM, LETTERS]

    def test_a_command_in_between_does_not_end_it(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.chat.begin_edit(talk.chat.turns[0])
        talk.say("/context")
        talk.say(LETTERS)
        assert [turn.asked.question for turn in talk.chat.turns] == [LETTERS]


class TestFailures:
    """The chat goes on and saves what it can."""

    def test_a_session_deleted_by_another_process(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.history.delete(talk.chat.session or 0)
        assert "3 times in strawberry" in talk.say(LETTERS)
        assert len(talk.chat.turns) == 2
        assert [turn.asked.question for turn in talk.history.turns(talk.chat.session or 0)] == [LETTERS]

    def test_text_refused_by_a_locked_history_is_saved_later(self, tiny_path: Path, tmp_path: Path) -> None:
        with Talk(tiny_path, tmp_path / "history.db", SETTINGS) as talk:
            other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            talk.chat.submit(SUM)
            talk.until(lambda: bool(talk.chat.reply and talk.chat.reply.thinking_s is not None))
            talk.chat.recorder.save()
            other.execute("ROLLBACK")
            other.close()
            talk.until(lambda: not talk.chat.busy)
            (turn,) = talk.history.turns(talk.chat.session or 0)
        assert turn.thinking.startswith("17 + 25")
        assert turn.answer == SUM_ANSWER

    def test_a_complete_reply_refused_by_a_locked_history_is_saved_at_the_end(
        self, tiny_path: Path, tmp_path: Path
    ) -> None:
        with Talk(tiny_path, tmp_path / "history.db", SETTINGS) as talk:
            other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            talk.say(SUM)
            other.execute("ROLLBACK")
            other.close()
        with History.open(tmp_path / "history.db") as history:
            (turn,) = history.turns(history.latest() or 0)
        assert (turn.asked.question, turn.answer, turn.finish_reason) == (SUM, SUM_ANSWER, "stop")

    def test_a_reply_that_fails_in_the_middle_is_saved_and_shown(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.until(lambda: bool(talk.chat.reply and talk.chat.reply.thinking_s is not None))
        talk.until(lambda: isinstance(talk.last, Answer))
        talk.chat.handle(Failed(R1Error("llama.cpp could not decode (status -3)"), asking=True))
        assert "could not decode" in talk.view.printed
        (turn,) = talk.history.turns(talk.chat.session or 0)
        assert turn.thinking.startswith("17 + 25")
        assert turn.answer
        assert turn.finish_reason is None
        assert talk.chat.turns[0].answer == turn.answer
