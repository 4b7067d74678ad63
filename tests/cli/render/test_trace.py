"""`r1.render.reply`: a trace in lines that fit, as it comes."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from r1.render.reply import Trace, render_trace
from r1.render.style import Style

TEXT = "First, 17 + 25. Carry the one.\n\n  indented, a-word-that-is-longer-than-any-line\n漢字と仮名のまじった文。"


def plain(width: int) -> Style:
    return Style(width, colour=False)


class TestTrace:
    """Full lines are let go at once; nothing is lost or said twice."""

    def test_stands_behind_a_bar(self) -> None:
        assert render_trace("one two three", plain(10 + 4)) == "│ one two\n│ three\n"

    def test_is_dim_where_there_are_colours(self) -> None:
        assert render_trace("hm", Style(40)) == "\x1b[2m│ hm\x1b[0m\n"

    def test_a_line_is_let_go_when_it_is_full_and_not_before(self) -> None:
        trace = Trace(plain(16))
        assert trace.feed("one two three") == ""
        assert trace.live() == "│ one two three"
        assert trace.feed(" four") == "│ one two three\n"
        assert trace.live() == "│ four"
        assert trace.end() == "│ four\n"
        assert trace.live() == trace.end() == ""

    def test_blank_lines_and_indents_stay(self) -> None:
        assert render_trace("a\n\n  b", plain(40)) == "│ a\n│\n│   b\n"

    def test_escape_codes_do_not_reach_the_terminal(self) -> None:
        assert "\x1b" not in render_trace("\x1b[2Jhm\x1b]0;x\x07", plain(40))

    @pytest.mark.parametrize("width", [1, 2, 5, 13, 20, 40, 200])
    def test_every_line_fits_and_every_word_is_there_once(self, width: int) -> None:
        lines = render_trace(TEXT, plain(width)).splitlines()
        assert all(cell_len(line) <= max(width, 2) for line in lines)  # a wide character takes two columns
        said = "".join(line.removeprefix("│") for line in lines)
        assert "".join(said.split()) == "".join(TEXT.split())

    @pytest.mark.parametrize("seed", range(20))
    def test_the_pieces_it_comes_in_make_no_difference(self, seed: int) -> None:
        random.seed(seed)
        width = random.randint(3, 50)
        trace, said, rest = Trace(plain(width)), "", TEXT
        while rest:
            cut = random.randint(1, 9)
            said, rest = said + trace.feed(rest[:cut]), rest[cut:]
        assert said + trace.end() == render_trace(TEXT, plain(width))
