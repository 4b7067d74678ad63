"""`r1.render.status_line`: appears after half a second, is replaced in place and removed at the end."""

from __future__ import annotations

import threading

import pytest

from r1.console import Console
from r1.render.status_line import StatusLine, tick_in_thread
from tests.fakes.clock import Clock
from tests.fakes.consoles import console, written

TERMINAL = {"TERM": "xterm", "COLUMNS": "80"}


def terminal(**environ: str) -> Console:
    return console(stderr_is_terminal=True, environ={**TERMINAL, **environ})


def begun(made: Console, clock: Clock, *wordings: str) -> StatusLine:
    line = StatusLine(made, clock.ticker, clock)
    line.begin(lambda: wordings or (f"at {clock.now:.0f}",))
    return line


class TestStatusLine:
    """Never for a short wait, never in a pipe, never with -q."""

    def test_a_short_wait_shows_nothing(self) -> None:
        clock, made = Clock(), terminal()
        line = begun(made, clock)
        clock.advance(0.4)
        line.end()
        assert written(made.stderr) == ""

    def test_it_counts_up_in_place_and_is_removed(self) -> None:
        clock, made = Clock(), terminal()
        line = begun(made, clock)
        clock.advance(2)
        line.end()
        said = written(made.stderr)
        assert said.index("at 101") < said.index("at 102")
        assert said.endswith("\r\x1b[K")
        assert "\n" not in said

    def test_it_is_redrawn_at_most_ten_times_a_second(self) -> None:
        clock, made = Clock(), terminal()
        begun(made, clock)
        clock.advance(1.5)
        assert 8 <= written(made.stderr).count("at 10") <= 12

    def test_it_begins_only_once_and_can_begin_again_after_its_end(self) -> None:
        clock, made = Clock(), terminal()
        line = begun(made, clock, "first")
        clock.advance(0.4)
        line.begin(lambda: ["second"])
        clock.advance(0.2)
        assert "first" in written(made.stderr)
        line.end()
        line.begin(lambda: ["third"])
        clock.advance(0.4)
        assert "third" not in written(made.stderr)
        clock.advance(0.2)
        assert "third" in written(made.stderr)

    @pytest.mark.parametrize(("columns", "shown"), [("80", "a b c"), ("6", "a b c"), ("5", "a b"), ("3", "a")])
    def test_the_longest_wording_that_fits_is_shown(self, columns: str, shown: str) -> None:
        clock, made = Clock(), terminal(COLUMNS=columns)
        begun(made, clock, "a b c", "a b", "a")
        clock.advance(0.6)
        assert written(made.stderr).endswith(f"\x1b[2m{shown}\x1b[22m")

    @pytest.mark.parametrize(("columns", "shown"), [("7", "答案 b"), ("6", "答案"), ("5", "答案"), ("4", "答")])
    def test_a_wide_character_takes_two_columns(self, columns: str, shown: str) -> None:
        clock, made = Clock(), terminal(COLUMNS=columns)
        begun(made, clock, "答案 b", "答案")
        clock.advance(0.6)
        assert written(made.stderr).endswith(f"\x1b[2m{shown}\x1b[22m")

    @pytest.mark.parametrize("made", [console(environ=TERMINAL), console(stderr_is_terminal=True)])
    def test_a_pipe_and_a_quiet_console_get_nothing(self, made: Console) -> None:
        made.quiet = made.stderr_is_terminal
        clock = Clock()
        line = begun(made, clock)
        clock.advance(100)
        line.end()
        assert written(made.stderr) == ""

    @pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
    def test_a_terminal_without_escape_codes_gets_a_line_every_30_seconds(self, environ: dict[str, str]) -> None:
        clock, made = Clock(), terminal(**environ)
        line = begun(made, clock)
        clock.advance(29)
        assert written(made.stderr) == ""
        clock.advance(33)
        line.end()
        assert written(made.stderr) == "r1: at 130\nr1: at 160\n"


class TestOtherText:
    """Other text never stands on the status line."""

    def test_a_warning_removes_the_line_first(self) -> None:
        clock, made = Clock(), terminal()
        begun(made, clock, "busy")
        clock.advance(0.6)
        made.warn("careful")
        assert written(made.stderr).endswith("busy\x1b[22m\r\x1b[Kr1: careful\n")

    def test_so_does_text_on_a_terminal_behind_stdout(self) -> None:
        clock, made = Clock(), terminal()
        made.stdout_is_terminal = True
        begun(made, clock, "busy")
        clock.advance(0.6)
        made.out("text")
        assert written(made.stderr).endswith("busy\x1b[22m\r\x1b[K")


def test_the_thread_calls_until_its_end() -> None:
    called = threading.Event()
    end = tick_in_thread(0.001, called.set)
    assert called.wait(60)
    end()
    assert "r1-status" not in [thread.name for thread in threading.enumerate()]
