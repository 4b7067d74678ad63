"""A chat in a terminal, with the built-in model: what the screen shows, every command, every key."""

from __future__ import annotations

import json
import re
import signal
from base64 import b64decode
from pathlib import Path

import pytest

from r1.history.history import History
from tests.e2e.conftest import Open
from tests.e2e.screen import Screen
from tests.fakes.chats import asked, say

WELCOME_80 = [
    "r1: no model pulled yet, so tiny answers; a real one: r1 pull qwen-1.5b",
    "r1 · tiny:Q8_0 · /help lists commands and keys",
]
STRAWBERRY = "How many r's are in strawberry?"
THREE = "The letter r appears 3 times in strawberry."
COPIED = re.compile(rb"\x1b\]52;c;([^\x07]*)\x07")
ESCAPE, TAB, UP = "\x1b", "\t", "\x1b[A"


def ctrl(letter: str) -> str:
    return chr(ord(letter) & 0x1F)


def without_speed(lines: list[str]) -> list[str]:
    """The one number that no two runs share."""
    return [re.sub(r"[0-9.]+ tok/s", "N tok/s", line) for line in lines]


@pytest.fixture
def chat(opened: Open) -> Screen:
    """A wide one, so that no sentence is broken, with its model loaded."""
    screen = opened("chat", size=(120, 60))
    screen.wait_for("context 0 used")
    return screen


@pytest.fixture
def after_strawberry(chat: Screen) -> Screen:
    """The same after one turn."""
    chat.said_after(STRAWBERRY, "thought for", THREE)
    return chat


class TestATurn:
    """Line by line, as it stands on screens of three widths."""

    def screen_after_the_turn(self, opened: Open, columns: int) -> list[str]:
        screen = opened("chat", size=(columns, 16))
        screen.wait_for("0 used")
        screen.enter(STRAWBERRY)
        # there are 90 for a moment when the thinking ends, too; a speed is there only when the reply is over
        screen.wait_for(lambda: all(part in "\n".join(screen.screen()) for part in ("90 used", "tok/s")))
        return without_speed(screen.screen())

    def test_on_40_columns(self, opened: Open) -> None:
        assert self.screen_after_the_turn(opened, 40) == [
            "r1: no model pulled yet, so tiny answers",
            "; a real one: r1 pull qwen-1.5b",
            "r1 · tiny:Q8_0 · /help lists commands",
            "and keys",
            "",
            "> How many r's are in strawberry?",
            "",
            "thought for 0 s · 54 tokens",
            "",
            "The letter r appears 3 times in",
            "strawberry.",
            "",
            ">",
            "tiny:Q8_0 · 90 used, 2.0k left",
            "thinking hidden · N tok/s",
            "",
        ]

    @pytest.mark.parametrize("columns", [80, 200])
    def test_on_80_and_200_columns(self, opened: Open, columns: int) -> None:
        assert self.screen_after_the_turn(opened, columns) == [
            *WELCOME_80,
            "",
            "> How many r's are in strawberry?",
            "",
            "thought for 0 s · 54 tokens",
            "",
            "The letter r appears 3 times in strawberry.",
            "",
            ">",
            "tiny:Q8_0 · context 90 used, 1,958 left · thinking hidden · N tok/s",
            *[""] * 5,
        ]

    def test_a_trace_that_is_shown_has_a_bar_and_stands_above_the_answer(self, opened: Open) -> None:
        screen = opened("chat", "--thinking", "show", size=(80, 20))
        screen.wait_for("0 used")
        screen.enter("What is 57 - 900?")
        screen.wait_for("thinking shown ·")
        screen.settle()
        assert screen.screen()[3:16] == [
            "> What is 57 - 900?",
            "",
            "│ 057 - 900",
            "│ 0<9 so 900 - 057",
            "│ 10-7-0=3",
            "│ 10-5-1=4",
            "│ 09-0-1=8",
            "│ = -843",
            "thought for 0 s · 59 tokens",
            "",
            "57 - 900 = -843",
            "",
            ">",
        ]


