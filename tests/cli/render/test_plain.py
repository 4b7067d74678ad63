"""`r1.render.plain`: which event goes to which stream."""

from __future__ import annotations

import pytest

from r1.console import Console
from r1.engine.events import Answer, Event, Finished, Prefill, Thinking, Timings, Usage
from r1.render.plain import PlainView, TraceTo, follow
from tests.fakes.consoles import console, written

END = Finished("stop", Usage(1, 2, 3), Timings(0, 0, 0, 0))
TURN: list[Event] = [Prefill(0, 4), Prefill(4, 4), Thinking("hm"), Thinking(" so"), Answer("a"), Answer("b"), END]


def shown(made: Console, trace_to: TraceTo, *, show_answer: bool = True) -> tuple[str, str]:
    follow(TURN, PlainView(made, trace_to, show_answer))
    return written(made.stdout), written(made.stderr)


class TestPlainView:
    """Text on streams, each begun text ended by one newline."""

    def test_hidden_trace(self) -> None:
        assert shown(console(), "nowhere") == ("ab\n", "")

    def test_trace_on_stderr(self) -> None:
        assert shown(console(), "stderr") == ("ab\n", "hm so\n")

    def test_trace_on_stdout_alone(self) -> None:
        assert shown(console(), "stdout", show_answer=False) == ("hm so\n", "")

    def test_nothing_at_all(self) -> None:
        assert shown(console(), "nowhere", show_answer=False) == ("", "")

    def test_a_terminal_with_both_gets_a_blank_line_between(self) -> None:
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
    """What a turn came to."""

    def test_joins_the_pieces(self) -> None:
        reply = follow(TURN, PlainView(console(), "nowhere", show_answer=False))
        assert (reply.thinking, reply.answer, reply.finished) == ("hm so", "ab", END)
