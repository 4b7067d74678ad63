"""`r1.render.trace`: a trace is wrapped behind a bar as it arrives, and followed where it goes back."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from r1.engine.events import Rewound
from r1.render.style import Style
from r1.render.trace import RunningTrace, Trace, render_trace

TEXT = "First, 17 + 25. Carry the one.\n\n  indented, a-word-that-is-longer-than-any-line\n漢字と仮名のまじった文。"


def plain(width: int) -> Style:
    return Style(width, colour=False)


class TestTrace:
    """Lines are returned once they are full; nothing is lost or repeated."""

    def test_each_line_has_a_bar(self) -> None:
        assert render_trace("one two three", plain(10 + 4)) == "│ one two\n│ three\n"

    def test_it_is_dim_where_there_are_colours(self) -> None:
        assert render_trace("hm", Style(40)) == "\x1b[2m│ hm\x1b[0m\n"

    def test_a_line_is_returned_when_it_is_full(self) -> None:
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
    def test_every_line_fits_and_has_every_word_once(self, width: int) -> None:
        lines = render_trace(TEXT, plain(width)).splitlines()
        assert all(cell_len(line) <= max(width, 2) for line in lines)  # a wide character takes two columns
        said = "".join(line.removeprefix("│") for line in lines)
        assert "".join(said.split()) == "".join(TEXT.split())

    @pytest.mark.parametrize("seed", range(20))
    def test_the_size_of_the_pieces_makes_no_difference(self, seed: int) -> None:
        random.seed(seed)
        width = random.randint(3, 50)
        trace, said, rest = Trace(plain(width)), "", TEXT
        while rest:
            cut = random.randint(1, 9)
            said, rest = said + trace.feed(rest[:cut]), rest[cut:]
        assert said + trace.end() == render_trace(TEXT, plain(width))

    def test_chinese_breaks_between_characters_but_not_before_punctuation(self) -> None:
        """As in answers: https://www.w3.org/TR/clreq/#prohibition_rules_for_line_start_end"""
        said = [line.removeprefix("│").strip() for line in render_trace("数一数，一共三个。", plain(15)).splitlines()]
        assert "".join(said) == "数一数，一共三个。"
        assert len(said) > 1
        assert not any(line.startswith(("，", "。")) for line in said)


def back(thinking: str, dropped: int) -> Rewound:
    return Rewound(thinking, len(thinking), dropped)


def line(dropped: int) -> str:
    return f"went round in circles; back {dropped} tokens\n"


class TestRunningTrace:
    """Lines in the scrollback stay, and no text is repeated or lost after the trace went back."""

    @pytest.fixture
    def trace(self) -> RunningTrace:
        return RunningTrace(plain(60))

    def test_it_may_go_back_twice_between_two_drawings(self, trace: RunningTrace) -> None:
        trace.add("abc")
        trace.draw()
        trace.add("def ghi")
        trace.go_back(back("abcdef", 4), is_shown=True)
        trace.add("jkl")
        trace.go_back(back("abcdefj", 2), is_shown=True)
        trace.add("mno")
        assert trace.draw() == f"│ abcdef\n{line(4)}│ … abcdefj\n{line(2)}"
        assert trace.live() == "│ … abcdefjmno"

    def test_the_second_time_behind_the_first(self, trace: RunningTrace) -> None:
        trace.add("abc abc")
        trace.draw()
        trace.go_back(back("abc", 4), is_shown=True)
        trace.add(" def")
        trace.go_back(back("ab", 5), is_shown=True)
        trace.add("x")
        assert trace.draw() == f"│ abc abc\n{line(4)}{line(5)}"
        assert trace.live() == "│ … abx"

    def test_lines_that_are_full_are_not_wrapped_again(self) -> None:
        trace = RunningTrace(plain(16))
        trace.add("one two three four five")
        assert trace.draw() == "│ one two three\n"
        trace.go_back(back("one", 4), is_shown=True)
        trace.add("\n\n  six seven eight")
        assert trace.draw() == "│ four five\nwent round in\ncircles; back 4\ntokens\n│ six seven\n"
        assert (trace.live(), trace.end()) == ("│ eight", "│ eight\n")

    def test_text_that_is_another_is_drawn_from_where_it_differs(self, trace: RunningTrace) -> None:
        trace.add("café au lait")
        trace.draw()
        trace.go_back(back("cafe noir", 3), is_shown=True)
        assert trace.draw() == f"│ café au lait\n{line(3)}"
        assert trace.live() == "│ … cafe noir"

    @pytest.mark.parametrize("seed", range(20))
    def test_what_is_drawn_after_the_last_line_about_it_ends_the_trace(self, seed: int) -> None:
        random.seed(seed)
        trace, text, drawn = RunningTrace(plain(40)), "", ""
        for _ in range(200):
            if random.random() < 0.05:
                text = text[: random.randint(0, len(text))].rstrip()
                trace.go_back(back(text, 7), is_shown=random.random() < 0.5)
            else:
                piece = "".join(random.choices("abc \n", k=random.randint(1, 5)))
                text += piece
                trace.add(piece)
            if random.random() < 0.3:
                drawn += trace.draw()
        trace.add("end")
        drawn += trace.draw() + trace.end()
        shown = "".join(drawn.rpartition(line(7))[2].replace("│", "").replace("…", "").split())
        assert shown.endswith("end")
        assert f"{''.join(text.split())}end".endswith(shown)

    def test_a_trace_that_never_went_back_is_as_a_complete_one(self, trace: RunningTrace) -> None:
        drawn = ""
        for character in TEXT:
            trace.add(character)
            drawn += trace.draw()
        assert drawn + trace.end() == render_trace(TEXT, plain(60))
