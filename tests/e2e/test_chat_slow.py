"""A chat that is met in the middle of a reply: the built-in model, made slow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from r1.history.history import History, StoredTurn
from tests.e2e.conftest import Open
from tests.e2e.screen import Screen

STRAWBERRY = "How many r's are in strawberry?"
TRACE = "Count r in strawberry:\ns0 t0 r1 a1 w1 b1 e1 r2 r3 y3"
THREE = "The letter r appears 3 times in strawberry."
GREETING = (
    "Hello! I am tiny, the demonstration model built into r1. Ask me to add or subtract, to count a letter in a word, "
    "or which of two decimals is larger."
)
ESCAPE = "\x1b"


def ctrl(letter: str) -> str:
    return chr(ord(letter) & 0x1F)


def turns(own_home: Path) -> list[StoredTurn]:
    """The first chat, as another process finds it."""
    with History.open(own_home / "history.db") as history:
        return history.turns(1)


def words(text: str) -> str:
    return " ".join(text.split())


def squeezed(text: str) -> str:
    """Without white space: a terminal that wraps breaks words too."""
    return "".join(text.split())


def wait_for_the_end(screen: Screen, answer: str = THREE) -> None:
    screen.wait_for(lambda: answer in words(screen.everything()) and " tok/s" in "\n".join(screen.screen()))


class TestHiddenThinking:
    """One line that counts."""

    def test_a_line_counts_and_then_says_how_long_it_was(self, slow: Open) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        counts: set[int] = set()

        def counted() -> bool:
            found = re.search(
                r"^thinking · [0-9] s · ([0-9]+) tokens · ctrl-t shows it · esc answers now$",
                "\n".join(screen.screen()),
                re.M,
            )
            if found:
                counts.add(int(found[1]))
            return THREE in screen.everything()

        screen.wait_for(counted)
        assert len(counts) > 3
        assert all(0 <= count <= 54 for count in counts)
        assert re.search(r"^thought for [0-9] s · 54 tokens$", screen.everything(), re.M)
        assert "ctrl-t shows it" not in screen.everything()
        assert "Count r" not in screen.everything()

    def test_the_draft_is_there_meanwhile_and_keeps_what_is_typed(self, slow: Open) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.type("and rasp")
        screen.wait_for(lambda: screen.draft().startswith("> and rasp\n"))
        wait_for_the_end(screen)
        assert screen.draft().startswith("> and rasp\n")
        screen.type("berry?")
        screen.wait_for(lambda: screen.draft().startswith("> and raspberry?\n"))


class TestTurningItOver:
    """Ctrl-T, in the middle of thinking."""

    def test_what_was_thought_so_far_comes_up_and_goes_on(self, slow: Open) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        screen.wait_for(lambda: re.search(r"thinking · . s · (?!. )[0-9]+ tokens", "\n".join(screen.screen())))
        assert "│" not in screen.everything()
        screen.type(ctrl("T"))
        screen.wait_for("│ Count r")
        screen.wait_for("ctrl-t hides it")
        wait_for_the_end(screen)
        assert self.trace_on(screen) == TRACE

    def test_shown_hidden_and_shown_again_it_is_whole_and_stands_there_once(self, slow: Open) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        for sign in ("ctrl-t hides it", "ctrl-t shows it", "ctrl-t hides it"):
            screen.wait_for("thinking ·")
            screen.type(ctrl("T"))
            screen.wait_for(sign)
        wait_for_the_end(screen)
        assert self.trace_on(screen) == TRACE

    def test_hidden_in_the_middle_it_goes_no_further(self, slow: Open) -> None:
        screen = slow("--thinking", "show")
        screen.enter(STRAWBERRY)
        screen.wait_for("│ s0")
        screen.type(ctrl("T"))
        screen.wait_for("ctrl-t shows it")
        wait_for_the_end(screen)
        assert "y3" not in screen.everything()
        assert screen.everything().count("Count r in strawberry:") == 1

    def test_it_is_remembered_in_the_next_run(self, slow: Open) -> None:
        first = slow()
        first.type(ctrl("T"))
        first.wait_for("thinking shown")
        first.type(ctrl("D"))
        assert first.status == 0
        second = slow()
        second.wait_for("thinking shown")
        second.type(ctrl("T"))
        second.wait_for("thinking hidden")
        second.type(ctrl("D"))
        assert second.status == 0
        slow().wait_for("thinking hidden")

    def trace_on(self, screen: Screen) -> str:
        """What stands behind the bars."""
        return "\n".join(line[2:] for line in screen.everything().split("\n") if line.startswith("│ "))


class TestAnswerNow:
    """Escape closes the thinking."""

    @pytest.mark.parametrize("keys", ["emacs", "vi"])
    def test_escape_makes_it_answer(self, slow: Open, own_home: Path, keys: str) -> None:
        screen = slow(R1_KEYS=keys)
        screen.enter(STRAWBERRY)
        screen.wait_for(lambda: re.search(r"thinking · . s · [0-9]{2} tokens", "\n".join(screen.screen())))
        screen.type(ESCAPE)
        screen.wait_for(lambda: "thought for" in screen.everything())
        wait_for_the_end(screen, "The letter r appears")
        (turn,) = turns(own_home)
        assert turn.finish_reason == "stop"
        assert len(turn.thinking) < len(TRACE)
        assert TRACE.startswith(turn.thinking)
        assert turn.answer.startswith("The letter r appears")

    def test_in_vi_mode_escape_belongs_to_a_draft_where_there_is_one(self, slow: Open, own_home: Path) -> None:
        screen = slow(R1_KEYS="vi")
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.type("xy")
        screen.wait_for(lambda: screen.draft().startswith("> xy\n"))
        screen.type(ESCAPE)
        screen.pump(0.3)  # a key that follows within that time would make another key of it
        screen.type("x")
        screen.wait_for(lambda: screen.draft().startswith("> x\n"))
        wait_for_the_end(screen)
        (turn,) = turns(own_home)
        assert turn.thinking == TRACE


class TestStopping:
    """Ctrl-C: what was said is kept, and the chat goes on."""

    MARK = "stopped; what was said is kept (/retry asks again)"

    def test_while_it_thinks(self, slow: Open, own_home: Path) -> None:
        screen = slow("--thinking", "show")
        screen.enter(STRAWBERRY)
        screen.wait_for("│ s0 t0")
        screen.type(ctrl("C"))
        screen.wait_for(self.MARK)
        (turn,) = turns(own_home)
        assert (turn.finish_reason, turn.answer) == ("interrupted", "")
        assert TRACE.startswith(turn.thinking)
        assert turn.thinking.startswith("Count r in strawberry:\ns0 t0")
        self.assert_the_next_turn_works(screen)

    def test_while_it_answers(self, slow: Open, own_home: Path) -> None:
        screen = slow()
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
    """Enter, while it speaks."""

    def test_a_message_waits_is_named_and_is_sent_afterwards(self, slow: Open, own_home: Path) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("What is 2 + 2?")
        screen.wait_for("next: What is 2 + 2?")
        assert screen.draft().startswith(">\n")
        wait_for_the_end(screen, "2 + 2 = 4")
        assert "next:" not in screen.everything()
        assert screen.everything().index(THREE) < screen.everything().index("\n> What is 2 + 2?\n")
        assert screen.everything().count("What is 2 + 2?") == 1
        screen.settle()
        assert [turn.asked.question for turn in turns(own_home)] == [STRAWBERRY, "What is 2 + 2?"]

    def test_stopped_what_waits_becomes_the_draft(self, slow: Open, own_home: Path) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("hello")
        screen.wait_for("next: hello")
        screen.enter("bye")
        screen.wait_for("next: bye")
        screen.type(ctrl("C"))
        screen.wait_for(lambda: screen.draft().startswith("> hello\n  bye\n"))
        screen.settle()
        assert len(turns(own_home)) == 1

    def test_stopped_a_draft_is_not_lost_to_what_waits(self, slow: Open) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("hello")
        screen.wait_for("next: hello")
        screen.type("a draft")
        screen.wait_for(lambda: screen.draft().startswith("> a draft\n"))
        screen.type(ctrl("C"))
        screen.wait_for("stopped;")
        assert "hello" in screen.draft()
        assert "a draft" in screen.draft()

    def test_a_command_that_has_to_wait_waits_and_others_do_not(self, slow: Open) -> None:
        screen = slow()
        screen.enter(STRAWBERRY)
        screen.wait_for("thinking ·")
        screen.enter("/context")
        screen.wait_for("trained for")
        screen.enter("/undo")
        screen.wait_for("next: /undo")
        screen.wait_for("taken back:")


class TestResizing:
    """In the middle of a reply, whose words all stay, once."""

    @pytest.mark.parametrize("columns", [20, 40, 100])
    def test_on_a_terminal_that_wraps_every_word_stays_and_stands_there_once(self, slow: Open, columns: int) -> None:
        screen = slow(wraps=True, size=(80, 24))
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

    def test_to_and_fro_with_the_thinking_shown(self, slow: Open) -> None:
        screen = slow("--thinking", "show", wraps=True, size=(80, 24))
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
    def test_on_a_terminal_that_cuts_nothing_that_fits_is_lost(self, slow: Open, columns: int) -> None:
        screen = slow(size=(80, 24))
        screen.enter("hello")
        screen.wait_for("demonstration")
        screen.resize(columns)
        wait_for_the_end(screen, "larger.")
        screen.settle()
        assert words(screen.everything()).count(words(GREETING.partition("demonstration ")[2])) == 1
        assert "Traceback" not in screen.everything()


class TestLimits:
    """What happens at the end of a context, and of patience."""

    def test_a_full_context_is_announced_with_what_can_be_done(self, slow: Open) -> None:
        screen = slow("--ctx", "128", size=(120, 60))
        said = words(screen.said_after(STRAWBERRY, "/clear"))
        assert "The letter r appears" in said
        assert said.endswith(
            "the answer is not whole: the context of 128 tokens is full. Make room: /set ctx 256, /trim leaves out the "
            "oldest turns, /undo the last, /clear begins anew"
        )

    def test_that_little_is_left_is_said_while_it_still_speaks(self, slow: Open) -> None:
        screen = slow("--ctx", "128", size=(120, 60))
        screen.enter("hello")
        screen.wait_for(
            lambda: re.search(
                r"^the context is nearly full: [1-9][0-9]* tokens left$", "\n".join(screen.screen()), re.M
            )
        )
        screen.wait_for("is full. Make room:")

    def test_trimming_makes_it_go_on(self, slow: Open) -> None:
        screen = slow("--ctx", "200", size=(120, 60))
        screen.said_after(STRAWBERRY, THREE)
        assert "the context of 200 tokens is full" in words(screen.said_after("hello", "begins anew"))
        screen.said_after("/trim", "no longer sees")
        assert GREETING in words(screen.said_after("/retry", "larger."))

    def test_a_prompt_that_is_too_long_is_one_line_and_one_key_away(self, slow: Open, own_home: Path) -> None:
        screen = slow("--ctx", "128", size=(120, 60))
        question = "x" * 150
        screen.type(question)
        screen.wait_for("x" * 110)
        screen.type("\r")
        screen.wait_for(
            lambda: "the context holds 128. Shorten it (up brings it back), or make room:" in words(screen.everything())
        )
        screen.type("\x1b[A")
        screen.wait_for(lambda: screen.draft().startswith("> xxx"))
        assert re.sub(r"\s", "", screen.draft().rpartition("\n")[0]).startswith(f">{question}")
        screen.settle()
        assert turns(own_home) == []

    def test_a_limit_of_tokens_is_named(self, slow: Open) -> None:
        screen = slow("--max-tokens", "5", size=(120, 30))
        said = screen.said_after(STRAWBERRY, "/retry")
        assert said.endswith("there is no answer yet: the limit of 5 tokens was reached (/set max-tokens N, /retry)")
