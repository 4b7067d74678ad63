"""The chat in a terminal, with the built-in model: what each command prints."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path

import pytest

from r1.history.history import History
from tests.e2e.chat.conftest import STRAWBERRY, THREE, without_seconds
from tests.e2e.screen import Open, Screen
from tests.fakes.chats import asked, say

COPIED = re.compile(rb"\x1b\]52;c;([^\x07]*)\x07")
RAW_THREE = "The letter r appears \\(\\boxed{3}\\) times in strawberry."
TRACE = "Count r in strawberry:\ns0 t0 r1 a1 w1 b1 e1 r2 r3 y3"
GREETED = "built into r1"
USAGE_SET = (
    "usage: /set temp|top-p|max-tokens|reserve|seed|ctx|loop-guard|speculate VALUE (or default), "
    "for example /set temp 0.5"
)


def copied(screen: Screen) -> list[str]:
    """Everything that was sent to the terminal's clipboard."""
    return [b64decode(text).decode() for text in COPIED.findall(screen.raw)]


class TestBeforeTheFirstQuestion:
    """One line says what is missing."""

    def test_commands_that_need_a_turn(self, shared: Screen) -> None:
        for command in ("/trace", "/retry", "/undo", "/edit", "/copy", "/copy trace", "/trim", "/export out.md"):
            assert shared.said_after(command) == "this chat has no question yet"
        assert shared.said_after("/title x") == "this chat has no question yet; ask one, then name it"

    def test_commands_that_need_none(self, shared: Screen) -> None:
        assert shared.said_after("/history") == "no chats yet"
        context = "0 of 2,048 tokens used, 2,048 left (the model was trained for 2,048)"
        assert shared.said_after("/context") == context
        stats = (
            r"memory       [0-9.]+ MB resident\nplan         2,048 tokens of context in an F16 cache: .* free memory"
        )
        assert re.fullmatch(stats, shared.said_after("/stats"))
        settings = (
            "temp 0.0, top-p 0.95, max-tokens 32768, reserve auto, seed random, ctx auto (2,048), loop-guard on, "
            "speculate auto"
        )
        assert shared.said_after("/set") == settings
        assert shared.said_after("/clear") == "new chat"

    @pytest.mark.parametrize("command", ["/think", "/think maybe"])
    def test_think_needs_show_or_hide(self, shared: Screen, command: str) -> None:
        assert shared.said_after(command) == "usage: /think show or /think hide"

    def test_chats_that_do_not_exist(self, shared: Screen) -> None:
        assert shared.said_after("/load") == "usage: /load ID; /history lists the chats"
        assert shared.said_after("/load 7") == "no chat 7; /history lists the chats"
        assert shared.said_after("/load x") == "'x' is not a chat number; /history lists the chats"

    def test_files_that_cannot_be_attached(self, shared: Screen, shared_folder: Path) -> None:
        (shared_folder / "picture.png").write_bytes(b"\x89PNG")
        usage = "usage: /file PATH, for example /file notes.txt; /file off removes all"
        assert shared.said_after("/file") == usage
        assert shared.said_after("/file nowhere") == "nowhere: cannot be read (No such file or directory)"
        assert shared.said_after("/file .") == ".: not a regular file"
        assert shared.said_after("/file picture.png") == (
            "picture.png is not UTF-8: byte 0x89 at position 0; convert it first, for example with iconv"
        )

    def test_an_unknown_command_is_not_sent(self, shared: Screen) -> None:
        way_out = "(start with a space to send it as a message)"
        assert shared.said_after("/hel") == f"unknown command /hel; did you mean /help? {way_out}"
        assert shared.said_after("/xyzzy") == f"unknown command /xyzzy; /help lists the commands {way_out}"


