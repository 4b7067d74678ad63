"""The chat in a terminal: what each key does, what Tab offers, and how the chat ends."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from r1.history.history import History
from tests.e2e.chat.conftest import STRAWBERRY, THREE
from tests.e2e.screen import Open, Screen

ESCAPE, TAB, UP = "\x1b", "\t", "\x1b[A"
GREETED = "built into r1"


def ctrl(letter: str) -> str:
    return chr(ord(letter) & 0x1F)


def sent(screen: Screen, shown: str) -> None:
    """Presses Enter, and waits for the reply to a message that is shown as `shown`."""
    answered = f"\n> {shown}\n\nthought for"
    before = screen.everything().count(answered)
    screen.type("\r")
    screen.wait_for(lambda: screen.everything().count(answered) > before)
    screen.wait_for(lambda: screen.draft().startswith(">\n"))


class TestNewLines:
    """A message of several lines, typed or pasted, is one message."""

    @pytest.mark.parametrize("newline", ["\x1b\r", "\n"], ids=["alt-enter", "ctrl-j"])
    def test_alt_enter_and_ctrl_j_add_a_line(self, shared: Screen, newline: str) -> None:
        shared.type("hello")
        shared.type(newline)
        shared.type("you")
        shared.wait_for(lambda: shared.draft().startswith("> hello\n  you\n"))
        sent(shared, "hello\n  you")

    @pytest.mark.parametrize("line_end", ["\r", "\n", "\r\n"], ids=repr)
    def test_a_bracketed_paste_is_one_message(self, shared: Screen, line_end: str) -> None:
        shared.type(f"\x1b[200~one{line_end}{line_end}  two{line_end}three\x1b[201~")
        shared.wait_for(lambda: shared.draft().startswith("> one\n\n    two\n  three\n"))
        sent(shared, "one\n\n    two\n  three")

    def test_a_paste_without_brackets_is_one_message_too(self, shared: Screen) -> None:
        shared.type("one\rtwo\rthree")
        shared.wait_for(lambda: shared.draft().startswith("> one\n  two\n  three\n"))
        sent(shared, "one\n  two\n  three")


class TestLongPastes:
    """A long paste is one mark in the draft, and is sent in full."""

    LINES = "\n".join(f"\tline {number}" for number in range(120))

    def paste(self, screen: Screen) -> None:
        screen.type("look: ")
        screen.wait_for(lambda: screen.draft().startswith("> look:"))
        screen.type(f"\x1b[200~{self.LINES}\x1b[201~")
        screen.wait_for(lambda: screen.draft().startswith("> look: [pasted 120 lines]\n"))

    def question(self, home: Path) -> str:
        with History.open(home / "history.db") as history:
            return history.turns(history.latest() or 0)[-1].asked.question

    def test_it_is_sent_in_full_and_up_restores_it(self, chat: Screen, own_home: Path) -> None:
        self.paste(chat)
        chat.type(" end")
        chat.wait_for(lambda: chat.draft().startswith("> look: [pasted 120 lines] end\n"))
        chat.type("\r")
        chat.wait_for("… 108 more lines, sent in full")
        chat.wait_for(" tok/s")
        assert self.question(own_home) == f"look: {self.LINES} end"
        chat.type(UP)
        chat.wait_for("line 119 end")

    def test_backspace_removes_all_of_it(self, shared: Screen) -> None:
        self.paste(shared)
        shared.type("\x7f")
        shared.wait_for(lambda: shared.draft().startswith("> look:\n"))
        shared.type(ctrl("C"))
        shared.wait_for(lambda: shared.draft().startswith(">\n"))

    def test_ctrl_c_saves_all_of_it(self, shared: Screen) -> None:
        self.paste(shared)
        shared.type(ctrl("C"))
        shared.wait_for(lambda: shared.draft().startswith(">\n"))
        shared.type(UP)
        shared.wait_for("line 119")
        shared.type(ctrl("C"))
        shared.wait_for(lambda: shared.draft().startswith(">\n"))

    def test_an_editor_gets_all_of_it(self, opened: Open, tmp_path: Path) -> None:
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\ncp "$1" was.txt\n', encoding="utf-8")
        editor.chmod(0o755)
        chat = opened("chat", EDITOR=str(editor), VISUAL="")
        chat.wait_for("0 used")
        self.paste(chat)
        chat.type(ctrl("X") + ctrl("E"))
        chat.wait_for("line 119")
        assert (tmp_path / "was.txt").read_text(encoding="utf-8") == f"look: {self.LINES}"

    def test_a_tab_is_shown_as_space_up_to_the_next_stop(self, shared: Screen) -> None:
        shared.type("\x1b[200~a\tb\x1b[201~")
        shared.wait_for(lambda: shared.draft().startswith("> a   b\n"))
        shared.type(ctrl("C"))
        shared.wait_for(lambda: shared.draft().startswith(">\n"))


class TestEarlierInput:
    """Up and Ctrl-R go through the input of this run and of earlier ones."""

    def test_up_restores_questions_commands_and_drafts(self, chat: Screen, opened: Open) -> None:
        chat.said_after("hello", GREETED)
        chat.wait_for(" tok/s")
        chat.said_after("/context", "trained")
        for expected in ("/context", "hello"):
            chat.type(UP)
            chat.wait_for(lambda line=expected: chat.draft().startswith(f"> {line}\n"))
        chat.type(ctrl("C"))
        chat.wait_for("draft saved")
        chat.type(ctrl("D"))
        assert chat.status == 0
        again = opened("chat")
        again.wait_for("0 used")
        for expected in ("hello", "/context"):
            again.type(UP)
            again.wait_for(lambda line=expected: again.draft().startswith(f"> {line}\n"))

    def test_ctrl_r_finds_an_earlier_question(self, chat: Screen, opened: Open) -> None:
        chat.said_after(STRAWBERRY, THREE)
        chat.said_after("hello", GREETED)
        chat.wait_for("context 246 used")
        self.find_strawberry(chat)
        chat.type(ctrl("C"))
        chat.wait_for(lambda: chat.draft().startswith(">\n"))
        chat.type(ctrl("D"))
        assert chat.status == 0
        again = opened("chat", size=(120, 60))
        again.wait_for("0 used")
        self.find_strawberry(again)

    def find_strawberry(self, screen: Screen) -> None:
        screen.type(ctrl("R"))
        screen.wait_for("I-search")
        screen.type("straw")
        screen.wait_for(lambda: screen.draft().startswith(f"> {STRAWBERRY}\n"))
        screen.type("\r")  # accepts the match without sending it
        screen.wait_for(lambda: "I-search" not in "\n".join(screen.screen()))
        screen.settle()
        assert screen.draft().startswith(f"> {STRAWBERRY}\n")

    def test_ctrl_c_ends_a_search_and_nothing_else(self, shared: Screen) -> None:
        shared.said_after("hello", GREETED)
        shared.type(ctrl("R"))
        shared.type("hel")
        shared.wait_for("I-search backward: hel")
        shared.type(ctrl("C"))
        shared.wait_for(lambda: "I-search" not in "\n".join(shared.screen()))
        shared.type("abc")
        shared.wait_for(lambda: shared.draft().startswith("> abc\n"))
        shared.type(ctrl("C"))
        shared.wait_for(lambda: shared.draft().startswith(">\n"))


class TestEditing:
    """An editor, and vi's keys."""

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
        chat.wait_for("vi: insert · ")
        chat.type("xhello you")
        chat.wait_for(lambda: chat.draft().startswith("> xhello you\n"))
        chat.type(ESCAPE)
        chat.wait_for("vi: normal · ")
        chat.wait_for(lambda: chat.cursor()[0] == len("> xhello yo"))  # Escape moves the cursor onto the last letter
        chat.type("0x$")
        chat.wait_for(lambda: chat.draft().startswith("> hello you\n"))
        chat.type("a there")
        chat.wait_for(lambda: chat.draft().startswith("> hello you there\n"))
        sent(chat, "hello you there")


