"""A chat that is killed or closed in the middle of a reply; the model is slow for it."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest

from r1.history.history import History, StoredTurn
from tests.e2e.chat.conftest import STRAWBERRY, OpenPaced, squeezed
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
        screen.wait_for(lambda: re.search(r"thinking · [0-9]+ s · Esc", "\n".join(screen.screen())))
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