class TestCommandsBeforeTheFirstQuestion:
    """One line each that says what is missing."""

    def test_those_that_need_a_turn(self, chat: Screen) -> None:
        for command in ("/trace", "/retry", "/undo", "/edit", "/copy", "/copy trace", "/export out.md"):
            assert chat.said_after(command) == "nothing was said yet"
        assert chat.said_after("/title x") == "nothing was said yet; a title comes after the first question"
        assert chat.said_after("/trim") == "there is nothing to leave out but the last turn; /clear begins anew"

    def test_those_that_need_none(self, chat: Screen) -> None:
        assert chat.said_after("/sessions") == "no chats yet"
        assert chat.said_after("/context") == "0 of 2,048 tokens used, 2,048 left (trained for 2,048)"
        said = r"memory       [0-9.]+ MB resident\nplan         2,048 tokens of context in an F16 cache: .* free memory"
        assert re.fullmatch(said, chat.said_after("/stats"))
        assert chat.said_after("/clear") == "a new chat"


class TestThinking:
    """/think and /trace."""

    def test_it_is_shown_from_the_next_turn_on_and_hidden_again(self, chat: Screen) -> None:
        assert chat.said_after("/think show") == "thinking is shown"
        chat.wait_for("thinking shown")
        assert chat.said_after("hello", "built into r1").startswith("│ A greeting.\nthought for 0 s · 13 tokens\n")
        assert chat.said_after("/think hide") == "thinking is hidden; /trace brings it up"
        assert chat.said_after("hello", "built into r1").startswith("thought for 0 s · 13 tokens\n")

    @pytest.mark.parametrize("command", ["/think", "/think maybe"])
    def test_it_says_what_it_takes(self, chat: Screen, command: str) -> None:
        assert chat.said_after(command) == "/think show, or /think hide"

    def test_a_trace_is_brought_up_by_number_or_the_last_one(self, after_strawberry: Screen) -> None:
        after_strawberry.said_after("hello", "built into r1")
        after_strawberry.settle()
        assert after_strawberry.said_after("/trace", "turn") == "│ A greeting.\nthe thinking of turn 2"
        assert after_strawberry.said_after("/trace 1", "turn") == (
            "│ Count r in strawberry:\n│ s0 t0 r1 a1 w1 b1 e1 r2 r3 y3\nthe thinking of turn 1"
        )
        for number in ("0", "3", "x"):
            assert after_strawberry.said_after(f"/trace {number}") == (
                f"there is no turn {number}; they are numbered 1 to 2"
            )


class TestAskingAgain:
    """/retry, /undo, /edit."""

    def test_a_retry_stands_in_place_of_the_last_turn(self, after_strawberry: Screen) -> None:
        assert after_strawberry.said_after("/retry", THREE) == f"thought for 0 s · 54 tokens\n\n{THREE}"
        assert after_strawberry.said_after("/context").splitlines()[1:] == [f"    1       90  {STRAWBERRY}"]

    def test_what_was_taken_back_takes_no_room(self, after_strawberry: Screen) -> None:
        assert after_strawberry.said_after("/undo") == f"taken back: {STRAWBERRY}"
        after_strawberry.wait_for("context 0 used")
        assert after_strawberry.said_after("/undo") == "nothing was said yet"

    def test_an_edited_question_stands_in_place_of_the_old_one(self, after_strawberry: Screen) -> None:
        after_strawberry.enter("/edit")
        after_strawberry.wait_for(lambda: after_strawberry.draft().startswith(f"> {STRAWBERRY}\n"))
        after_strawberry.type("\x7f" * len("strawberry?") + "raspberry?")
        after_strawberry.wait_for(lambda: "raspberry?" in after_strawberry.draft())
        after_strawberry.type("\r")
        after_strawberry.wait_for("times in raspberry.")
        after_strawberry.settle()
        listed = after_strawberry.said_after("/context").splitlines()[1:]
        assert [line.split(maxsplit=2)[2] for line in listed] == ["How many r's are in raspberry?"]

    def test_an_edit_that_is_put_away_changes_nothing(self, after_strawberry: Screen) -> None:
        after_strawberry.enter("/edit")
        after_strawberry.wait_for(lambda: after_strawberry.draft().startswith(f"> {STRAWBERRY}\n"))
        after_strawberry.type(ctrl("C"))
        after_strawberry.wait_for("put away")
        after_strawberry.said_after("hello", "built into r1")
        after_strawberry.settle()
        assert len(after_strawberry.said_after("/context").splitlines()) == 3