class TestThinking:
    """/think and /trace."""

    def test_it_is_shown_from_the_next_turn_on_and_hidden_again(self, chat: Screen) -> None:
        assert chat.said_after("/think show") == "thinking shown"
        chat.wait_for("thinking shown")
        assert without_seconds(chat.said_after("hello", GREETED)).startswith(
            "│ A greeting.\nthought for 0 s · 13 tokens\n"
        )
        assert chat.said_after("/think hide") == "thinking hidden; /trace shows it"
        assert without_seconds(chat.said_after("hello", GREETED)).startswith("thought for 0 s · 13 tokens\n")

    def test_trace_shows_the_last_turn_or_any_other(self, after_strawberry: Screen) -> None:
        after_strawberry.said_after("hello", GREETED)
        after_strawberry.wait_for("context 246 used")
        assert after_strawberry.said_after("/trace", "turn") == "│ A greeting.\nthinking of turn 2"
        assert after_strawberry.said_after("/trace 1", "turn") == (
            "│ Count r in strawberry:\n│ s0 t0 r1 a1 w1 b1 e1 r2 r3 y3\nthinking of turn 1"
        )
        for number in ("0", "3", "x"):
            assert after_strawberry.said_after(f"/trace {number}") == f"no turn {number}; this chat has turns 1 to 2"


class TestAskingAgain:
    """/retry, /undo, /edit."""

    def test_a_retry_replaces_the_last_turn(self, after_strawberry: Screen) -> None:
        assert (
            without_seconds(after_strawberry.said_after("/retry", THREE)) == f"thought for 0 s · 54 tokens\n\n{THREE}"
        )
        after_strawberry.wait_for("context 90 used")
        assert after_strawberry.said_after("/context").splitlines()[1:] == [f"    1       90  {STRAWBERRY}"]

    def test_a_removed_turn_takes_no_context(self, after_strawberry: Screen) -> None:
        assert after_strawberry.said_after("/undo") == f"removed: {STRAWBERRY}"
        after_strawberry.wait_for("context 0 used")
        assert after_strawberry.said_after("/undo") == "this chat has no question yet"

    def test_an_edited_question_replaces_the_old_one(self, after_strawberry: Screen) -> None:
        after_strawberry.enter("/edit")
        after_strawberry.wait_for(lambda: after_strawberry.draft().startswith(f"> {STRAWBERRY}\n"))
        after_strawberry.wait_for("replaces turn 1")
        after_strawberry.type("\x7f" * len("strawberry?") + "raspberry?")
        after_strawberry.wait_for(lambda: "raspberry?" in after_strawberry.draft())
        after_strawberry.type("\r")
        after_strawberry.wait_for("times in raspberry.")
        after_strawberry.settle()
        listed = after_strawberry.said_after("/context").splitlines()[1:]
        assert [line.split(maxsplit=2)[2] for line in listed] == ["How many r's are in raspberry?"]

    @pytest.mark.parametrize(
        ("end", "said"),
        [("\x03", "draft saved; press Up to restore it"), ("\x7f" * len(STRAWBERRY), "")],
        ids=["ctrl-c", "backspace"],
    )
    def test_an_edit_that_is_given_up_changes_nothing(self, after_strawberry: Screen, end: str, said: str) -> None:
        after_strawberry.enter("/edit")
        after_strawberry.wait_for(lambda: after_strawberry.draft().startswith(f"> {STRAWBERRY}\n"))
        after_strawberry.type(end)
        after_strawberry.wait_for(said)
        after_strawberry.wait_for(lambda: after_strawberry.draft().startswith(">\n"))
        after_strawberry.wait_for(lambda: "replaces turn" not in "\n".join(after_strawberry.screen()))
        after_strawberry.said_after("hello", GREETED)
        after_strawberry.wait_for("context 246 used")
        assert len(after_strawberry.said_after("/context").splitlines()) == 3


