"""`r1.console`: what may go to a pipe, and what to a terminal."""

from __future__ import annotations

import pytest

from r1.console import printable
from tests.fakes.consoles import console, written

HOSTILE = "a\x1b[31mred\x1b]0;title\x07 \x9b2J\rb\x08\x7f\n\tc"


class TestStdout:
    """Scripts get bytes, terminals get nothing that could steer them."""

    def test_a_pipe_gets_every_character(self) -> None:
        made = console()
        made.out(HOSTILE)
        assert written(made.stdout) == HOSTILE

    def test_a_terminal_gets_no_control_characters(self) -> None:
        made = console(stdout_is_terminal=True)
        made.out(HOSTILE)
        assert written(made.stdout) == "a[31mred]0;title 2Jb\n\tc"

    def test_other_alphabets_are_printable(self) -> None:
        assert printable("naïve 日本語 😀 עברית\n") == "naïve 日本語 😀 עברית\n"


class TestStderr:
    """Notes are for people, warnings for everybody."""

    def test_a_note_reaches_a_terminal_only(self) -> None:
        script, person = console(), console(stderr_is_terminal=True, environ={"TERM": "xterm"})
        for made in (script, person):
            made.note("hello")
        assert written(script.stderr) == ""
        assert written(person.stderr) == "\x1b[2mr1: hello\n\x1b[22m"

    def test_a_warning_is_one_line(self) -> None:
        made = console()
        made.warn("first\nsecond")
        assert written(made.stderr) == "r1: first second\n"

    @pytest.mark.parametrize("environ", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
    def test_dim_text_is_plain_where_style_is_unwanted(self, environ: dict[str, str]) -> None:
        made = console(stderr_is_terminal=True, environ=environ)
        made.err("trace", dim=True)
        assert written(made.stderr) == "trace"

    def test_style_never_reaches_a_pipe(self) -> None:
        made = console(environ={"TERM": "xterm"})
        made.err("trace", dim=True)
        assert written(made.stderr) == "trace"