class TestFiles:
    """/file, and what goes along."""

    def test_a_file_goes_along_with_the_next_message_alone(self, chat: Screen, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("What is 57 - 900?\n", encoding="utf-8")
        waiting = "\n\nwith notes.txt"
        assert chat.said_after("/file notes.txt", waiting) == (
            f"notes.txt goes along with the next message: 17 characters{waiting}"
        )
        assert chat.said_after("/title") == f"/title TEXT{waiting}"  # a command takes no file along
        chat.said_after("and this?", "thought for")
        chat.settle()
        assert "\n> and this?\n  with notes.txt\n\nthought for" in chat.everything()
        assert "\nwith notes.txt\n>" not in "\n".join(chat.screen())

    def test_what_cannot_be_attached_is_one_line(self, chat: Screen, tmp_path: Path) -> None:
        (tmp_path / "picture.png").write_bytes(b"\x89PNG")
        assert chat.said_after("/file") == "/file PATH, for example /file notes.txt; /file off takes them back"
        assert chat.said_after("/file nowhere") == "nowhere: cannot be read (No such file or directory)"
        assert chat.said_after("/file .") == ".: no file that could be read to its end"
        assert chat.said_after("/file picture.png") == (
            "picture.png is not UTF-8: byte 0x89 at position 0; convert it first, for example with iconv"
        )


class TestCopying:
    """/copy: by OSC 52, which works over SSH too."""

    def copied(self, screen: Screen) -> list[str]:
        return [b64decode(text).decode() for text in COPIED.findall(screen.raw)]

    def test_the_answer_and_the_thinking_are_copied_as_they_were_written(self, after_strawberry: Screen) -> None:
        assert after_strawberry.said_after("/copy") == "copied: the answer of turn 1, 55 characters"
        assert after_strawberry.said_after("/copy trace") == "copied: the thinking of turn 1, 52 characters"
        assert self.copied(after_strawberry) == [
            "The letter r appears \\(\\boxed{3}\\) times in strawberry.",
            "Count r in strawberry:\ns0 t0 r1 a1 w1 b1 e1 r2 r3 y3",
        ]

    def test_code_is_copied_by_number(self, opened: Open, own_home: Path) -> None:
        with History.open(own_home / "history.db") as history:
            say(history, None, "Code?", "One:\n\n```python\nprint('é')\n```\n\nTwo:\n\n```\nls\nls -l\n```\n")
        chat = opened("chat", "--continue", size=(120, 40))
        chat.wait_for("used")
        assert chat.said_after("/copy code") == "copied: code block 1 of turn 1, 10 characters"
        assert chat.said_after("/copy code 2") == "copied: code block 2 of turn 1, 8 characters"
        assert self.copied(chat) == ["print('é')", "ls\nls -l"]
        for number in ("0", "3", "x"):
            assert chat.said_after(f"/copy code {number}") == f"'{number}' is not a number from 1 to 2"

    def test_where_there_is_nothing_to_copy_it_says_so(self, after_strawberry: Screen) -> None:
        assert after_strawberry.said_after("/copy code 1") == "turn 1 has no code"
        assert after_strawberry.said_after("/copy all") == "/copy, /copy code N, or /copy trace"
        assert self.copied(after_strawberry) == []


class TestTheModelAndItsSettings:
    """/model, /set, /system."""

    def test_a_model_is_named_changed_and_missed(self, chat: Screen) -> None:
        assert chat.said_after("/model") == "this is tiny:Q8_0; /model NAME goes on with another: tiny:Q8_0"
        assert chat.said_after("/model nope") == (
            "no model is called 'nope'; known are qwen-1.5b, qwen-7b, qwen-14b, qwen-32b, llama-8b, llama-70b, tiny"
        )
        chat.wait_for("tiny:Q8_0 · context 0 used")  # the one that was loaded stays
        assert THREE in chat.said_after(STRAWBERRY, THREE)
        chat.said_after("/clear")
        chat.enter("/model tiny")
        chat.wait_for("tiny:Q8_0 · context 0 used")
        assert THREE in chat.said_after("how many r's are in strawberry?", THREE)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("temp 0.5", "temp 0.5"),
            ("temp 11", "temp: '11' is not a number from 0 to 10 (0: always the likeliest token)"),
            ("temp warm", "temp: 'warm' is not a number from 0 to 10 (0: always the likeliest token)"),
            ("top-p 0.5", "top-p 0.5"),
            ("top-p 0", "top-p: '0' is not a number above 0 and at most 1"),
            ("max-tokens 5", "max-tokens 5"),
            ("max-tokens 0", "max-tokens: '0' is not a whole number from 1 to 1073741824"),
            ("max-tokens auto", "max-tokens 32768"),
            ("seed 7", "seed 7"),
            ("seed -1", "seed: '-1' is not a whole number from 0 to 4294967294"),
            ("seed random", "seed random"),
            ("ctx 512", "ctx 512"),
            ("ctx 9999999", "ctx: 9,999,999 is too long; this model was trained for 2,048 tokens"),
            ("ctx 0", "ctx: '0' is not a whole number from 1 to 1073741824"),
            ("ctx auto", "ctx auto"),
            ("temp", "/set temp|top-p|max-tokens|seed|ctx VALUE (or default), for example /set temp 0.5"),
            ("colour 1", "/set temp|top-p|max-tokens|seed|ctx VALUE (or default), for example /set temp 0.5"),
            ("", "temp 0.0, top-p 0.95, max-tokens 32768, seed random, ctx auto (2,048)"),
        ],
    )
    def test_each_setting_takes_what_it_can_and_refuses_the_rest(self, settings: Screen, given: str, said: str) -> None:
        assert settings.said_after(f"/set {given}".rstrip()) == said

    @pytest.fixture
    def settings(self, chat: Screen) -> Screen:
        return chat

    def test_settings_hold_from_the_next_turn_on(self, chat: Screen) -> None:
        chat.said_after("/set max-tokens 5")
        assert chat.said_after(STRAWBERRY, "/retry") == (
            "thought for 0 s · 5 tokens\n\n"
            "there is no answer yet: the limit of 5 tokens was reached (/set max-tokens N, /retry)"
        )
        chat.said_after("/set max-tokens auto")
        chat.said_after("/set ctx 512")
        chat.wait_for("left · thinking")
        assert chat.said_after("/retry", THREE)
        chat.wait_for("context 90 used, 422 left")

    def test_a_system_prompt_is_set_with_one_warning_and_taken_away(self, chat: Screen) -> None:
        assert chat.said_after("/system") == "system prompt: none, as DeepSeek advises"
        assert chat.said_after("/system Be brief.", "takes it away") == (
            "R1 was not trained with a system prompt; instructions belong in the message itself\n\n"
            "system prompt set; /system off takes it away"
        )
        assert chat.said_after("/system Be short.") == "system prompt set; /system off takes it away"
        assert chat.said_after("/system") == "system prompt: Be short."
        assert chat.said_after("/system off") == "no system prompt"
        assert chat.said_after("/system") == "system prompt: none, as DeepSeek advises"