class TestTab:
    """Commands and their arguments are offered and completed."""

    @pytest.mark.parametrize(
        ("begun", "completed"),
        [
            ("/tra", "/trace"),
            ("/model t", "/model tiny:Q8_0"),
            ("/set to", "/set top-p"),
            ("/file no", "/file notes.txt"),
        ],
    )
    def test_tab_completes(self, shared: Screen, shared_folder: Path, begun: str, completed: str) -> None:
        (shared_folder / "notes.txt").write_text("x", encoding="utf-8")
        shared.type(begun)
        shared.wait_for(lambda: shared.draft().startswith(f"> {begun}"))
        shared.type(TAB)
        shared.wait_for(lambda: shared.draft().split("\n")[0].strip() == f"> {completed}")
        self.empty(shared)

    def test_commands_are_offered_while_they_are_typed(self, shared: Screen) -> None:
        shared.type("/tr")
        shared.wait_for("the thinking of the last turn or turn N")
        shared.wait_for("drop the N oldest turns")
        self.empty(shared)

    def test_a_message_is_left_alone(self, shared: Screen) -> None:
        shared.type("no")
        shared.type(TAB)
        shared.settle()
        assert shared.draft().split("\n")[0].strip() == "> no"
        self.empty(shared)

    def empty(self, screen: Screen) -> None:
        screen.type(ctrl("C"))
        screen.wait_for(lambda: screen.draft().split("\n")[0] == ">")


