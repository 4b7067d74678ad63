"""The chat as plain text: on a terminal without drawing, and in a pipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from r1.history.history import History
from tests.conftest import Run
from tests.e2e.chat.conftest import STRAWBERRY, OpenPaced
from tests.e2e.screen import Open

RAW_THREE = "The letter r appears \\(\\boxed{3}\\) times in strawberry."


class TestPlain:
    """Without a terminal, or with --plain, the chat is lines of text."""

    @pytest.mark.parametrize(
        ("arguments", "variables"), [(("--plain",), {}), ((), {"TERM": "dumb"})], ids=["--plain", "TERM=dumb"]
    )
    def test_a_terminal_gets_lines_and_no_codes(
        self, opened: Open, arguments: tuple[str, ...], variables: dict[str, str]
    ) -> None:
        screen = opened("chat", *arguments, size=(120, 40), NO_COLOR="1", **variables)
        screen.wait_for(lambda: ">" in screen.screen())
        screen.type(f"{STRAWBERRY}\n")
        screen.wait_for(RAW_THREE)
        screen.settle()
        screen.type("/context\n")
        screen.wait_for("1,958 left")
        screen.type("/quit\n")
        assert screen.status == 0
        assert screen.is_given_back
        assert b"\x1b" not in screen.raw

    def test_ctrl_d_quits(self, opened: Open) -> None:
        screen = opened("chat", "--plain")
        screen.wait_for(lambda: ">" in screen.screen())
        screen.type("\x03")
        screen.wait_for("press Ctrl-C again to quit")
        screen.type("\x04")
        assert screen.status == 0

    def test_hidden_thinking_has_a_counter_that_the_answer_replaces(self, paced: OpenPaced) -> None:
        screen = paced("--plain", "--thinking", "hide", holds=["s0"], waits_for=">")
        screen.type(f"{STRAWBERRY}\n")
        screen.wait_for(lambda: re.search(r"^thinking · [0-9]+ s · [0-9]+ tokens$", "\n".join(screen.screen()), re.M))
        screen.release()
        screen.wait_for(RAW_THREE)
        assert "thinking ·" not in screen.everything()
        assert "Count r" not in screen.everything()

    def test_ctrl_c_leaves_a_clean_line(self, paced: OpenPaced) -> None:
        screen = paced("--plain", "--thinking", "hide", holds=["s0"], waits_for=">")
        screen.type(f"{STRAWBERRY}\n")
        screen.wait_for("thinking ·")
        screen.type("\x03")
        screen.wait_for(lambda: "\nstopped; the reply so far is saved" in screen.everything())
        screen.wait_for(lambda: screen.draft().rstrip() == ">")
        assert "thinking ·" not in screen.everything()

    def test_a_vote_has_a_tally_and_ctrl_c_ends_it_with_the_winner_so_far(self, paced: OpenPaced) -> None:
        votes = ("--votes", "8", "--confidence", "1", "--seed", "1")
        holds = [f"{count} of 8" for count in range(5)]
        screen = paced("--plain", "--thinking", "hide", *votes, holds=holds, waits_for=">", R1_TEMP="1.0")
        screen.type(f"{STRAWBERRY}\n")
        screen.wait_for("0 of 8 · ")
        screen.release()
        screen.wait_for(lambda: re.search(r"^[1-4] of 8 · 3 ×[1-4] · ", "\n".join(screen.screen()), re.M))
        screen.type("\x03")
        screen.wait_for("stopped by you: ")
        assert RAW_THREE in screen.everything()
        assert "running" not in screen.everything()

    def test_ctrl_c_twice_quits(self, opened: Open) -> None:
        screen = opened("chat", "--plain")
        screen.wait_for(lambda: ">" in screen.screen())
        screen.type("\x03")
        screen.wait_for("press Ctrl-C again to quit")
        screen.type("\x03")
        assert screen.status == 0

    def test_a_pipe_is_one_message_and_gets_only_the_answer(self, r1: Run, chat_environ: dict[str, str]) -> None:
        done = r1("chat", stdin=f"{STRAWBERRY}\n".encode(), **chat_environ)
        assert (done.returncode, done.stdout) == (0, f"{RAW_THREE}\n".encode())
        assert b"Count r" not in done.stderr
        went_on = r1("chat", "--continue", stdin=b"What is\n2 + 2?", **chat_environ)
        assert went_on.returncode == 0
        with History.open(Path(chat_environ["R1_HOME"]) / "history.db") as history:
            assert [turn.asked.question for turn in history.turns(1)] == [STRAWBERRY, "What is\n2 + 2?"]
            assert history.turns(1)[0].answer == RAW_THREE
