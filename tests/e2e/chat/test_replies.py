"""A chat in the middle of a reply: thinking, answering, stopping, typing ahead, limits. The model is held for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from r1.history.history import History, StoredTurn
from tests.e2e.chat.conftest import GREETING, STRAWBERRY, THREE, OpenPaced, wait_for_the_end, words
from tests.e2e.screen import Screen

TRACE = "Count r in strawberry:\ns0 t0 r1 a1 w1 b1 e1 r2 r3 y3"
ESCAPE = "\x1b"
THINKING = re.compile(r"^thinking · [0-9]+ s · Esc answers now · Ctrl-T shows it$", re.M)
COUNT = re.compile(r" left · thinking ([0-9]+)(?: of [0-9,]+)?(?: ·|$)", re.M)
"""In the toolbar."""


def ctrl(letter: str) -> str:
    return chr(ord(letter) & 0x1F)


def turns(own_home: Path) -> list[StoredTurn]:
    """The turns of the first chat, as another process reads them."""
    with History.open(own_home / "history.db") as history:
        return history.turns(1)


class TestHiddenThinking:
    """One line counts, and the draft stays usable."""

    def test_a_line_counts_and_another_sums_up(self, paced: OpenPaced) -> None:
        screen = paced(holds=["Count r", "s0", "t0", "a1", "e1"])
        screen.enter(STRAWBERRY)
        counts = [0]
        for _ in range(5):
            screen.wait_for(lambda: self.count_on(screen) > counts[-1])
            counts.append(self.count_on(screen))
            screen.release()
        screen.wait_for(THREE)
        assert len(set(counts)) == 6
        assert max(counts) < 54
        assert re.search(r"^thought for [0-9.]+ s · 54 tokens$", screen.everything(), re.M)
        assert "Ctrl-T shows it" not in screen.everything()
        assert "Count r" not in screen.everything()

    def count_on(self, screen: Screen) -> int:
        """The tokens in the toolbar, while there is a line of activity; otherwise 0."""
        shown = "\n".join(screen.screen())
        found = COUNT.search(shown)
        return int(found[1]) if found and THINKING.search(shown) else 0

    def test_text_typed_meanwhile_stays_in_the_draft(self, paced: OpenPaced) -> None:
        screen = paced(holds=["Count r"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.type("and rasp")
        screen.wait_for(lambda: screen.draft().startswith("> and rasp\n"))
        screen.release()
        wait_for_the_end(screen)
        assert screen.draft().startswith("> and rasp\n")
        screen.type("berry?")
        screen.wait_for(lambda: screen.draft().startswith("> and raspberry?\n"))


class TestToggling:
    """Ctrl-T, in the middle of thinking."""

    def test_showing_prints_the_trace_so_far_and_continues(self, paced: OpenPaced) -> None:
        screen = paced(holds=["s0 t0"])
        screen.enter(STRAWBERRY)
        screen.wait_for(lambda: re.search(r" left · thinking [0-9]{2}( ·|$)", "\n".join(screen.screen()), re.M))
        assert "│" not in screen.everything()
        screen.type(ctrl("T"))
        screen.wait_for("│ Count r")
        screen.wait_for("Ctrl-T hides it")
        screen.release()
        wait_for_the_end(screen)
        assert self.trace_on(screen) == TRACE

    def test_toggled_three_times_the_trace_is_complete_and_printed_once(self, paced: OpenPaced) -> None:
        screen = paced(holds=["Count", "s0", "r1"])
        screen.enter(STRAWBERRY)
        for hint in ("Ctrl-T hides it", "Ctrl-T shows it", "Ctrl-T hides it"):
            screen.wait_for("thinking ·")
            screen.type(ctrl("T"))
            screen.wait_for(hint)
            screen.release()
        wait_for_the_end(screen)
        assert self.trace_on(screen) == TRACE

    def test_hiding_stops_the_trace(self, paced: OpenPaced) -> None:
        screen = paced("--thinking", "show", holds=["s0"])
        screen.enter(STRAWBERRY)
        screen.wait_for("│ s0")
        screen.type(ctrl("T"))
        screen.wait_for("Ctrl-T shows it")
        screen.release()
        wait_for_the_end(screen)
        assert "y3" not in screen.everything()
        assert screen.everything().count("Count r in strawberry:") == 1

    def test_the_choice_is_remembered_in_the_next_run(self, paced: OpenPaced) -> None:
        first = paced()
        first.type(ctrl("T"))
        first.wait_for("thinking shown")
        first.type(ctrl("D"))
        assert first.status == 0
        second = paced()
        second.wait_for("thinking shown")
        second.type(ctrl("T"))
        second.wait_for("thinking hidden")
        second.type(ctrl("D"))
        assert second.status == 0
        paced().wait_for("thinking hidden")

    def trace_on(self, screen: Screen) -> str:
        """The text after the bars."""
        return "\n".join(line[2:] for line in screen.everything().split("\n") if line.startswith("│ "))


class TestGoingBack:
    """Thinking that went round in circles goes on from an earlier place."""

    REPLY = ("So it is 42. So it is 42. So it is 42.⟲26 But wait, why?", "42")
    LINE = "went round in circles; back 26 tokens"

    def test_the_scrollback_stays_and_a_line_says_so(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced("--thinking", "show", reply=self.REPLY, size=(40, 24), holds=["42. So it is 42. So it is 42."])
        screen.enter("hello")
        screen.wait_for("│ 42.")
        screen.release()
        screen.wait_for(" tok/s")
        trace = f"│ So it is 42. So it is 42. So it is\n│ 42.\n{self.LINE}\n│ But wait, why?\nthought for"
        assert trace in screen.everything()
        (turn,) = turns(own_home)
        assert turn.thinking == "So it is 42. But wait, why?"

    def test_hidden_it_shows_nothing(self, paced: OpenPaced) -> None:
        screen = paced(reply=self.REPLY, holds=["42. So it is 42. So it is 42."])
        screen.enter("hello")
        screen.wait_for("thinking ·")
        screen.release()
        screen.wait_for(" tok/s")
        assert "circles" not in screen.everything()


class TestAnswerNow:
    """Escape ends the thinking."""

    @pytest.mark.parametrize("environ", [{}, {"R1_KEYS": "vi"}, {"TMUX": "/none,1,0"}], ids=["emacs", "vi", "tmux"])
    def test_escape_makes_it_answer(self, paced: OpenPaced, own_home: Path, environ: dict[str, str]) -> None:
        """In tmux, the terminal's width is asked for before each frame, and the answers come between the keys."""
        screen = paced(holds=["s0 t0"], **environ)
        screen.enter(STRAWBERRY)
        screen.wait_for(lambda: re.search(r" left · thinking [0-9]{2}( ·|$)", "\n".join(screen.screen()), re.M))
        screen.type(ESCAPE)
        screen.wait_for(lambda: "thought for" in screen.everything())
        wait_for_the_end(screen, "The letter r appears")
        (turn,) = turns(own_home)
        assert (turn.finish_reason, turn.thinking_end) == ("stop", "user")
        assert re.search(r"^thought for .* · stopped by you$", screen.everything(), re.M)
        assert len(turn.thinking) < len(TRACE)
        assert TRACE.startswith(turn.thinking)
        assert turn.answer.startswith("The letter r appears")

    def test_in_vi_mode_escape_belongs_to_the_draft_if_there_is_one(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced(R1_KEYS="vi", holds=["s0"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.type("xy")
        screen.wait_for(lambda: screen.draft().startswith("> xy\n"))
        screen.type(ESCAPE)
        screen.wait_for(lambda: screen.cursor()[0] == len("> x"))  # vi's Escape moves the cursor onto the last letter
        screen.type("x")
        screen.wait_for(lambda: screen.draft().startswith("> x\n"))
        screen.release()
        wait_for_the_end(screen)
        (turn,) = turns(own_home)
        assert turn.thinking == TRACE


class TestStopping:
    """Ctrl-C saves the reply so far, and the chat goes on."""

    MARK = "stopped; the reply so far is saved (/retry to ask again)"

    def test_while_it_thinks(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced("--thinking", "show", holds=["s0 t0"])
        screen.enter(STRAWBERRY)
        screen.wait_for("│ s0 t0")
        screen.type(ctrl("C"))
        screen.wait_for(self.MARK)
        (turn,) = turns(own_home)
        assert (turn.finish_reason, turn.answer) == ("interrupted", "")
        assert TRACE.startswith(turn.thinking)
        assert turn.thinking.startswith("Count r in strawberry:\ns0 t0")
        self.assert_the_next_turn_works(screen)

    def test_while_it_answers(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced(holds=["Hello! I am"])
        screen.enter("hello")
        screen.wait_for("Hello! I am")
        screen.type(ctrl("C"))
        screen.wait_for(self.MARK)
        (turn,) = turns(own_home)
        assert turn.finish_reason == "interrupted"
        assert turn.thinking == "A greeting."
        assert turn.answer.startswith("Hello! I am")
        assert GREETING.startswith(turn.answer)
        assert len(turn.answer) < len(GREETING)
        shown = words(screen.everything())
        assert f"{turn.answer} {self.MARK}" in shown
        self.assert_the_next_turn_works(screen)

    def assert_the_next_turn_works(self, screen: Screen) -> None:
        assert THREE in screen.said_after(STRAWBERRY.replace("How", "how"), "strawberry.")


class TestTypingAhead:
    """Enter while a reply is being made."""

    def test_a_message_is_queued_shown_and_sent_afterwards(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced(holds=["Count r"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("What is 2 + 2?")
        screen.wait_for("queued: What is 2 + 2?")
        assert screen.draft().startswith(">\n")
        screen.release()
        wait_for_the_end(screen, "2 + 2 = 4")
        assert "queued:" not in screen.everything()
        assert screen.everything().index(THREE) < screen.everything().index("\n> What is 2 + 2?\n")
        assert screen.everything().count("What is 2 + 2?") == 1
        assert [turn.asked.question for turn in turns(own_home)] == [STRAWBERRY, "What is 2 + 2?"]

    def test_stopping_puts_the_queue_into_the_draft(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced(holds=["Count r"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("hello")
        screen.wait_for("queued: hello")
        screen.enter("bye")
        screen.wait_for("queued: bye")
        screen.type(ctrl("C"))
        screen.wait_for(lambda: screen.draft().startswith("> hello\n  bye\n"))
        screen.wait_for("stopped;")
        screen.settle()
        assert len(turns(own_home)) == 1

    def test_stopping_keeps_a_draft_beside_the_queue(self, paced: OpenPaced) -> None:
        screen = paced(holds=["Count r"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("hello")
        screen.wait_for("queued: hello")
        screen.type("a draft")
        screen.wait_for(lambda: screen.draft().startswith("> a draft\n"))
        screen.type(ctrl("C"))
        screen.wait_for("stopped;")
        assert "hello" in screen.draft()
        assert "a draft" in screen.draft()

    def test_the_output_of_a_command_is_below_the_reply_and_follows_it_at_the_end(self, paced: OpenPaced) -> None:
        screen = paced(holds=["Count r", "The letter"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("/stats")
        screen.wait_for("resident")
        screen.release()
        screen.wait_for("The letter")
        assert screen.everything().index("The letter") < screen.everything().index("> /stats")
        screen.release()
        wait_for_the_end(screen)
        said = screen.everything()
        assert said.count("> /stats") == said.count("resident") == said.count(THREE) == 1
        assert said.index(THREE) < said.index("> /stats") < said.index("resident")

    def test_only_some_commands_wait(self, paced: OpenPaced) -> None:
        screen = paced(holds=["Count r"])
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("/context")
        screen.wait_for("trained for")
        screen.enter("/undo")
        screen.wait_for("queued: /undo")
        screen.release()
        screen.wait_for("removed:")


class TestLimits:
    """The ends of the context and of the token limit are announced."""

    def test_a_full_context_names_the_remedies(self, paced: OpenPaced) -> None:
        screen = paced("--ctx", "128", size=(120, 60), holds=["never"])
        said = words(screen.said_after(STRAWBERRY, "/clear"))
        assert "The letter r appears" in said
        assert said.endswith(
            "the answer is incomplete: the context of 128 tokens is full; make room: /set ctx 256, "
            "/trim (oldest turns), /undo (last turn) or /clear (new chat)"
        )

    def test_a_context_that_is_nearly_full_is_announced_during_the_reply(self, paced: OpenPaced) -> None:
        screen = paced("--ctx", "128", size=(120, 60))
        screen.enter("hello")
        screen.wait_for(
            lambda: re.search(
                r"^the context is nearly full: [1-9][0-9]* tokens left$", "\n".join(screen.screen()), re.M
            )
        )
        screen.wait_for("is full; make room:")

    def test_trimming_makes_room(self, paced: OpenPaced) -> None:
        screen = paced("--ctx", "200", size=(120, 60), holds=["never"])
        screen.said_after(STRAWBERRY, THREE)
        assert "the context of 200 tokens is full" in words(screen.said_after("hello", "(new chat)"))
        screen.said_after("/trim", "no longer sees")
        assert GREETING in words(screen.said_after("/retry", "larger."))

    def test_a_prompt_that_is_too_long_is_restored_with_up(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced("--ctx", "128", size=(120, 60), holds=["never"])
        question = "x" * 150
        screen.type(question)
        screen.wait_for("x" * 110)
        screen.type("\r")
        told = "the context holds 128; press Up to restore and shorten it, or make room:"
        screen.wait_for(lambda: told in words(screen.everything()))
        screen.type("\x1b[A")
        screen.wait_for(lambda: screen.draft().startswith("> xxx"))
        screen.wait_for(lambda: re.sub(r"\s", "", screen.draft().rpartition("\n")[0]).startswith(f">{question}"))
        assert turns(own_home) == []

    def test_a_token_limit_is_named(self, paced: OpenPaced) -> None:
        screen = paced("--max-tokens", "5", "--reserve", "0", size=(120, 30), holds=["never"])
        said = screen.said_after(STRAWBERRY, "/retry")
        assert said.endswith(
            "no answer yet, the model was still thinking: the limit of 5 tokens was reached; "
            "/set max-tokens N, then /retry"
        )


class TestVotes:
    """Nothing is streamed while several replies vote; a line says how the vote stands, on any screen."""

    ASKED = ("--votes", "8", "--confidence", "1", "--seed", "1")

    def test_the_tally_grows_and_the_winner_is_a_turn(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced(*self.ASKED, holds=["0 of 8", "1 of 8", "2 of 8", "3 of 8", "4 of 8"], R1_TEMP="1.0")
        screen.enter(STRAWBERRY)
        screen.wait_for(lambda: re.search(r"^0 of 8 · [0-9]+ running · [0-9,]+ tok/s · Esc", self.shown(screen), re.M))
        screen.resize(40)
        screen.wait_for(lambda: re.search(r"^0 of 8 · [0-9]+ running · [0-9,]+ tok/s$", self.shown(screen), re.M))
        assert "The letter" not in screen.everything()
        screen.release()
        screen.wait_for(lambda: re.search(r"^[1-4] of 8 · 3 ×[1-4] · ", self.shown(screen), re.M))
        for _ in range(4):
            screen.release()
        screen.wait_for(lambda: re.search(r"\n\n[0-9] of [0-9] votes for 3[;,\n]", screen.everything()))
        assert THREE in words(screen.everything())
        assert "running" not in screen.everything()
        (turn,) = turns(own_home)
        assert turn.finish_reason == "stop"

    def test_ctrl_c_ends_it_with_the_winner_so_far(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced(*self.ASKED, holds=["1 of 8", "2 of 8", "3 of 8", "4 of 8"], R1_TEMP="1.0")
        screen.enter(STRAWBERRY)
        screen.wait_for(lambda: re.search(r"^[1-4] of 8 · 3 ×[1-4] · ", self.shown(screen), re.M))
        screen.type(ctrl("c"))
        screen.wait_for("stopped by you: ")
        wait_for_the_end(screen)
        (turn,) = turns(own_home)
        assert turn.finish_reason == "stop"

    def test_escape_makes_them_answer(self, paced: OpenPaced, own_home: Path) -> None:
        screen = paced("--votes", "2", "--seed", "1", holds=["0 of 2"], R1_TEMP="1.0")
        screen.enter(STRAWBERRY)
        screen.wait_for("0 of 2 · ")
        screen.type(ESCAPE)
        screen.wait_for("stopped by you\n")
        screen.wait_for(lambda: screen.draft().startswith(">"))
        (turn,) = turns(own_home)
        assert turn.thinking_end == "user"

    def shown(self, screen: Screen) -> str:
        return "\n".join(screen.screen())