class TestNumbers:
    """/stats, /context, /trim."""

    def test_the_last_turn_is_measured(self, after_strawberry: Screen) -> None:
        assert re.fullmatch(
            r"prefill      [0-9.]+ tok/s\n"
            r"decode       [0-9.]+ tok/s\n"
            r"first token  0\.[0-9]{2} s\n"
            r"whole turn   0\.[0-9] s, 54 thinking \+ 56 answer tokens\n"
            r"memory       [0-9.]+ MB resident\n"
            r"plan         2,048 tokens of context in an F16 cache: .* free memory",
            after_strawberry.said_after("/stats"),
        )

    def test_the_context_is_listed_turn_by_turn_and_trimmed(self, after_strawberry: Screen) -> None:
        after_strawberry.said_after("hello", "built into r1")
        after_strawberry.settle()
        assert after_strawberry.said_after("/context") == (
            "246 of 2,048 tokens used, 1,802 left (trained for 2,048)\n"
            "    1       90  How many r's are in strawberry?\n"
            "    2      156  hello"
        )
        assert after_strawberry.said_after("/trim 2") == "'2' is not a number from 1 to 1"
        assert after_strawberry.said_after("/trim") == (
            "the model no longer sees 1 turn, of 2; the history keeps everything"
        )
        after_strawberry.wait_for("context 157 used")
        assert after_strawberry.said_after("/context") == (
            "157 of 2,048 tokens used, 1,891 left (trained for 2,048)\n"
            "    2      157  hello\n"
            "  without 1 turn (/trim, or no answer)"
        )