class TestLeaving:
    """The terminal is as it was before."""

    def test_ctrl_c_saves_a_draft_and_up_restores_it(self, shared: Screen) -> None:
        shared.type("half a thought")
        shared.wait_for(lambda: shared.draft().startswith("> half"))
        shared.type(ctrl("C"))
        shared.wait_for("draft saved; press Up to restore it")
        assert shared.draft().startswith(">\n")
        shared.type(UP)
        shared.wait_for(lambda: shared.draft().startswith("> half a thought\n"))
        shared.type(ctrl("C"))
        shared.wait_for(lambda: shared.draft().startswith(">\n"))

    def test_ctrl_d_in_a_draft_does_not_quit(self, shared: Screen) -> None:
        shared.type("ab")
        shared.type(ctrl("D"))
        shared.settle()
        assert shared.running
        assert shared.draft().startswith("> ab\n")
        shared.type(ctrl("C"))
        shared.wait_for(lambda: shared.draft().startswith(">\n"))

    @pytest.mark.parametrize("second", ["C", "D"])
    def test_ctrl_c_at_an_empty_draft_says_that_another_one_quits(self, opened: Open, second: str) -> None:
        chat = opened("chat")
        chat.wait_for("0 used")
        chat.type(ctrl("C"))
        chat.wait_for("press Ctrl-C again to quit")
        chat.type(ctrl(second))
        assert chat.status == 0
        assert chat.is_given_back

    def test_the_command_quit(self, chat: Screen) -> None:
        chat.enter("/quit")
        assert chat.status == 0
        assert chat.is_given_back

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["term", "hup"])
    def test_a_signal_restores_the_terminal(
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


class TestRandomKeys:
    """No sequence of keys ends the chat or damages the terminal."""

    # Ctrl-D quits, Ctrl-Z suspends, and Ctrl-E may follow Ctrl-X.
    CONTROLS = tuple(chr(code) for code in range(1, 0x20) if chr(code) not in {ctrl("D"), ctrl("Z"), ctrl("E"), "\x1b"})
    SEQUENCES = (
        *(
            "\x1b",
            "\x1b\r",
            "\x1b[A",
            "\x1b[B",
            "\x1b[C",
            "\x1b[D",
            "\x1b[H",
            "\x1b[F",
            "\x1b[3~",
            "\x1b[5~",
            "\x1b[6~",
        ),
        *("\x1bOP", "\x1b[15~", "\x1b[1;5C", "\x1b[1;5D", "\x1bb", "\x1bf", "\x1bd", "\x1b\x7f", "\x1b[Z", "\x7f"),
        *("\x1b[200~a\nb\x1b[201~", "\x1b[I", "\x1b[<0;1;1M", "\x1b[999~", "\x1b[?1;2c"),
    )
    WORDS = ("/", "/help\r", "/set temp 0\r", "hello\r", "é", "草", "🦆", "\u0301")

    def keys(self, seed: int, count: int) -> list[str]:
        chance = random.Random(seed)
        kinds = (
            lambda: chr(chance.randrange(0x20, 0x7F)),
            lambda: chance.choice(self.CONTROLS),
            lambda: chance.choice(self.SEQUENCES),
            lambda: chance.choice(self.WORDS),
        )
        return [chance.choices(kinds, weights=(60, 20, 15, 5))[0]() for _ in range(count)]

    @pytest.mark.parametrize(
        ("size", "seed", "keys"), [((80, 24), 1, "emacs"), ((30, 8), 2, "emacs"), ((80, 24), 3, "vi")]
    )
    def test_the_chat_survives_them(self, opened: Open, size: tuple[int, int], seed: int, keys: str) -> None:
        screen = opened("chat", size=size, R1_KEYS=keys, EDITOR="true", VISUAL="true")
        screen.wait_for("used")
        for number, key in enumerate(self.keys(seed, 2000)):
            if keys == "vi" and key == "\x1c":
                continue  # vi's v opens an editor; meanwhile Ctrl-\\ sends SIGQUIT to the chat too
            screen.type(key)
            screen.pump(0.002 if number % 5 == 0 else 0)
            assert screen.running, (number, key, screen.everything())
        self.quit(screen)
        assert screen.status == 0
        assert screen.is_given_back
        shown = screen.everything()
        assert "Traceback" not in shown
        assert keys == "vi" or "unexpected error" not in shown  # prompt-toolkit's vi mode has bugs of its own

    def quit(self, screen: Screen) -> None:
        """Ctrl-C until nothing is left to stop or to save, then Ctrl-D."""
        for _ in range(20):
            screen.settle()
            if "press Ctrl-C again to quit" in "\n".join(screen.screen()):
                break
            screen.type(ctrl("C"))
        screen.type(ctrl("D"))