class TestFiles:
    """/file, and the message it is attached to."""

    def test_a_file_is_attached_to_the_next_message_only(self, chat: Screen, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("What is 57 - 900?\n", encoding="utf-8")
        pending = "\n\nattached: notes.txt"
        assert chat.said_after("/file notes.txt", pending) == (
            f"notes.txt will be attached to the next message (17 characters){pending}"
        )
        assert chat.said_after("/title", "usage") == f"usage: /title TEXT{pending}"  # commands leave it attached
        chat.said_after("and this?", "thought for")
        chat.wait_for(lambda: "\nattached: notes.txt\n>" not in "\n".join(chat.screen()))
        assert "\n> and this?\n  attached: notes.txt\n\nthought for" in chat.everything()


class TestAfterATurn:
    """Commands that look at a turn and leave it as it is."""

    def test_copy_copies_answer_and_thinking_unchanged(self, shared_after_strawberry: Screen) -> None:
        """By OSC 52, which works over SSH too."""
        before = len(copied(shared_after_strawberry))
        assert shared_after_strawberry.said_after("/copy") == "copied: answer of turn 1 (55 characters)"
        assert shared_after_strawberry.said_after("/copy trace") == "copied: thinking of turn 1 (52 characters)"
        assert copied(shared_after_strawberry)[before:] == [RAW_THREE, TRACE]

    def test_copy_says_if_there_is_nothing_to_copy(self, shared_after_strawberry: Screen) -> None:
        before = len(copied(shared_after_strawberry))
        assert shared_after_strawberry.said_after("/copy code 1") == "turn 1 has no code block"
        assert shared_after_strawberry.said_after("/copy all") == "usage: /copy, /copy code N, or /copy trace"
        assert len(copied(shared_after_strawberry)) == before

    def test_stats_measure_the_last_turn(self, shared_after_strawberry: Screen) -> None:
        assert re.fullmatch(
            r"prefill      [0-9.]+ tok/s\n"
            r"decode       [0-9.]+ tok/s\n"
            r"first token  ([0-9]+\.[0-9]{2} s|[0-9]+ ms)\n"
            r"total        [0-9]+\.[0-9] s, 54 thinking \+ 56 answer tokens\n"
            r"drafts       .*\n"
            r"memory       [0-9.]+ MB resident\n"
            r"plan         2,048 tokens of context in an F16 cache: .* free memory",
            shared_after_strawberry.said_after("/stats"),
        )

    def test_an_export_has_the_thinking_only_if_requested(
        self, shared_after_strawberry: Screen, shared_folder: Path
    ) -> None:
        for name in ("a.md", "b.json"):
            assert shared_after_strawberry.said_after(f"/export {name}") == f"written to {name}"
            full = f"full-{name}"
            assert shared_after_strawberry.said_after(f"/export {full} --with-thinking") == f"written to {full}"
        plain, full = ((shared_folder / name).read_text(encoding="utf-8") for name in ("a.md", "full-a.md"))
        assert plain.endswith(f"## R1\n\n{RAW_THREE}\n")
        assert "Count r" not in plain
        assert f"\n{TRACE}\n```\n" in full
        plain_turn, full_turn = (
            json.loads((shared_folder / name).read_text(encoding="utf-8"))["turns"][0]
            for name in ("b.json", "full-b.json")
        )
        assert (plain_turn["question"], plain_turn["answer"]) == (STRAWBERRY, RAW_THREE)
        assert "thinking" not in plain_turn
        assert full_turn == {**plain_turn, "thinking": TRACE}

    def test_an_export_that_cannot_be_written(self, shared_after_strawberry: Screen, shared_folder: Path) -> None:
        chat = shared_after_strawberry
        (shared_folder / "there.md").write_text("mine", encoding="utf-8")
        usage = "usage: /export FILE.md or /export FILE.json, with --with-thinking for the thinking too"
        assert chat.said_after("/export") == usage
        assert chat.said_after("/export --with-thinking") == usage
        assert chat.said_after("/export out.txt") == "out.txt: export only to .md or .json"
        assert chat.said_after("/export there.md") == "there.md already exists; choose another name, or add --force"
        assert (shared_folder / "there.md").read_text(encoding="utf-8") == "mine"
        assert chat.said_after("/export no/where.md") == "there is no folder no"


def test_code_is_copied_by_number(opened: Open, own_home: Path) -> None:
    with History.open(own_home / "history.db") as history:
        say(history, None, "Code?", "One:\n\n```python\nprint('é')\n```\n\nTwo:\n\n```\nls\nls -l\n```\n")
    chat = opened("chat", "--continue", size=(120, 40))
    chat.wait_for("used")
    assert chat.said_after("/copy code") == "copied: code block 1 of turn 1 (10 characters)"
    assert chat.said_after("/copy code 2") == "copied: code block 2 of turn 1 (8 characters)"
    assert copied(chat) == ["print('é')", "ls\nls -l"]
    for number in ("0", "3", "x"):
        assert chat.said_after(f"/copy code {number}") == "the last answer has code blocks 1 to 2"


class TestSettings:
    """/set takes each setting, and refuses values that are not allowed."""

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("temp 0.5", "temp 0.5"),
            ("temp 11", "temp: '11' is not a number from 0 to 10 (0: always the most likely token)"),
            ("temp warm", "temp: 'warm' is not a number from 0 to 10 (0: always the most likely token)"),
            ("top-p 0.5", "top-p 0.5"),
            ("top-p 0", "top-p: '0' is not a number above 0 and at most 1"),
            ("max-tokens 5", "max-tokens 5"),
            ("max-tokens 0", "max-tokens: '0' is not a whole number from 1 to 1073741824"),
            ("max-tokens auto", "max-tokens 32768"),
            ("seed 7", "seed 7"),
            ("seed -1", "seed: '-1' is not a whole number from 0 to 4294967294"),
            ("seed random", "seed random"),
            ("ctx 512", "ctx 512"),
            ("ctx 9999999", "ctx: 9,999,999 is too long; the model was trained for 2,048 tokens"),
            ("ctx 1", "ctx: '1' is not a whole number from 64 to 1073741824"),
            ("ctx auto", "ctx auto"),
            ("colour 1", USAGE_SET),
        ],
    )
    def test_a_setting_is_changed_or_refused(self, shared: Screen, given: str, said: str) -> None:
        assert shared.said_after(f"/set {given}") == said

    def test_one_is_shown_by_its_name(self, shared: Screen) -> None:
        shared.said_after("/set seed 8")
        assert shared.said_after("/set seed") == "seed 8"

    def test_a_budget_and_a_format(self, shared: Screen) -> None:
        assert shared.said_after("/budget low") == "budget 1,024 tokens (low)"
        assert shared.said_after("/budget off") == "no budget: the model thinks as long as it needs"
        reminder = "\nformat: one of yes, no\n>"  # above the draft; it may be drawn after what is said
        shared.said_after("/format choices yes,no", "format: one of yes, no; /format off removes it")
        shared.wait_for(reminder)
        shared.said_after("/format off", "no format: answers are free text")
        shared.wait_for(lambda: reminder not in "\n".join(shared.screen()))

    def test_they_apply_from_the_next_turn_on(self, chat: Screen) -> None:
        chat.said_after("/set reserve 0")
        chat.said_after("/set max-tokens 5")
        assert without_seconds(chat.said_after(STRAWBERRY, "/retry")) == (
            "thought for 0 s · 5 tokens\n\n"
            "no answer yet, the model was still thinking: the limit of 5 tokens was reached; "
            "/set max-tokens N, then /retry"
        )
        chat.said_after("/set max-tokens auto")
        chat.said_after("/set reserve auto")
        chat.said_after("/set ctx 512")
        chat.wait_for("left · thinking")
        assert chat.said_after("/retry", THREE)
        chat.wait_for("context 90 used, 422 left")