class TestSessions:
    """/sessions, /load, /title, /clear, /export."""

    def test_a_chat_is_named_left_and_taken_up_again(self, after_strawberry: Screen) -> None:
        chat = after_strawberry
        assert chat.said_after("/title Berries") == "this chat is now called: Berries"
        assert chat.said_after("/title") == "/title TEXT"
        assert chat.said_after("/clear") == "a new chat"
        chat.wait_for("context 0 used")
        chat.said_after("hello", "built into r1")
        chat.settle()
        when = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}"
        assert re.fullmatch(
            rf"    2  {when}    1 turn  hello\n    1  {when}    1 turn  Berries\n/load ID takes one up",
            chat.said_after("/sessions"),
        )
        assert chat.said_after("/load 1", THREE) == f"> {STRAWBERRY}\n\nthought for 0 s · 54 tokens\n\n{THREE}"
        chat.wait_for("context 90 used")

    def test_a_chat_that_is_not_there_is_one_line(self, chat: Screen) -> None:
        assert chat.said_after("/load") == "/load ID; /sessions lists them"
        assert chat.said_after("/load 7") == "there is no chat 7; r1 history lists them"
        assert chat.said_after("/load x") == "'x' is no number of a chat; r1 history lists them"

    def test_a_chat_is_exported_with_its_thinking_only_when_that_is_asked_for(
        self, after_strawberry: Screen, tmp_path: Path
    ) -> None:
        chat = after_strawberry
        trace = "Count r in strawberry:\ns0 t0 r1 a1 w1 b1 e1 r2 r3 y3"
        answer = "The letter r appears \\(\\boxed{3}\\) times in strawberry."
        for name in ("a.md", "b.json"):
            assert chat.said_after(f"/export {name}") == f"written: {name}"
            assert chat.said_after(f"/export full-{name} --with-thinking") == f"written: full-{name}"
        plain, full = ((tmp_path / name).read_text(encoding="utf-8") for name in ("a.md", "full-a.md"))
        assert plain.endswith(f"## R1\n\n{answer}\n")
        assert "Count r" not in plain
        assert f"\n{trace}\n```\n" in full
        plain_turn, full_turn = (
            json.loads((tmp_path / name).read_text(encoding="utf-8"))["turns"][0] for name in ("b.json", "full-b.json")
        )
        assert (plain_turn["question"], plain_turn["answer"]) == (STRAWBERRY, answer)
        assert "thinking" not in plain_turn
        assert full_turn == {**plain_turn, "thinking": trace}

    def test_an_export_that_cannot_be_is_one_line(self, after_strawberry: Screen, tmp_path: Path) -> None:
        (tmp_path / "there.md").write_text("mine", encoding="utf-8")
        usage = "/export FILE.md or /export FILE.json, with --with-thinking for the traces"
        assert after_strawberry.said_after("/export") == usage
        assert after_strawberry.said_after("/export --with-thinking") == usage
        assert after_strawberry.said_after("/export out.txt") == (
            "out.txt: a chat becomes a .md or a .json; name the file so"
        )
        assert after_strawberry.said_after("/export there.md") == "there.md is there already; name another"
        assert (tmp_path / "there.md").read_text(encoding="utf-8") == "mine"
        assert "no/where.md" in after_strawberry.said_after("/export no/where.md")


class TestHelpAndTheRest:
    """/help, /quit, and what is no command."""

    @pytest.mark.parametrize("columns", [40, 80, 120])
    def test_help_has_a_line_for_every_command_and_no_line_is_broken(self, opened: Open, columns: int) -> None:
        chat = opened("chat", size=(columns, 90))
        chat.wait_for("0 used")
        said = chat.said_after("/help", "ctrl-d")
        words = " ".join(said.split())
        for usage in ("/think show|hide show the thinking", "/copy [code N|trace] copy the last", "ctrl-d leave"):
            assert usage in words
        assert "thinking" in words.split()
        assert "place" in words.split()

    def test_quit_leaves(self, chat: Screen) -> None:
        chat.enter("/quit")
        assert chat.status == 0
        assert chat.is_given_back

    def test_an_unknown_command_is_not_sent(self, chat: Screen) -> None:
        way_out = "(a space before it makes it a message)"
        assert chat.said_after("/hel") == f"no command /hel: did you mean /help? {way_out}"
        assert chat.said_after("/xyzzy") == f"no command /xyzzy: /help lists them {way_out}"

    @pytest.mark.parametrize("message", ["/etc/passwd", " /help", "/Users", "/2"])
    def test_what_only_looks_like_a_command_is_a_message(self, chat: Screen, message: str) -> None:
        assert chat.said_after(message, "qwen-1.5b").startswith("thought for")


