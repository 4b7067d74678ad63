"""A terminal that is resized in the middle of a reply; the model is slow for it."""

from __future__ import annotations

import pytest

from tests.e2e.chat.conftest import GREETING, OpenPaced, squeezed, wait_for_the_end, words


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
