"""`r1 history` on a terminal, and read by the sqlite3 program."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from r1.history.history import History
from tests.conftest import R1, Run, printed
from tests.e2e.terminal import Terminal, without_style
from tests.fakes.chats import say

On = Callable[..., Terminal]


@pytest.fixture
def on_terminal(environ: dict[str, str], chats_home: Path) -> On:
    """Runs `r1 history ARGUMENTS` on a terminal of 40 columns, unless `COLUMNS` differs."""
    narrow = {**environ, "R1_HOME": str(chats_home), "COLUMNS": "40", "LINES": "20"}
    return lambda *arguments, **variables: Terminal([*R1, "history", *arguments], {**narrow, **variables})


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.usefixtures("chats")
class TestTerminals:
    """A table, marked matches, lines that fit, and a question before anything is deleted."""

    def test_a_table_if_there_is_room(self, on_terminal: On) -> None:
        with on_terminal(COLUMNS="80") as terminal:
            lines = without_style(terminal.read_to_end()).splitlines()
            assert terminal.status == 0
        assert lines[0].split() == ["id", "when", "turns", "model", "title"]
        assert [re.sub(r" \S+ \d\d:\d\d ", " NOW ", line).split() for line in lines[2:]] == [
            ["2", "NOW", "1", "qwen-7b:Q4_K_M", "Cut", "off?"],
            ["1", "NOW", "2", "tiny:Q8_0", "Does", "wood", "float?"],
        ]

    def test_two_lines_for_each_chat_if_there_is_not(self, on_terminal: On) -> None:
        with on_terminal() as terminal:
            text = without_style(terminal.read_to_end())
        assert re.search(r"1  Does wood float\? +\r\n +\S+ \d\d:\d\d, 2 turns, tiny:Q8_0\b", text)
        assert max(map(len, text.splitlines())) <= 40

    def test_no_escape_code_reaches_the_terminal(self, on_terminal: On) -> None:
        for arguments in (["show", "1"], ["search", "stone"]):
            with on_terminal(*arguments) as terminal:
                text = terminal.read_to_end()
            assert "\x1b[31m" not in text
            assert "stone?" in without_style(text)

    def test_an_excerpt_is_indented_and_does_not_repeat_the_title(self, on_terminal: On, chats: Path) -> None:
        with History.open(chats) as history:
            say(history, None, "Does cork float on water, and for how long does it float?", "Cork floats for years.")
        with on_terminal("search", "cork", "water") as terminal:
            lines = without_style(terminal.read_to_end()).replace("\r", "").rstrip("\n").split("\n")
        assert lines == ["4 [1] question", "  Does cork float on water, and for how", "  long does it float?"]
        with on_terminal("search", "years") as terminal:
            text = " ".join(without_style(terminal.read_to_end()).split())
        assert text.startswith("4 [1] answer: Does cork float on water,")

    def test_long_lines_are_wrapped_but_code_is_not(self, on_terminal: On, chats: Path) -> None:
        words, code = "wood floats on water " * 20, "x = " + "1 + " * 40
        with History.open(chats) as history:
            say(history, None, "q", f"{words}\n```\n{code}\n```")
        with on_terminal("show", "4") as terminal:
            lines = terminal.read_to_end().replace("\r", "").split("\n")
        assert {word for line in lines for word in line.split()} >= {"wood", "floats", "on", "water"}
        assert [line for line in lines if len(line) > 40] == [code]

    def test_deleting_needs_a_confirmation(self, on_terminal: On, history: Run) -> None:
        for answer, left in (("n", 3), ("y", 2)):
            with on_terminal("delete", "1") as terminal:
                asked = " ".join(terminal.read_some().split())
                assert "Delete chat 1, “Does wood float?” (2 turns) for good? [y/N]" in asked
                terminal.type(f"{answer}\n")
                terminal.read_to_end()
                assert terminal.status == 0
            assert len(printed(history()).splitlines()) == left


def test_the_sqlite3_program_reads_it_all(chats: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("the sqlite3 program is not installed")
    query = "SELECT number, question, answer FROM transcript WHERE session = 2"
    assert subprocess.check_output(["sqlite3", chats, query]).decode() == "1|Cut off?|It w\n"