class TestTypingKeys:
    """What goes into a message, and what sends it."""

    @pytest.mark.parametrize("newline", ["\x1b\r", "\n"], ids=["alt-enter", "ctrl-j"])
    def test_a_new_line_does_not_send(self, chat: Screen, newline: str) -> None:
        chat.type("hello")
        chat.type(newline)
        chat.type("you")
        chat.wait_for(lambda: chat.draft().startswith("> hello\n  you\n"))
        chat.type("\r")
        chat.wait_for("thought for")
        assert "\n> hello\n  you\n\nthought for" in chat.everything()

    @pytest.mark.parametrize("line_end", ["\r", "\n", "\r\n"], ids=repr)
    def test_a_bracketed_paste_is_one_message(self, chat: Screen, line_end: str) -> None:
        chat.type(f"\x1b[200~one{line_end}{line_end}  two{line_end}three\x1b[201~")
        chat.wait_for(lambda: chat.draft().startswith("> one\n\n    two\n  three\n"))
        chat.type("\r")
        chat.wait_for("thought for")
        assert "\n> one\n\n    two\n  three\n\nthought for" in chat.everything()

    def test_a_paste_in_one_write_is_one_message_too(self, chat: Screen) -> None:
        chat.type("one\rtwo\rthree")
        chat.wait_for(lambda: chat.draft().startswith("> one\n  two\n  three\n"))
        chat.type("\r")
        chat.wait_for("thought for")
        assert "\n> one\n  two\n  three\n\nthought for" in chat.everything()

    def test_up_brings_back_what_was_typed_in_this_run_and_before(self, chat: Screen, opened: Open) -> None:
        chat.said_after("hello", "built into r1")
        chat.settle()
        chat.said_after("/context", "trained")
        chat.type(UP)
        chat.wait_for(lambda: chat.draft().startswith("> /context\n"))
        chat.type(UP)
        chat.wait_for(lambda: chat.draft().startswith("> hello\n"))
        chat.type(ctrl("C"))
        chat.wait_for("put away")
        chat.type(ctrl("D"))
        assert chat.status == 0
        again = opened("chat")
        again.wait_for("0 used")
        for expected in ("hello", "/context"):
            again.type(UP)
            again.wait_for(lambda line=expected: again.draft().startswith(f"> {line}\n"))

    def test_ctrl_r_finds_what_was_typed_in_this_run_and_before(self, chat: Screen, opened: Open) -> None:
        chat.said_after(STRAWBERRY, THREE)
        chat.said_after("hello", "built into r1")
        chat.settle()
        self.find_strawberry(chat)
        chat.type(ctrl("C"))
        chat.type(ctrl("D"))
        assert chat.status == 0
        again = opened("chat", size=(120, 60))
        again.wait_for("0 used")
        self.find_strawberry(again)

    def find_strawberry(self, screen: Screen) -> None:
        screen.type(ctrl("R"))
        screen.type("straw")
        screen.wait_for(lambda: screen.draft().startswith(f"> {STRAWBERRY}\n"))
        screen.type("\r")  # takes what was found, and does not send it
        screen.settle()
        assert screen.draft().startswith(f"> {STRAWBERRY}\n")

    @pytest.mark.parametrize("variable", ["EDITOR", "VISUAL"])
    def test_an_editor_writes_the_message(self, opened: Open, tmp_path: Path, variable: str) -> None:
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\ncat "$1" > was.txt\nprintf "What is 2 + 2?\\nSay." > "$1"\n', encoding="utf-8")
        editor.chmod(0o755)
        chat = opened("chat", **{"EDITOR": "", "VISUAL": "", variable: str(editor)})
        chat.wait_for("0 used")
        chat.type("a draft")
        chat.wait_for(lambda: chat.draft().startswith("> a draft\n"))
        chat.type(ctrl("X") + ctrl("E"))
        chat.wait_for(lambda: chat.draft().startswith("> What is 2 + 2?\n  Say.\n"))
        assert (tmp_path / "was.txt").read_text(encoding="utf-8") == "a draft"
        chat.type("\r")
        chat.wait_for("thought for")

    def test_vi_keys_move_and_change(self, opened: Open) -> None:
        chat = opened("chat", R1_KEYS="vi")
        chat.wait_for("0 used")
        chat.type("xhello you")
        chat.wait_for(lambda: chat.draft().startswith("> xhello you\n"))
        chat.type(ESCAPE)
        chat.settle()
        chat.type("0x$")
        chat.wait_for(lambda: chat.draft().startswith("> hello you\n"))
        chat.type("a there")
        chat.wait_for(lambda: chat.draft().startswith("> hello you there\n"))
        chat.type("\r")
        chat.wait_for("thought for")
        assert "\n> hello you there\n" in chat.everything()


