"""`r1.render.plain`: which event goes to which stream, and the line that shows how much is loaded."""

from __future__ import annotations

import pytest

from r1.console import Console
from r1.engine.events import Answer, Event, Finished, Prefill, Thinking, Timings, Usage
from r1.render import plain
from r1.render.plain import LoadingLine, PlainView, TraceTo, follow
from tests.fakes.consoles import console, written

END = Finished("stop", Usage(1, 2, 3), Timings(0, 0, 0, 0))
TURN: list[Event] = [Prefill(0, 4), Prefill(4, 4), Thinking("hm"), Thinking(" so"), Answer("a"), Answer("b"), END]


def shown(made: Console, trace_to: TraceTo, *, show_answer: bool = True) -> tuple[str, str]:
    follow(TURN, PlainView(made, trace_to, show_answer))
    return written(made.stdout), written(made.stderr)


class TestPlainView:
    """Text on streams; each ends with one newline."""

    def test_hidden_trace(self) -> None:
        assert shown(console(), "nowhere") == ("ab\n", "")

    def test_trace_on_stderr(self) -> None:
        assert shown(console(), "stderr") == ("ab\n", "hm so\n")

    def test_trace_on_stdout_alone(self) -> None:
        assert shown(console(), "stdout", show_answer=False) == ("hm so\n", "")

    def test_neither(self) -> None:
        assert shown(console(), "nowhere", show_answer=False) == ("", "")

    def test_a_terminal_that_shows_both_gets_a_blank_line_between(self) -> None:
        made = console(stdout_is_terminal=True, stderr_is_terminal=True, environ={"TERM": "dumb"})
        assert shown(made, "stderr") == ("ab\n", "hm so\n\n")

    def test_a_turn_without_an_answer_prints_nothing_on_stdout(self) -> None:
        made = console()
        follow([Thinking("hm"), END], PlainView(made, "nowhere", show_answer=True))
        assert written(made.stdout) == ""

    @pytest.mark.parametrize("terminal", [True, False])
    def test_text_that_looks_like_markup_is_text(self, terminal: bool) -> None:
        made = console(stdout_is_terminal=terminal)
        follow([Answer("[bold]x[/bold] [x]"), END], PlainView(made, "nowhere", show_answer=True))
        assert written(made.stdout) == "[bold]x[/bold] [x]\n"


class TestFollow:
    """The finished reply."""

    def test_joins_the_pieces(self) -> None:
        reply = follow(TURN, PlainView(console(), "nowhere", show_answer=False))
        assert (reply.thinking, reply.answer, reply.finished) == ("hm so", "ab", END)


class Clock:
    """Stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(plain, "time", made)
    return made


class TestLoadingLine:
    """Appears after half a second, is rewritten in place and removed at the end."""

    def test_does_not_appear_if_loading_is_quick(self, clock: Clock) -> None:
        made = console(stderr_is_terminal=True)
        line = LoadingLine(made, "qwen-7b:Q4_K_M")
        clock.now += 0.4
        line(0.5)
        line.end()
        assert written(made.stderr) == ""

    def test_counts_up_and_is_removed(self, clock: Clock) -> None:
        made = console(stderr_is_terminal=True)
        line = LoadingLine(made, "qwen-7b:Q4_K_M")
        for share in (0.25, 0.5):
            clock.now += 0.6
            line(share)
        line.end()
        said = written(made.stderr)
        assert "loading qwen-7b:Q4_K_M · 25%" in said
        assert said.index("25%") < said.index("50%")
        assert said.endswith("\r\x1b[K")
        assert "\n" not in said

    def test_is_redrawn_at_most_ten_times_a_second(self, clock: Clock) -> None:
        made = console(stderr_is_terminal=True)
        line = LoadingLine(made, "x")
        clock.now += 1
        for step in range(1000):
            clock.now += 0.001
            line(step / 1000)
        assert 8 <= written(made.stderr).count("loading") <= 12

    def test_fits_a_narrow_terminal(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "20")
        made = console(stderr_is_terminal=True)
        line = LoadingLine(made, "a-model-with-a-long-name:Q4_K_M")
        clock.now += 1
        line(0.5)
        assert "loading · 50%" in written(made.stderr)

    def test_does_not_appear_in_a_pipe(self, clock: Clock) -> None:
        made = console()
        line = LoadingLine(made, "x")
        clock.now += 10
        line(0.5)
        line.end()
        assert written(made.stderr) == ""
