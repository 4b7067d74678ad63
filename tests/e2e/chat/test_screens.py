"""The chat in a terminal: what the screen shows, line by line, and what never reaches it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from r1.history.history import History
from tests.e2e.chat.conftest import STRAWBERRY, THREE, OpenPaced, without_seconds
from tests.e2e.screen import Open, Screen
from tests.fakes.chats import asked, say

WELCOME_80 = [
    "r1: no model pulled yet, so using the built-in tiny; get one: r1 pull qwen-1.5b",
    "r1 · tiny:Q8_0 · /help lists commands and keys",
]
TITLE, WIPE = "\x1b]0;x\x07", "\x1b[2J"


def without_measurements(lines: list[str]) -> list[str]:
    """The lines without the speed, which differs in every run, and the seconds, which do on a busy machine."""
    return [re.sub(r"[0-9.]+ tok/s", "N tok/s", without_seconds(line)) for line in lines]


class TestATurn:
    """The complete screen after one turn, at three widths."""

    def assert_screen(self, screen: Screen, question: str, expected: list[str]) -> None:
        """Waits for the expected screen after the question, first for the speed: it appears at the end of the reply."""
        screen.wait_for("0 used")
        screen.enter(question)
        screen.wait_for(" tok/s")
        with suppress(AssertionError):
            screen.wait_for(lambda: without_measurements(screen.screen()) == expected, timeout=10)
        assert without_measurements(screen.screen()) == expected

    def test_on_40_columns(self, opened: Open) -> None:
        expected = [
            "r1: no model pulled yet, so using the bu",
            "ilt-in tiny; get one: r1 pull qwen-1.5b",
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
        self.assert_screen(opened("chat", size=(40, 16)), STRAWBERRY, expected)

    @pytest.mark.parametrize("columns", [80, 200])
    def test_on_80_and_200_columns(self, opened: Open, columns: int) -> None:
        expected = [
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
        self.assert_screen(opened("chat", size=(columns, 16)), STRAWBERRY, expected)

    def test_the_thinking_has_a_bar_and_is_above_the_answer(self, opened: Open) -> None:
        expected = [
            *WELCOME_80,
            "",
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
            "tiny:Q8_0 · context 45 used, 2,003 left · thinking shown · N tok/s",
            *[""] * 3,
        ]
        self.assert_screen(opened("chat", "--thinking", "show", size=(80, 20)), "What is 57 - 900?", expected)


class TestEscapeCodes:
    """No escape code that was typed, attached or generated reaches the terminal."""

    def assert_none_came_through(self, screen: Screen) -> None:
        screen.settle()
        assert b"\x1b]0;" not in screen.raw
        assert b"\x1b[2J" not in screen.raw

    def paste(self, screen: Screen, text: str) -> None:
        screen.type(f"\x1b[200~{text}\x1b[201~")
        screen.wait_for(lambda: "^[" in screen.draft())
        screen.type("\r")
        screen.wait_for(lambda: "^[" not in screen.draft())

    def test_in_questions_files_titles_and_unknown_names(self, opened: Open, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text(f"How {WIPE} many {TITLE}?", encoding="utf-8")
        (tmp_path / f"of{WIPE}{TITLE}.txt").write_text("x", encoding="utf-8")
        screen = opened("chat", "--thinking", "show", size=(120, 60))
        screen.wait_for("0 used")
        screen.said_after("/file notes.txt", "attached")
        self.paste(screen, f"/file of{WIPE}{TITLE}.txt")
        screen.wait_for("of[2J]0;x.txt will be attached")
        self.paste(screen, f"How many {WIPE}r's{TITLE} are in strawberry?")
        screen.wait_for("attached: of[2J]0;x.txt")
        screen.wait_for("thought for")
        self.paste(screen, f"/title a{WIPE}b{TITLE}c")
        screen.wait_for("title: a[2Jb]0;xc")
        for command in ("/model", "/load", "/export", "/file", "/set temp", "/trace"):
            self.paste(screen, f"{command} {WIPE}{TITLE}")
        screen.said_after("/history", "a[2Jb]0;xc")
        screen.said_after("/context", "trained")
        self.assert_none_came_through(screen)

    def test_in_an_earlier_chat(self, opened: Open, own_home: Path) -> None:
        table = f"| a{WIPE} | b |\n|---|---|\n| `c{TITLE}` | \\(x{WIPE}\\) |\n"
        code = f"One {WIPE}{TITLE}two.\n\n```sh\nls {WIPE}{TITLE}\n```\n\n{table}"
        with History.open(own_home / "history.db") as history:
            say(history, None, asked(f"a{WIPE}{TITLE}", (f"n{WIPE}", TITLE)), code, f"Hm{WIPE}{TITLE}m.")
        screen = opened("chat", "--continue", "--thinking", "show", size=(120, 60))
        screen.wait_for("used")
        screen.said_after("/trace", "thinking of turn 1")
        screen.said_after("/copy", "copied")
        screen.type("\x1b[A" * 3)  # through earlier input, up to the question
        self.assert_none_came_through(screen)

    def test_in_a_reply(self, paced: OpenPaced) -> None:
        """The model repeats the word it is asked about, byte by byte."""
        screen = paced("--thinking", "show")
        self.paste(screen, f"How many r's are in r{WIPE}?")
        screen.wait_for("tok/s")
        self.assert_none_came_through(screen)


class TestTwoChats:
    """At once, with one R1_HOME."""

    def test_each_is_saved_and_both_are_listed(self, opened: Open, own_home: Path) -> None:
        first, second = opened("chat", size=(100, 40)), opened("chat", size=(100, 40))
        for screen in (first, second):
            screen.wait_for("0 used")
        first.enter(STRAWBERRY)
        second.enter("hello")
        first.wait_for(THREE)
        second.wait_for("larger.")
        first.said_after("What is 2 + 2?", "2 + 2 = 4")
        listed = second.said_after("/history", "/load ID")
        assert STRAWBERRY in listed
        assert "hello" in listed
        for screen in (first, second):
            screen.wait_for(" tok/s")
            screen.type("\x04")  # Ctrl-D
            assert screen.status == 0
        with History.open(own_home / "history.db") as history:
            chats = {
                info.title: [turn.asked.question for turn in history.turns(info.id)] for info in history.sessions()
            }
        assert chats == {STRAWBERRY: [STRAWBERRY, "What is 2 + 2?"], "hello": ["hello"]}


def test_without_colours_there_is_no_style_at_all(opened: Open) -> None:
    screen = opened("chat", "--thinking", "show", NO_COLOR="1")
    screen.wait_for("0 used")
    screen.said_after(STRAWBERRY, THREE)
    screen.said_after("/help", "quit")
    screen.type("/t\t")
    screen.settle()
    assert set(re.findall(rb"\x1b\[[0-9;]*m", screen.raw)) <= {b"\x1b[m", b"\x1b[0m"}


class TestFirstPrompt:
    """The prompt does not wait for llama.cpp."""

    GATE = """
import os, sys, time

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name == "llama_cpp":
            open(os.environ["GATE"] + ".reached", "w").close()
            while not os.path.exists(os.environ["GATE"]):
                time.sleep(0.01)

sys.meta_path.insert(0, Gate())
"""

    def test_it_is_there_before_llama_cpp_is_imported(self, opened: Open, tmp_path: Path) -> None:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(self.GATE, encoding="utf-8")
        gate = tmp_path / "gate"
        path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
        screen = opened("chat", PYTHONPATH=path, GATE=str(gate))
        screen.wait_for("loading tiny:Q8_0 0%")  # it takes more than a moment
        screen.enter("hello")  # while it cannot even be imported
        screen.wait_for("waiting for the model")
        screen.wait_for(lambda: gate.with_suffix(".reached").exists())
        screen.type("and a dra")
        screen.wait_for(lambda: screen.draft().startswith("> and a dra\n"))
        gate.touch()
        screen.wait_for("larger.")
        assert screen.draft().startswith("> and a dra\n")