class TestTab:
    """What is offered, and taken."""

    @pytest.mark.parametrize(
        ("begun", "whole"),
        [
            ("/tra", "/trace"),
            ("/model t", "/model tiny:Q8_0"),
            ("/set to", "/set top-p"),
            ("/file no", "/file notes.txt"),
        ],
    )
    def test_what_was_begun_is_made_whole(self, chat: Screen, tmp_path: Path, begun: str, whole: str) -> None:
        (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
        chat.type(begun)
        chat.wait_for(lambda: chat.draft().startswith(f"> {begun}"))
        chat.type(TAB)
        chat.wait_for(lambda: chat.draft().split("\n")[0].strip() == f"> {whole}")

    def test_commands_are_offered_while_they_are_typed_with_what_they_do(self, chat: Screen) -> None:
        chat.type("/tr")
        chat.wait_for("the thinking of the last turn, or of turn N")
        chat.wait_for("leave the N oldest turns out")

    def test_a_message_is_left_alone(self, chat: Screen) -> None:
        chat.type("no")
        chat.type(TAB)
        chat.settle()
        assert chat.draft().split("\n")[0].strip() == "> no"


class TestLeaving:
    """The terminal is what it was before."""

    def test_a_draft_is_put_away_and_can_be_had_back(self, chat: Screen) -> None:
        chat.type("half a thought")
        chat.wait_for(lambda: chat.draft().startswith("> half"))
        chat.type(ctrl("C"))
        chat.wait_for("put away; up brings it back")
        assert chat.draft().startswith(">\n")
        chat.type(UP)
        chat.wait_for(lambda: chat.draft().startswith("> half a thought\n"))

    def test_ctrl_c_at_an_empty_draft_says_how_to_leave_and_ctrl_d_does(self, chat: Screen) -> None:
        chat.type(ctrl("C"))
        chat.wait_for("ctrl-d leaves")
        chat.type(ctrl("D"))
        assert chat.status == 0
        assert chat.is_given_back

    def test_ctrl_d_in_a_draft_does_not_leave(self, chat: Screen) -> None:
        chat.type("ab")
        chat.type(ctrl("D"))
        chat.settle()
        assert chat.running
        assert chat.draft().startswith("> ab\n")

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["term", "hup"])
    def test_a_signal_gives_the_terminal_back(
        self, after_strawberry: Screen, number: signal.Signals, status: int
    ) -> None:
        after_strawberry.type("a draft")
        after_strawberry.wait_for("a draft")
        after_strawberry.kill(number)
        assert after_strawberry.status == status
        assert after_strawberry.is_given_back
        assert "Traceback" not in after_strawberry.everything()

    def test_a_closed_window_ends_the_chat(self, after_strawberry: Screen, own_home: Path) -> None:
        after_strawberry.close()
        assert after_strawberry.status in {0, 129}
        with History.open(own_home / "history.db") as history:
            assert [turn.finish_reason for turn in history.turns(1)] == ["stop"]


def test_the_session_of_another_chat_is_taken_up_by_its_number(opened: Open, own_home: Path) -> None:
    with History.open(own_home / "history.db") as history:
        say(history, None, asked("Does wood float?"), "Yes.")
        say(history, None, asked("Cut off?"), "It w", reason=None)
    first = opened("chat", "--session", "1")
    first.wait_for("used")
    assert "\n> Does wood float?\n\nthought for 1 s · 22 tokens\n\nYes.\n\n>" in "\n".join(first.screen())
    latest = opened("chat", "--continue")
    latest.wait_for("this reply was cut off when the program ended (/retry asks again)")
