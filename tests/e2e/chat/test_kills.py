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
from tests.e2e.screen import Open, Screen

UP = "\x1b[A"
SIGNALS = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["term", "hup"]
)
CONTINUE = "r1: chat saved; continue it with: r1 chat --continue"
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


@SIGNALS
class TestSignals:
    """SIGTERM and SIGHUP save what Ctrl-C would save, and say how to go on."""

    def test_a_vote_is_saved_with_the_winner_so_far(
        self, paced: OpenPaced, own_home: Path, number: signal.Signals, status: int
    ) -> None:
        asked = ("--votes", "8", "--confidence", "1", "--seed", "1")
        screen = paced(*asked, holds=["1 of 8", "2 of 8", "3 of 8", "4 of 8"], R1_TEMP="1.0")
        screen.enter(STRAWBERRY)
        screen.wait_for(lambda: re.search(r"^[1-4] of 8 · 3 ×[1-4] · ", "\n".join(screen.screen()), re.M))
        screen.kill(number)
        assert screen.status == status
        with History.open(own_home / "history.db") as history:
            (turn,) = history.turns(1)
        assert (turn.finish_reason, "boxed{3}" in turn.answer) == ("stop", True)

    def test_a_reply_is_saved_as_one_that_was_stopped(
        self, paced: OpenPaced, own_home: Path, number: signal.Signals, status: int
    ) -> None:
        screen = paced("--thinking", "show", holds=["s0 t0"])
        screen.enter(STRAWBERRY)
        screen.wait_for("│ s0 t0")
        screen.kill(number)
        assert screen.status == status
        assert screen.is_given_back
        assert CONTINUE in screen.everything()
        with History.open(own_home / "history.db") as history:
            (turn,) = history.turns(1)
        assert (turn.finish_reason, turn.thinking) == ("interrupted", "Count r in strawberry:\ns0 t0")

    def test_up_restores_the_draft_and_what_was_queued(
        self, paced: OpenPaced, opened: Open, number: signal.Signals, status: int
    ) -> None:
        screen = paced(holds=["s0 t0"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("a queued message")
        screen.wait_for("queued: a queued message")
        screen.type("an unsent draft")
        screen.wait_for("> an unsent draft")
        screen.kill(number)
        assert screen.status == status
        again = opened("chat", "tiny")
        again.wait_for("context 0 used")
        for text in ("an unsent draft", "a queued message", STRAWBERRY):
            again.type(UP)
            again.wait_for(lambda text=text: again.draft().startswith(f"> {text}\n"))  # type: ignore[misc]


def test_the_draft_of_a_closed_window_is_saved(paced: OpenPaced, own_home: Path) -> None:
    screen = paced()
    screen.type("an unsent draft")
    screen.wait_for("> an unsent draft")
    screen.close()
    assert screen.status in {0, 129}
    with History.open(own_home / "history.db") as history:
        assert history.typed(1) == ["an unsent draft"]
