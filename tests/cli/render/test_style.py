"""`r1.render.style`: the width, the colours, and the program's own messages."""

from __future__ import annotations

import pytest

from r1.render.style import Style


class TestNote:
    """Messages are wrapped at words, and no line reaches the last column."""

    def test_is_dim_and_ends_in_a_newline(self) -> None:
        assert Style(80).note("saved") == "\x1b[2msaved\x1b[0m\n"

    def test_without_colour_it_has_no_escape_codes(self) -> None:
        assert Style(80, colour=False).note("saved", "1") == "saved\n"

    def test_wraps_one_column_before_the_edge(self) -> None:
        assert Style(8, colour=False).note("one two three") == "one two\nthree\n"
        assert Style(9, colour=False).note("12345678 b") == "12345678\nb\n"

    def test_continues_an_indented_line_two_columns_further_in(self) -> None:
        assert Style(18, colour=False).note("  one two three four") == "  one two three\n    four\n"

    def test_keeps_its_own_line_breaks(self) -> None:
        assert Style(80, colour=False).note("one\n\n  two") == "one\n\n  two\n"

    @pytest.mark.parametrize("width", [1, 4, 8])
    def test_on_an_absurdly_narrow_terminal_words_stay_readable(self, width: int) -> None:
        assert Style(width, colour=False).note("readable") in {"readable\n", "readabl\ne\n"}

    def test_control_codes_are_removed(self) -> None:
        assert Style(80, colour=False).note("a\x1b[2Jb\x07\tc") == "a[2Jb   c\n"


class TestStyled:
    """SGR codes around the text."""

    def test_needs_colour_and_text(self) -> None:
        assert Style(80).styled("x", "1") == "\x1b[1mx\x1b[0m"
        assert Style(80).styled("", "1") == ""
        assert Style(80, colour=False).styled("x", "1") == "x"

    def test_a_changed_width_counts_at_once(self) -> None:
        style = Style(80, colour=False)
        style.width = 8
        assert style.note("one two three") == "one two\nthree\n"