class TestModel:
    """/model and /system."""

    def test_a_model_is_named_changed_and_missed(self, chat: Screen) -> None:
        named = "the model is tiny:Q8_0; /model NAME switches to one of: tiny:Q8_0"
        assert chat.said_after("/model") == named
        assert chat.said_after("/model nope") == (
            "no model is called 'nope'; r1 knows qwen-1.5b, qwen-7b, qwen-14b, qwen-32b, llama-8b, llama-70b, tiny"
        )
        chat.wait_for("tiny:Q8_0 · context 0 used")  # the present model stays
        assert THREE in chat.said_after(STRAWBERRY, THREE)
        chat.said_after("/clear")
        chat.enter("/model tiny")
        chat.wait_for("tiny:Q8_0 · context 0 used")
        assert THREE in chat.said_after("how many r's are in strawberry?", THREE)

    def test_a_system_prompt_is_set_with_one_warning_and_removed(self, chat: Screen) -> None:
        assert chat.said_after("/system") == "system prompt: none, as DeepSeek recommends"
        assert chat.said_after("/system Be brief.", "removes it") == (
            "R1 was not trained with a system prompt; put instructions in the prompt itself\n\n"
            "system prompt set; /system off removes it"
        )
        assert chat.said_after("/system Be short.") == "system prompt set; /system off removes it"
        assert chat.said_after("/system") == "system prompt: Be short."
        assert chat.said_after("/system off") == "system prompt removed"
        assert chat.said_after("/system") == "system prompt: none, as DeepSeek recommends"


