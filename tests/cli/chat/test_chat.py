"""`r1.chat.chat`, with the real model and a view that only records."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from r1.chat import worker
from r1.chat.worker import Failed, Ready, Warmed
from r1.engine.events import Answer, Event, Prefill, Rewound, Thinking, Thought
from r1.history.history import History
from r1.kv_store.kv_folder import KvFolder
from r1.settings import Settings
from r1_quantize.errors import NotEnoughSpace, R1Error
from tests.cli.chat.conftest import LETTERS, SETTINGS, SUM, SUM_ANSWER, OpenTalk
from tests.fakes.chats import finished
from tests.fakes.views import EVENT_TIMEOUT_S, Talk


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
        settings = Settings(temp=0, seed=1, threads=1, ctx=1024, max_tokens=5, reserve=0)
        printed = open_talk(settings).say(SUM)
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


class TestThinkingThatWasEnded:
    """How the thinking ended is shown and saved; what was answered then is part of the conversation."""

    def test_at_the_budget(self, open_talk: OpenTalk) -> None:
        talk = open_talk(replace(SETTINGS, think_budget=3))
        printed = talk.say(SUM)
        assert " · 5 tokens · stopped at the budget\n" in printed
        (turn,) = talk.history.turns(talk.chat.session or 0)
        assert (turn.thinking_end, turn.finish_reason) == ("budget", "stop")
        assert turn.answer
        (prompted,) = talk.chat.turns.for_prompt(without=None)
        assert (prompted.answer, prompted.thinking) == (turn.answer, turn.thinking)
        talk.settle()
        assert talk.say("/stats").count("thinking     stopped at the budget\n") == 1

    def test_with_the_reserve_a_low_limit_still_has_an_answer(self, open_talk: OpenTalk) -> None:
        talk = open_talk(replace(SETTINGS, max_tokens=40))
        assert "stopped to leave room to answer" in talk.say(LETTERS)
        assert talk.chat.turns[0].thinking_end == "limit"
        assert talk.chat.turns[0].answer

    def test_without_thinking_there_is_nothing_to_show(self, open_talk: OpenTalk) -> None:
        talk = open_talk(replace(SETTINGS, effort="none"))
        assert "thought" not in talk.say(SUM)
        (turn,) = talk.history.turns(talk.chat.session or 0)
        assert (turn.thinking, turn.thinking_end, turn.finish_reason) == ("", "budget", "stop")
        assert turn.answer

    def test_by_escape(self, talk: Talk) -> None:
        talk.chat.submit(LETTERS)
        talk.until(lambda: isinstance(talk.last, Thinking))
        talk.chat.answer_now()
        talk.until(lambda: not talk.chat.busy)
        assert talk.chat.turns[0].thinking_end == "user"
        assert "stopped by you" in " ".join(talk.view.printed.split())

    def test_a_chat_that_is_opened_again_says_the_same(self, open_talk: OpenTalk) -> None:
        first = open_talk(replace(SETTINGS, think_budget=3))
        first.say(SUM)
        second = open_talk()
        printed = second.say(f"/load {first.chat.session}")
        assert " · 5 tokens · stopped at the budget\n" in printed


class TestLoops:
    """Thinking that goes back replaces what was collected; an answer that loops says so."""

    @pytest.fixture
    def generate(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def script(*events: Event) -> None:
            monkeypatch.setattr("r1.loaded_model.generate", lambda _scheduler, _request: iter(events))

        return script

    def test_the_trace_is_what_is_left(self, talk: Talk, generate: Callable[..., None]) -> None:
        generate(
            *(Prefill(9, 9), Thinking("So 42. So 42.", 12), Rewound("So 42.", 6, 6), Thinking(" Or 43.", 12)),
            *(Thought(13, "natural"), Answer("42", 1), finished()),
        )
        talk.chat.show_thinking(True)
        printed = talk.say(SUM)
        assert "went round in circles; back 6 tokens\n│ Or 43.\n" in printed
        (turn,) = talk.history.turns(talk.chat.session or 0)
        assert turn.thinking == talk.chat.turns[0].thinking == "So 42. Or 43."
        assert "│ So 42. Or 43." in talk.say("/trace")

    def test_an_answer_that_looped_says_so_and_what_helps(self, talk: Talk, generate: Callable[..., None]) -> None:
        generate(Prefill(9, 9), Thinking("Hm.", 2), Thought(2), Answer("No. No. No.", 6), finished("loop"))
        printed = " ".join(talk.say(SUM).split())
        assert "the answer is incomplete: it went round in circles and was stopped; /retry" in printed
        assert talk.history.turns(talk.chat.session or 0)[0].finish_reason == "loop"


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


def during_a_reply(talk: Talk, *commands: str) -> str:
    """Asks a question, sends the commands once its answer has begun, and returns everything printed."""
    talk.chat.submit(SUM)
    talk.until(lambda: isinstance(talk.last, Answer))
    for command in commands:
        talk.chat.submit(command)
    talk.until(lambda: not talk.chat.busy)
    return talk.view.printed


class TestOrder:
    """A reply is printed in one piece; everything else comes before or after it."""

    @pytest.mark.parametrize(
        ("command", "prints"),
        [
            *(("/stats", "resident"), ("/history", "/load ID"), ("/context", "tokens used"), ("/help", "Ctrl-D")),
            *(("/set", "top-p 0.95"), ("/set temp 0.5", "temp 0.5"), ("/system Be brief.", "removes it")),
            *(("/think show", "thinking shown"), ("/title x", "title: x"), ("/file nowhere", "cannot be read")),
            *(("/xyzzy", "unknown command"), ("/copy", "no question yet"), ("/trace", "no question yet")),
        ],
    )
    def test_a_command_during_a_reply_prints_after_it(self, talk: Talk, command: str, prints: str) -> None:
        printed = during_a_reply(talk, command)
        end_of_answer, echo = printed.index("17 + 25 = 42\n"), printed.index(f"> {command}\n")
        assert end_of_answer < echo < printed.index(prints, echo)

    def test_what_is_said_about_the_reply_comes_before_the_commands(self, talk: Talk) -> None:
        talk.chat.submit(LETTERS)
        talk.until(lambda: isinstance(talk.last, Answer))
        talk.chat.submit("/stats")
        talk.chat.interrupt()
        talk.until(lambda: not talk.chat.busy)
        assert talk.view.printed.index("stopped; the reply so far is saved") < talk.view.printed.index("> /stats\n")

    def test_queued_commands_come_last(self, talk: Talk) -> None:
        printed = during_a_reply(talk, "/undo", "/stats")
        assert printed.index("17 + 25 = 42") < printed.index("> /stats") < printed.index("> /undo")

    def test_an_error_in_the_middle_comes_before_the_commands(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.until(lambda: isinstance(talk.last, Answer))
        talk.chat.submit("/set")
        talk.chat.handle(Failed(R1Error("llama.cpp could not decode (status -3)"), asking=True))
        assert talk.view.printed.index("could not decode") < talk.view.printed.index("> /set\n")


class TestContextLength:
    """A length that cannot be used is given up, and messages fit again."""

    def test_one_that_does_not_fit_the_memory(self, talk: Talk) -> None:
        talk.say("/set ctx 512")
        talk.until(lambda: talk.chat.model.ready is not None and talk.chat.model.ready.ctx == 512)
        talk.chat.change_settings(replace(talk.chat.settings, ctx=2000))
        talk.chat.handle(Failed(NotEnoughSpace("2,000 tokens of context need 9 GB"), asking=False))
        assert talk.chat.settings.ctx == 512
        assert "ctx is 512 again" in talk.view.printed
        assert "17 + 25 = 42" in talk.say(SUM)

    def test_one_that_is_too_long_for_the_model_and_was_set_before_it_was_loaded(self, open_talk: OpenTalk) -> None:
        talk = open_talk()
        talk.chat.model.ready = None  # as if it were loading
        talk.chat.submit("/set ctx 9999")
        talk.chat.model.ready = Ready("Q8_0.gguf", ctx=1024, trained=2048)
        talk.until(lambda: isinstance(talk.last, Failed))
        assert talk.chat.settings.ctx == 1024
        assert "17 + 25 = 42" in talk.say(SUM)

    def test_a_prompt_that_is_too_long_leaves_the_length_as_it_is(self, open_talk: OpenTalk) -> None:
        talk = open_talk(Settings(temp=0, seed=1, threads=1, ctx=1024))
        talk.say("/set ctx 128")
        talk.until(lambda: talk.chat.model.ready is not None and talk.chat.model.ready.ctx == 128)
        talk.say("word " * 200)
        assert talk.chat.settings.ctx == 128


class TestVotes:
    """A message is answered by a vote; the winner is a turn like any other."""

    VOTES = replace(SETTINGS, temp=1.0, votes=4)

    def test_the_winner_is_shown_saved_and_seen_by_the_next_turn(self, open_talk: OpenTalk) -> None:
        talk = open_talk(self.VOTES)
        printed = talk.say(SUM)
        assert re.search(r"^thought for .* tokens\n\n17 \+ 25 = 42\n([34]) of \1 votes for 42", printed), printed
        (turn,) = talk.history.turns(talk.chat.session or 0)
        assert (turn.answer, turn.finish_reason, turn.asked.seed) == (SUM_ANSWER, "stop", 1)
        assert turn.thinking
        assert turn.usage
        assert turn.usage.thinking_tokens > 0
        talk.settle()
        assert len(talk.chat.model.turn_tokens) == 1
        assert talk.say("/votes off") == "no votes: each message gets one reply\n\n"
        assert " vote" not in talk.say(LETTERS)
        assert len(talk.chat.turns) == 2

    def test_the_thinking_of_the_winner_is_shown_on_request(self, open_talk: OpenTalk) -> None:
        talk = open_talk(self.VOTES)
        talk.say("/think show")
        printed = talk.say(SUM)
        (turn,) = talk.chat.turns
        assert turn.thinking.split("\n")[0] in printed.split("thought for")[0]

    def test_a_retry_takes_the_place_of_the_turn(self, open_talk: OpenTalk) -> None:
        talk = open_talk(self.VOTES)
        talk.say(SUM)
        talk.say("/retry")
        assert [turn.number for turn in talk.chat.turns] == [1]
        assert [turn.answer for turn in talk.history.turns(talk.chat.session or 0)] == [SUM_ANSWER]

    def test_nothing_to_vote_on_is_a_warning_beside_the_limit(self, open_talk: OpenTalk) -> None:
        printed = " ".join(open_talk(replace(self.VOTES, max_tokens=5, reserve=0)).say(SUM).split())
        assert "none of 4 samples has an answer to vote on" in printed
        assert "the limit of 5 tokens was reached; /set max-tokens N, then /retry" in printed


class TestKeptCache:
    """The KV cache of a chat is on disk when it is closed, as long as the chat is in the history."""

    @pytest.fixture
    def open_kept(self, tiny_path: Path, tmp_path: Path, folder: KvFolder) -> Callable[..., Talk]:
        return lambda session=None: Talk(tiny_path, tmp_path / "history.db", SETTINGS, session, folder)

    def test_a_chat_that_is_continued_needs_no_prefill(self, open_kept: Callable[..., Talk], folder: KvFolder) -> None:
        with open_kept() as talk:
            talk.say("word " * 60 + SUM)
            talk.settle()
        assert len(folder.files(owner="chat 1")) == 1
        with open_kept(session=1) as talk:
            done: list[int] = []

            def is_warm() -> bool:
                if isinstance(talk.last, Warmed) and talk.last.done not in done:
                    done.append(talk.last.done)
                return talk.chat.model.warmed == sum(talk.chat.model.turn_tokens) > 0

            talk.until(is_warm)
            assert done == [0, sum(talk.chat.model.turn_tokens)]  # a prefill would go chunk by chunk
        assert len(folder.files()) == 1

    def test_nothing_is_left_of_a_chat_that_was_deleted_meanwhile(
        self, open_kept: Callable[..., Talk], folder: KvFolder
    ) -> None:
        with open_kept() as talk:
            talk.say("word " * 60 + SUM)
            talk.settle()
            with History.open(talk.history.path) as history:
                history.delete(1)
        assert folder.files() == []

    def test_nor_in_the_chat_that_goes_on_after_it(self, open_kept: Callable[..., Talk], folder: KvFolder) -> None:
        """The model still sees what was deleted."""
        with open_kept() as talk:
            talk.say("word " * 60 + SUM)
            talk.settle()
            with History.open(talk.history.path) as history:
                history.delete(1)
            talk.say(SUM)
            talk.settle()
            assert talk.chat.session == 2
        assert folder.files() == []

    def test_a_chat_that_is_cleared_is_kept(self, open_kept: Callable[..., Talk], folder: KvFolder) -> None:
        with open_kept() as talk:
            talk.say("word " * 60 + SUM)
            talk.settle()
            talk.say("/clear")
            talk.say(SUM)
            assert len(folder.files(owner="chat 1")) == 1

    def test_a_changed_chat_that_is_idle_is_kept(
        self, open_kept: Callable[..., Talk], folder: KvFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_kept() as talk:
            talk.say("word " * 60 + SUM)
            talk.say(SUM)
            talk.settle()
            monkeypatch.setattr(worker, "_IDLE_S", 0.05)
            talk.say("/undo")
            deadline = time.monotonic() + EVENT_TIMEOUT_S
            while not folder.files(owner="chat 1"):
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def test_a_chat_without_a_question_keeps_nothing(self, open_kept: Callable[..., Talk], folder: KvFolder) -> None:
        with open_kept():
            pass
        assert not folder.path.exists()
