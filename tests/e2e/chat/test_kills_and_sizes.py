"""A chat in the middle of a reply that is killed, closed or resized; the model is slow for it."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest

from r1.history.history import History, StoredTurn
from tests.e2e.chat.conftest import GREETING, STRAWBERRY, OpenPaced, squeezed, wait_for_the_end, words
from tests.e2e.screen import Screen

CUT_OFF = "this reply was cut off when the program ended; /retry to ask again"


class TestKills:
    """kill -9 in the middle of a reply loses half a second of text at most."""

    @pytest.mark.parametrize("seed", [1, 2, 3, 4])
    def test_text_that_was_on_the_screen_for_a_second_is_saved(
        self, paced: OpenPaced, own_home: Path, seed: int
    ) -> None:
        chance = random.Random(seed)
        screen = paced("--thinking", "show")
        for question in chance.choices(("hello", STRAWBERRY), k=5):
            seen = self.killed_in_the_middle(screen, question, chance.uniform(0.1, 1.9))
            turn = self.saved(own_home)
            assert turn.asked.question == question
            said = squeezed(turn.thinking + turn.answer.replace("\\(\\boxed{3}\\)", "3"))
            assert said.startswith(seen)
            screen = paced("--thinking", "show", "--continue")
            assert self.reply_on(screen, question).removesuffix(squeezed(CUT_OFF)) == said
            assert (CUT_OFF in " ".join(screen.everything().split())) == (turn.finish_reason is None)
            assert screen.said_after("/clear") == "new chat"

    def killed_in_the_middle(self, screen: Screen, question: str, after: float) -> str:
        """Kills the chat `after` seconds from the first token; returns the reply as shown a second earlier."""
        screen.enter(question)
        screen.wait_for(lambda: re.search(r"thinking · . s · [0-9]+ tokens", "\n".join(screen.screen())))
        frames = [(time.monotonic(), "")]
        end = frames[0][0] + after
        while time.monotonic() < end:
            screen.pump(0.05)
            frames.append((time.monotonic(), self.reply_on(screen, question)))
        screen.kill(signal.SIGKILL)
        killed = time.monotonic()
        assert screen.status == -signal.SIGKILL
        return max([frames[0], *(frame for frame in frames if frame[0] <= killed - 1)])[1]

    def reply_on(self, screen: Screen, question: str) -> str:
        below = screen.everything().rpartition(f"\n> {question}\n")[2].rpartition("\n>")[0]
        lines = [line for line in below.split("\n") if not line.startswith(("thinking ·", "thought"))]
        return squeezed("".join(line.removeprefix("│") for line in lines))

    def saved(self, own_home: Path) -> StoredTurn:
        with History.open(own_home / "history.db") as history:
            latest = history.latest()
            assert latest is not None
            return history.turns(latest)[-1]


def test_closing_the_window_in_the_middle_of_a_reply_saves_it(paced: OpenPaced, own_home: Path) -> None:
    screen = paced("--thinking", "show")
    screen.enter(STRAWBERRY)
    screen.wait_for("│ s0 t0")
    screen.close()
    assert screen.status in {0, 129}
    with History.open(own_home / "history.db") as history:
        (turn,) = history.turns(1)
    assert turn.thinking.startswith("Count r in strawberry:\ns0 t0")


class TestResizing:
    """Resizing in the middle of a reply neither loses nor repeats a word."""

    @pytest.mark.parametrize("columns", [20, 40, 100])
    def test_on_a_terminal_that_wraps_lines(self, paced: OpenPaced, columns: int) -> None:
        screen = paced(wraps=True, size=(80, 24))
        screen.enter("hello")
        for width, moment in ((columns, "demonstration"), (80, "Ask me to"), (columns, "a letter in")):
            screen.wait_for(lambda seen=moment: squeezed(seen) in squeezed(screen.everything()))
            screen.resize(width)
        screen.wait_for(lambda: squeezed("is larger.") in squeezed(screen.everything()))
        screen.wait_for("tok/s")
        shown = squeezed(screen.everything())
        assert shown.count(squeezed(GREETING)) == 1
        assert shown.count("Hello!") == 1
        assert shown.count("larger.") == 1
        assert "Traceback" not in shown

    def test_several_times_with_the_thinking_shown(self, paced: OpenPaced) -> None:
        screen = paced("--thinking", "show", wraps=True, size=(80, 24))
        screen.enter("What is 5721 - 9004?")
        for columns, moment in ((40, "│"), (20, "10-"), (100, "│ ="), (40, "5721 -"), (80, "- 9004")):
            screen.wait_for(lambda seen=moment: seen in screen.everything())
            screen.resize(columns)
        wait_for_the_end(screen, "5721 - 9004 = -3283")
        screen.settle()
        said = screen.everything().partition("5721 - 9004?\n")[2]
        assert words(said).count("5721 - 9004 = -3283") == 1
        assert words(said).count("= -3283") == 2  # once thought, once said

    @pytest.mark.parametrize("columns", [20, 100])
    def test_on_a_terminal_that_cuts_lines(self, paced: OpenPaced, columns: int) -> None:
        screen = paced(size=(80, 24))
        screen.enter("hello")
        screen.wait_for("demonstration")
        screen.resize(columns)
        wait_for_the_end(screen, "larger.")
        screen.settle()
        assert words(screen.everything()).count(words(GREETING.partition("demonstration ")[2])) == 1
        assert "Traceback" not in screen.everything()
