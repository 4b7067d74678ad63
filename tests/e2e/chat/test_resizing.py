"""A terminal that is resized in the middle of a reply; the model is slow for it."""

from __future__ import annotations

import re

import pytest

from tests.e2e.chat.conftest import GREETING, OpenPaced, PacedChat, squeezed, wait_for_the_end, words


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


TRACE = " ".join(f"h{number}thought" for number in range(50))
PARTS = {
    "paragraph": " ".join(f"p{number}paragraph" for number in range(50)),
    "list": "\n".join("- " + " ".join(f"l{item}x{number}item" for number in range(14)) for item in range(3)),
    "table": "| Name | Value |\n|---|---|\n"
    + "\n".join(f"| t{row}name | v{row}value w{row}value |" for row in range(6)),
    "code": "```\n" + "\n".join(f"    c{line}a = b{line}b + d{line}c" for line in range(8)) + "\n```",
    "quote": "> " + " ".join(f"q{number}quoted" for number in range(50)),
}
MIDDLE = {"paragraph": "p25par", "list": "l1x7i", "table": "t3name", "code": "c4a", "quote": "q25quo"}
WORD = re.compile(r"[a-z]\d\w+")


class TestEveryBlock:
    """A block in whose middle the width changes twice: each of its words, and of the others, is there once."""

    @pytest.mark.parametrize("part", PARTS)
    def test_in_the_middle_of_an_answer(self, paced: OpenPaced, part: str) -> None:
        answer = "\n\n".join([*PARTS.values(), "The end."])
        screen = paced(holds=[MIDDLE[part]], reply=("Hm.", answer), wraps=True, size=(80, 24))
        self.resize_twice(screen, MIDDLE[part])
        self.assert_each_word_once(screen, answer)

    def test_in_the_middle_of_the_thinking(self, paced: OpenPaced) -> None:
        screen = paced("--thinking", "show", holds=["h25"], reply=(TRACE, "The end."), wraps=True, size=(80, 24))
        self.resize_twice(screen, "h25")
        self.assert_each_word_once(screen, TRACE)

    @pytest.mark.parametrize("part", ["paragraph", "code"])
    def test_in_tmux_which_tells_the_new_width_late(self, paced: OpenPaced, part: str) -> None:
        """The signal arrives after several frames; the program asks the terminal for its width before each one."""
        answer = "\n\n".join([*PARTS.values(), "The end."])
        begins, goes_on = MIDDLE[part], "The"
        screen = paced(holds=[begins, goes_on], reply=("Hm.", answer), wraps=True, size=(80, 24), TMUX="/none,1,0")
        screen.enter("hello")
        screen.wait_for(lambda: begins in squeezed(screen.everything()))
        screen.resize(40, tells=False)
        screen.release()
        screen.wait_for(
            lambda: all(word in squeezed(screen.everything()) for word in WORD.findall(PARTS["quote"])[:40])
        )
        screen.tell_size()
        screen.release()
        self.assert_each_word_once(screen, answer)

    def resize_twice(self, screen: PacedChat, moment: str) -> None:
        screen.enter("hello")
        screen.wait_for(lambda: moment in squeezed(screen.everything()))
        screen.resize(40)
        screen.wait_for(lambda: "context " not in "\n".join(screen.screen()))  # a narrow toolbar has no room for it
        screen.resize(100)
        screen.wait_for("context ")
        screen.release()

    def assert_each_word_once(self, screen: PacedChat, text: str) -> None:
        wait_for_the_end(screen, "The end.")
        screen.settle()
        shown = re.sub(r"[\s│]", "", screen.everything())
        assert {word: shown.count(word) for word in WORD.findall(text)} == dict.fromkeys(WORD.findall(text), 1)
