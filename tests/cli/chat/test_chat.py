"""`r1.chat.chat` and its commands, with the real model and a view that only remembers."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from r1.chat.commands import help_lines
from r1.chat.slash import COMMANDS
from r1.chat.worker import Failed
from r1.engine.events import Answer
from r1.history.history import History
from r1.render.style import Style
from r1.settings import Settings
from r1_quantize.errors import R1Error
from tests.fakes.views import Talk

SETTINGS = Settings(temp=0, seed=1, threads=1, ctx=1024)
SUM, LETTERS = "What is 17 + 25?", "How many r's are in strawberry?"

Open = Callable[..., Talk]


@pytest.fixture
def open_talk(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setenv("SSH_TTY", "/dev/pts/0")  # whoever runs the tests keeps their clipboard
    monkeypatch.delenv("TMUX", raising=False)
    opened: list[Talk] = []

    def open_it(settings: Settings = SETTINGS, session: int | None = None) -> Talk:
        opened.append(Talk(tiny_path, tmp_path / "history.db", settings, session))
        return opened[-1]

    yield open_it
    for talk in opened:
        talk.chat.close()


@pytest.fixture
def talk(open_talk: Open) -> Talk:
    return open_talk()


class TestTurns:
    """Asked, answered, kept."""

    def test_an_answer_is_shown_and_kept_with_what_it_took(self, talk: Talk) -> None:
        assert talk.say(SUM).endswith("\n\n17 + 25 = 42\n")
        (turn,) = talk.history.turns(talk.chat.session or 0)
        assert (turn.asked.question, turn.answer, turn.finish_reason) == (SUM, r"\(17 + 25 = \boxed{42}\)", "stop")
        assert (turn.asked.model, turn.asked.seed, turn.asked.temp) == ("Q8_0.gguf", 1, 0)
        assert turn.thinking
        assert turn.usage
        assert turn.timings
        assert turn.timings.decode_tps > 0

    def test_a_message_sent_meanwhile_waits_for_its_turn(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.chat.submit(LETTERS)
        assert talk.chat.queue == [LETTERS]
        talk.until(lambda: len(talk.chat.turns) == 2)
        assert [turn.asked.question for turn in talk.chat.turns] == [SUM, LETTERS]

    def test_stopped_the_waiting_message_is_the_draft_again(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.chat.submit(LETTERS)
        talk.chat.interrupt()
        talk.until(lambda: not talk.chat.busy)
        assert (talk.view.draft, talk.chat.queue) == (LETTERS, [])

    def test_what_the_limit_cut_is_said(self, open_talk: Open) -> None:
        printed = open_talk(Settings(temp=0, seed=1, threads=1, ctx=1024, max_tokens=5)).say(SUM)
        limit = "there is no answer yet: the limit of 5 tokens was reached (/set max-tokens N, /retry)"
        assert limit in " ".join(printed.split())

    def test_a_conversation_goes_on_in_the_next_run(self, open_talk: Open) -> None:
        first = open_talk()
        first.say(SUM)
        session = first.chat.session
        first.chat.close()
        second = open_talk(session=session)
        assert [turn.asked.question for turn in second.chat.turns] == [SUM]
        second.say(LETTERS)
        assert [turn.number for turn in second.history.turns(session or 0)] == [1, 2]

    def test_a_prompt_too_long_is_one_key_away_and_nothing_else_changed(self, open_talk: Open) -> None:
        talk = open_talk(Settings(temp=0, seed=1, threads=1, ctx=128))
        printed = " ".join(talk.say("word " * 200).split())
        assert "and the context holds 128. Shorten it (up brings it back), or make room: /set ctx 2048," in printed
        assert talk.history.typed(1) == ["word " * 200]
        assert (talk.chat.turns, talk.history.sessions()) == ([], [])

    def test_a_full_context_stops_whole_and_names_the_choices(self, open_talk: Open) -> None:
        talk = open_talk(Settings(temp=0, seed=1, threads=1, ctx=64))
        printed = " ".join(talk.say(LETTERS).split())
        assert "the context of 64 tokens is full. Make room: /set ctx 256, /trim leaves out the oldest turns" in printed
        assert talk.chat.turns[-1].finish_reason == "context"

    def test_a_context_that_is_nearly_full_is_announced_before(self, open_talk: Open) -> None:
        talk = open_talk(Settings(temp=0, seed=1, threads=1, ctx=200))
        talk.say(LETTERS)
        talk.say("/set ctx 100")
        talk.settle()
        assert "the context is nearly full" in talk.view.printed


class TestHistoryThatFails:
    """The chat goes on, and what can be kept is."""

    def test_when_the_session_was_deleted(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.history.delete(talk.chat.session or 0)
        assert "3 times in strawberry" in talk.say(LETTERS)
        assert len(talk.chat.turns) == 2
        assert [turn.asked.question for turn in talk.history.turns(talk.chat.session or 0)] == [LETTERS]


class TestHistoryThatIsLocked:
    """Another program writes for a while: nothing waits, and nothing is lost."""

    def test_what_could_not_be_written_is_written_later(self, tiny_path: Path, tmp_path: Path) -> None:
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
        assert turn.answer == r"\(17 + 25 = \boxed{42}\)"

    def test_a_whole_reply_that_was_locked_out_is_written_at_the_end(self, tiny_path: Path, tmp_path: Path) -> None:
        with Talk(tiny_path, tmp_path / "history.db", SETTINGS) as talk:
            other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            talk.say(SUM)
            other.execute("ROLLBACK")
            other.close()
        with History.open(tmp_path / "history.db") as history:
            (turn,) = history.turns(history.latest() or 0)
        assert (turn.asked.question, turn.answer, turn.finish_reason) == (SUM, r"\(17 + 25 = \boxed{42}\)", "stop")


class TestBreakingOff:
    """llama.cpp fails in the middle of a reply: what was said stands."""

    def test_what_was_said_is_kept_and_shown(self, talk: Talk) -> None:
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


class TestCommands:
    """What begins with a slash."""

    def test_thinking_is_turned_over_and_remembered(self, talk: Talk) -> None:
        talk.say("/think show")
        assert talk.chat.shows_thinking
        assert talk.history.preference("thinking") == "show"
        assert "│ 17 + 25" in talk.say(SUM)
        talk.say("/think hide")
        assert "│" not in talk.say(LETTERS)

    def test_a_trace_is_reopened_by_its_number(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say(LETTERS)
        assert "│ Count r in strawberry" in talk.say("/trace")
        assert "│ 17 + 25" in talk.say("/trace 1")
        assert "there is no turn 7; they are numbered 1 to 2" in talk.say("/trace 7")

    def test_retry_puts_another_answer_in_the_place_of_the_last(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say("/retry")
        assert [turn.asked.question for turn in talk.chat.turns] == [SUM]
        assert len(talk.history.turns(talk.chat.session or 0)) == 1

    def test_undo_takes_the_last_turn_back(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say(LETTERS)
        assert f"taken back: {LETTERS}" in talk.say("/undo")
        assert [turn.asked.question for turn in talk.history.turns(talk.chat.session or 0)] == [SUM]
        talk.say("/undo")
        assert "nothing was said yet" in talk.say("/undo")

    def test_an_edited_question_stands_in_the_place_of_the_old_one(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say("/edit")
        assert talk.view.draft == SUM
        talk.say(LETTERS)
        assert [turn.asked.question for turn in talk.chat.turns] == [LETTERS]

    def test_a_file_goes_along_with_the_next_message_only(self, talk: Talk, tmp_path: Path) -> None:
        (tmp_path / "my notes.txt").write_text("17 apples\n")
        assert "my notes.txt goes along with the next message: 9 characters" in talk.say(
            f"/file {tmp_path}/my notes.txt"
        )
        talk.say("How many?")
        talk.say("And now?")
        assert [[file.content for file in turn.asked.files] for turn in talk.chat.turns] == [["17 apples"], []]
        assert "cannot be read" in " ".join(talk.say(f"/file {tmp_path}/nothing").split())

    def test_copies_reach_the_terminals_clipboard(self, talk: Talk) -> None:
        talk.say(SUM)
        for command, text in (("/copy", talk.chat.turns[0].answer), ("/copy trace", talk.chat.turns[0].thinking)):
            talk.say(command)
            assert b64decode(talk.view.codes[-1][7:-1]).decode() == text
        assert "turn 1 has no code" in talk.say("/copy code")

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("temp", "0.3", "eleven"),
            ("top-p", "0.5", "0"),
            ("max-tokens", "12", "-1"),
            ("seed", "7", "x"),
            ("ctx", "512", "0"),
        ],
    )
    def test_settings_are_set_from_the_next_turn_on(self, talk: Talk, name: str, good: str, bad: str) -> None:
        assert f"{name} {good}" in talk.say(f"/set {name} {good}")
        assert f"{name} {good}" in talk.say("/set")
        assert f"{name}: {bad!r} is not" in talk.say(f"/set {name} {bad}")
        assert f"{name} {good}" in talk.say("/set")

    def test_a_context_longer_than_the_model_can_is_refused_at_once(self, talk: Talk) -> None:
        assert "ctx: 99,999 is too long; this model was trained for 2,048 tokens" in talk.say("/set ctx 99999")
        assert "ctx 1024" in talk.say("/set")

    def test_a_system_prompt_is_warned_of_once(self, talk: Talk) -> None:
        assert "R1 was not trained with a system prompt" in talk.say("/system Be brief.")
        assert "R1 was not trained" not in talk.say("/system Be very brief.")
        talk.say(SUM)
        assert talk.chat.turns[0].asked.system == "Be very brief."
        talk.say("/system off")
        assert "system prompt: none" in talk.say("/system")

    def test_the_context_says_what_takes_room(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.settle()
        printed = talk.say("/context")
        assert f"{talk.chat.tokens_used:,} of 1,024 tokens used, {1024 - talk.chat.tokens_used:,} left (trained for 2,048)" in printed
        assert f"{talk.chat.model.turn_tokens[0]:>7,}  {SUM}" in printed

    def test_trimmed_turns_leave_the_context_and_stay_in_the_history(self, talk: Talk) -> None:
        for question in (SUM, LETTERS, "What is 4711 - 815?"):
            talk.say(question)
        talk.settle()
        assert "the model no longer sees 2 turns, of 3" in talk.say("/trim 2")
        talk.settle()
        assert (len(talk.chat.prompt_turns()), len(talk.chat.turns)) == (1, 3)
        assert [turn.trimmed for turn in talk.history.turns(talk.chat.session or 0)] == [True, True, False]
        assert "nothing to leave out" in talk.say("/trim")

    def test_sessions_are_listed_loaded_and_named(self, talk: Talk) -> None:
        talk.say(SUM)
        first = talk.chat.session
        talk.say("/title Sums")
        talk.say("/clear")
        assert (talk.chat.session, talk.chat.turns) == (None, [])
        talk.say(LETTERS)
        assert talk.chat.session != first
        assert "  1 turn  Sums" in talk.say("/sessions")
        assert "17 + 25 = 42" in talk.say(f"/load {first}")
        assert talk.chat.session == first
        assert "there is no chat 99" in talk.say("/load 99")

    def test_exports_are_files_with_or_without_the_thinking(self, talk: Talk, tmp_path: Path) -> None:
        talk.say(SUM)
        talk.say(f"/export {tmp_path}/a.md")
        assert "17 + 25" in (tmp_path / "a.md").read_text()
        assert "<details>" not in (tmp_path / "a.md").read_text()
        talk.say(f"/export {tmp_path}/b.json --with-thinking")
        (turn,) = json.loads((tmp_path / "b.json").read_text())["turns"]
        assert turn["thinking"] == talk.chat.turns[0].thinking
        assert "is there already" in " ".join(talk.say(f"/export {tmp_path}/a.md").split())

    def test_statistics_are_of_the_last_turn(self, talk: Talk) -> None:
        talk.say(SUM)
        words = talk.say("/stats").split()
        assert {"prefill", "decode", "first", "memory", "resident"} <= set(words)

    def test_another_model_that_is_not_there_is_said_and_the_chat_goes_on_with_the_old_one(self, talk: Talk) -> None:
        assert "missing.gguf is not here" in talk.say("/model missing.gguf")
        assert "17 + 25 = 42" in talk.say(SUM)

    def test_quit_leaves(self, talk: Talk) -> None:
        talk.say("/quit")
        assert talk.view.left

    def test_an_unknown_command_names_the_one_that_was_meant(self, talk: Talk) -> None:
        assert "no command /exprt: did you mean /export?" in talk.say("/exprt")

    def test_a_path_is_a_message(self, talk: Talk) -> None:
        talk.say("/etc/passwd is what?")
        assert talk.chat.turns[0].asked.question == "/etc/passwd is what?"

    def test_what_changes_the_conversation_waits_for_the_reply(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.chat.submit("/undo")
        assert talk.chat.queue == ["/undo"]
        talk.until(lambda: not talk.chat.busy and not talk.chat.queue)
        assert talk.chat.turns == []

    def test_a_damaged_model_is_said_and_the_old_one_goes_on(self, talk: Talk, tiny_path: Path) -> None:
        damaged = tiny_path.with_name("damaged.gguf")
        damaged.write_bytes(b"GGUF" + bytes(100))
        try:
            talk.say("/model damaged.gguf")
            talk.until(lambda: talk.chat.model.ready is not None)
        finally:
            damaged.unlink()
        assert "damaged.gguf" in talk.view.printed
        assert "17 + 25 = 42" in talk.say(SUM)
        assert talk.chat.turns[0].asked.model == "Q8_0.gguf"

    def test_a_file_can_be_taken_back(self, talk: Talk, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a")
        talk.say(f"/file {tmp_path}/a.txt")
        talk.say("/file off")
        talk.say(SUM)
        assert talk.chat.turns[0].asked.files == ()

    def test_a_file_no_context_could_hold_is_not_even_read(self, talk: Talk, tmp_path: Path) -> None:
        with (tmp_path / "big.txt").open("wb") as file:
            file.truncate(1 << 40)
        assert "is more than this model can read" in " ".join(talk.say(f"/file {tmp_path}/big.txt").split())
        assert "no file that could be read" in " ".join(talk.say("/file /dev/zero").split())

    def test_retry_that_cannot_begin_leaves_the_old_answer(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.chat.settings = Settings(temp=0, seed=1, threads=1, ctx=16)
        talk.say("/retry")
        assert [turn.answer for turn in talk.chat.turns] == [r"\(17 + 25 = \boxed{42}\)"]
        assert len(talk.history.turns(talk.chat.session or 0)) == 1

    def test_thinking_turned_on_brings_up_what_nobody_has_seen(self, talk: Talk) -> None:
        talk.say(SUM)
        assert "│ 17 + 25" in talk.say("/think show")
        talk.say("/think hide")
        assert "│" not in talk.say("/think show")


class TestHelp:
    """A line for each command, that fits."""

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_has_every_command_and_fits(self, width: int) -> None:
        lines = help_lines(COMMANDS, Style(width, colour=False)).splitlines()
        assert all(len(line) <= width for line in lines)
        for command in COMMANDS:
            assert any(line.startswith(f"/{command.name}") for line in lines)