def test_the_context_is_listed_turn_by_turn_and_trimmed(after_strawberry: Screen) -> None:
    after_strawberry.said_after("hello", GREETED)
    after_strawberry.wait_for("context 246 used")
    after_strawberry.settle()
    assert after_strawberry.said_after("/context") == (
        "246 of 2,048 tokens used, 1,802 left (the model was trained for 2,048)\n"
        "    1       90  How many r's are in strawberry?\n"
        "    2      156  hello"
    )
    assert after_strawberry.said_after("/trim 2") == "/trim can drop only 1 turn here; the last one stays"
    assert after_strawberry.said_after("/trim") == "the model no longer sees 1 of 2 turns; the history keeps them"
    after_strawberry.wait_for("context 157 used")
    assert after_strawberry.said_after("/context") == (
        "157 of 2,048 tokens used, 1,891 left (the model was trained for 2,048)\n"
        "    2      157  hello\n"
        "  not in the context: 1 turn (trimmed, or without an answer)"
    )


class TestSessions:
    """/history, /load, /title, /clear."""

    def test_a_chat_is_named_left_and_continued(self, after_strawberry: Screen) -> None:
        chat = after_strawberry
        assert chat.said_after("/title Berries") == "title: Berries"
        assert chat.said_after("/title") == "usage: /title TEXT"
        assert chat.said_after("/clear") == "new chat"
        chat.wait_for("context 0 used")
        chat.said_after("hello", GREETED)
        chat.settle()
        when = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}"
        assert re.fullmatch(
            rf"    2  {when}    1 turn  hello\n    1  {when}    1 turn  Berries\n/load ID continues one",
            chat.said_after("/history"),
        )
        assert (
            without_seconds(chat.said_after("/load 1", THREE))
            == f"> {STRAWBERRY}\n\nthought for 0 s · 54 tokens\n\n{THREE}"
        )
        chat.wait_for("context 90 used")

    def test_any_chat_is_continued_from_the_command_line(self, opened: Open, own_home: Path) -> None:
        with History.open(own_home / "history.db") as history:
            say(history, None, asked("Does wood float?"), "Yes.")
            say(history, None, asked("Cut off?"), "It w", reason=None)
        first = opened("chat", "--chat", "1")
        first.wait_for("used")
        assert "\n> Does wood float?\n\nthought for 1.5 s · 22 tokens\n\nYes.\n\n>" in "\n".join(first.screen())
        latest = opened("chat", "--continue")
        latest.wait_for("this reply was cut off when the program ended; /retry to ask again")


class TestHelp:
    """/help on screens of several widths, and text that only looks like a command."""

    @pytest.mark.parametrize("columns", [40, 80, 120])
    def test_it_has_every_command_and_no_word_is_broken(self, opened: Open, columns: int) -> None:
        chat = opened("chat", size=(columns, 90))
        chat.wait_for("0 used")
        said = chat.said_after("/help", "Ctrl-D")
        words = " ".join(said.split())
        for usage in ("/think show|hide show or hide", "/copy [code N|trace] copy the answer", "Ctrl-D quit"):
            assert usage in words
        assert {"thinking", "context"} <= set(words.split())

    @pytest.mark.parametrize("message", ["/etc/passwd", " /help", "/Users", "/2"])
    def test_text_that_only_looks_like_a_command_is_a_message(self, shared: Screen, message: str) -> None:
        shared.said_after("/clear", "new chat")
        assert shared.said_after(message, "qwen-1.5b").startswith("thought for")
