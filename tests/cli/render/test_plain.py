"""`r1.render.plain`: which event goes to which stream and when, and what a status line says meanwhile."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1.console import Console
from r1.engine.events import Answer, Event, Finished, Prefill, Rewound, Scored, Thinking, Thought, Timings, Usage
from r1.render.plain import LoadingLine, PlainView, TraceTo, follow
from r1.render.status_line import StatusLine
from r1_quantize.errors import R1Error
from tests.fakes.clock import Clock
from tests.fakes.consoles import console, written

END = Finished("stop", Usage(1, 2, 3), Timings(0, 0, 0, 0))
TURN: list[Event] = [Prefill(0, 4), Prefill(4, 4), Thinking("hm"), Thinking(" so"), Answer("a"), Answer("b"), END]


def shown(made: Console, trace_to: TraceTo, *, show_answer: bool = True) -> tuple[str, str]:
    follow(TURN, PlainView(made, trace_to, show_answer=show_answer))
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

    def test_scores_are_not_shown(self) -> None:
        score = Scored(b"x", -0.5, ((b"y", -0.1),), is_thinking=True)
        made = console()
        scored = [part for event in TURN for part in (score, event)]
        reply = follow(scored, PlainView(made, "stderr", show_answer=True))
        assert (reply.thinking, reply.answer, reply.finished) == ("hm so", "ab", END)
        assert (written(made.stdout), written(made.stderr)) == ("ab\n", "hm so\n")


REWOUND: list[Event] = [
    *(Prefill(4, 4), Thinking("First.\nAgain", 5), Thinking(" and again", 2410)),
    *(Rewound("First.\nA", 3, 2407), Thinking("nother way.", 6), Thought(7), Answer("ab", 1), END),
]


class TestRewound:
    """The thinking went back: what was shown of it stays, and a line says so. The reply has the trace without it."""

    LINE = "r1: the thinking went round in circles; its last 2,407 tokens are taken back\n"

    def test_a_trace_on_stderr_goes_on_below_the_line(self) -> None:
        made = console()
        follow(REWOUND, PlainView(made, "stderr", show_answer=True))
        assert written(made.stderr) == f"First.\nAgain and again\n{self.LINE}nother way.\n"
        assert written(made.stdout) == "ab\n"

    def test_on_a_terminal_the_line_is_dim(self) -> None:
        made = console(stdout_is_terminal=True, stderr_is_terminal=True, environ={"TERM": "xterm"})
        follow(REWOUND, PlainView(made, "stderr", show_answer=True))
        assert f"again\x1b[22m\n\x1b[2m{self.LINE}\x1b[22m\x1b[2mnother way." in written(made.stderr)

    def test_on_a_quiet_console_the_line_is_left_out(self) -> None:
        made = console()
        made.quiet = True
        follow(REWOUND, PlainView(made, "stderr", show_answer=True))
        assert written(made.stderr) == "First.\nAgain and again\nnother way.\n"

    def test_a_trace_on_a_terminal_s_stdout_has_the_line_on_stderr(self) -> None:
        made = console(stdout_is_terminal=True)
        follow(REWOUND, PlainView(made, "stdout", show_answer=False))
        assert (written(made.stdout), written(made.stderr)) == ("First.\nAgain and again\nnother way.\n", self.LINE)

    def test_a_program_gets_only_what_stays(self) -> None:
        made = console()
        follow(REWOUND, PlainView(made, "stdout", show_answer=False))
        assert (written(made.stdout), written(made.stderr)) == ("First.\nAnother way.\n", "")

    def test_a_program_gets_what_there_is_when_the_reply_breaks_off(self) -> None:
        made = console()
        view = PlainView(made, "stdout", show_answer=False)
        view.show(Thinking("First.\nAg", 3))
        view.close()
        assert written(made.stdout) == "First.\nAg\n"

    def test_a_trace_that_is_not_shown_needs_none(self) -> None:
        made = console()
        follow(REWOUND, PlainView(made, "nowhere", show_answer=True))
        assert (written(made.stdout), written(made.stderr)) == ("ab\n", "")

    def test_the_reply_has_the_trace_that_counts(self) -> None:
        reply = follow(REWOUND, PlainView(console(), "stderr", show_answer=True))
        assert reply.thinking == "First.\nAnother way."


class Writes(io.StringIO):
    """Keeps each write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.each: list[str] = []

    def write(self, text: str) -> int:
        self.each.append(text)
        return super().write(text)


def split_console(**terminals: bool) -> tuple[Console, Writes, Writes]:
    made, out, err = console(**terminals), Writes(), Writes()
    made.stdout, made.stderr = out, err
    return made, out, err


PIECES = ["One\n", "\nTwo", " and", " a half\nThree\nFo", "ur"]
LINES = ["One\n", "\n", "Two and a half\n", "Three\n", "Four\n"]


class TestWholeLines:
    """Where no terminal is behind a stream, each line is one write, made as soon as the line is complete."""

    def test_an_answer(self) -> None:
        made, out, _ = split_console()
        follow([*map(Answer, PIECES), END], PlainView(made, "nowhere", show_answer=True))
        assert out.each == LINES

    def test_a_trace_on_stderr(self) -> None:
        made, _, err = split_console(stdout_is_terminal=True)
        follow([*map(Thinking, PIECES), END], PlainView(made, "stderr", show_answer=True))
        assert err.each == LINES

    def test_a_trace_on_stdout(self) -> None:
        made, out, _ = split_console(stderr_is_terminal=True)
        follow([*map(Thinking, PIECES), END], PlainView(made, "stdout", show_answer=False))
        assert out.each == LINES

    def test_a_terminal_gets_each_piece_at_once(self) -> None:
        made, out, _ = split_console(stdout_is_terminal=True)
        follow([*map(Answer, PIECES), END], PlainView(made, "nowhere", show_answer=True))
        assert out.each == [*PIECES, "\n"]

    @settings(max_examples=200)
    @given(st.lists(st.text(st.sampled_from("ab\n\r é\x85\u2028"), max_size=6), max_size=8))
    def test_however_the_text_is_split(self, pieces: list[str]) -> None:
        made, out, _ = split_console()
        follow([*map(Answer, pieces), END], PlainView(made, "nowhere", show_answer=True))
        assert all(each.endswith("\n") and each.count("\n") == 1 for each in out.each)
        assert "".join(out.each) == ("".join(pieces) + "\n" if pieces else "")

    def test_a_line_does_not_wait_for_the_next(self) -> None:
        made, out, _ = split_console()
        view = PlainView(made, "nowhere", show_answer=True)
        view.show(Answer("One"))
        assert out.each == []
        view.show(Answer(".\nTw"))
        assert out.each == ["One.\n"]

    def test_an_error_ends_the_line_that_was_begun(self) -> None:
        made, out, _ = split_console()

        def events() -> Iterator[Event]:
            yield Answer("One\nTw")
            raise R1Error("the model broke")

        with pytest.raises(R1Error):
            follow(events(), PlainView(made, "nowhere", show_answer=True))
        assert out.each == ["One\n", "Tw\n"]


def person(*, stdout_is_terminal: bool) -> Console:
    environ = {"TERM": "xterm", "COLUMNS": "80"}
    return console(stdout_is_terminal=stdout_is_terminal, stderr_is_terminal=True, environ=environ)


class TestStatus:
    """While nothing appears, a line on stderr says what is going on."""

    def view(self, made: Console, clock: Clock, trace_to: TraceTo, *, show_answer: bool) -> PlainView:
        return PlainView(made, trace_to, show_answer=show_answer, status=StatusLine(made, clock.ticker, clock))

    def said(self, made: Console, clock: Clock, view: PlainView, *events: Event) -> str:
        """What stderr says within a second of these events."""
        for event in events:
            view.show(event)
        before = len(written(made.stderr))
        clock.advance(1)
        return written(made.stderr)[before:]

    def test_hidden_thinking_is_counted_and_the_answer_removes_the_line(self) -> None:
        made, clock = person(stdout_is_terminal=True), Clock()
        view = self.view(made, clock, "nowhere", show_answer=True)
        assert "waiting for the model" in self.said(made, clock, view)
        assert "reading the prompt · 1,024 of 9,000 tokens" in self.said(made, clock, view, Prefill(1024, 9000))
        assert "thinking · " in self.said(made, clock, view, Prefill(9000, 9000), Thinking("a", 431))
        assert self.said(made, clock, view, Thought(432), Answer("b", 1)) == ""
        assert written(made.stderr).endswith("\r\x1b[K")
        assert self.said(made, clock, view, END) == ""

    def test_a_vote_is_tallied_until_its_winner_comes(self) -> None:
        made, clock = person(stdout_is_terminal=True), Clock()
        view = self.view(made, clock, "nowhere", show_answer=True)
        view.show_tally(["3 of 16 · 42 ×2 · " + "x" * 80, "3 of 16 · 42 ×2"])
        assert "3 of 16 · 42 ×2" in self.said(made, clock, view)
        assert "thinking · " in self.said(made, clock, view, Prefill(9, 9), Thinking("a", 431))

    def test_thinking_is_counted_against_its_budget(self) -> None:
        made, clock = person(stdout_is_terminal=True), Clock()
        view = PlainView(made, "nowhere", show_answer=True, budget=1024, status=StatusLine(made, clock.ticker, clock))
        assert " · 431 of 1,024 tokens" in self.said(made, clock, view, Prefill(9, 9), Thinking("a", 431))

    def test_thinking_that_is_shown_is_not_counted(self) -> None:
        made, clock = person(stdout_is_terminal=True), Clock()
        view = self.view(made, clock, "stderr", show_answer=True)
        assert self.said(made, clock, view, Prefill(4, 4), Thinking("a", 1)) == ""
        assert self.said(made, clock, view, Thought(2), Answer("b", 1), END) == ""
        assert "thinking ·" not in written(made.stderr)

    def test_json_is_counted_to_the_end(self) -> None:
        made, clock = person(stdout_is_terminal=False), Clock()
        view = self.view(made, clock, "nowhere", show_answer=False)
        assert "431 tokens" in self.said(made, clock, view, Prefill(4, 4), Thinking("a", 431))
        assert "answering · " in self.said(made, clock, view, Thought(432), Answer("b", 9))
        assert self.said(made, clock, view, END) == ""
        assert written(made.stderr).endswith("\r\x1b[K")

    def test_the_first_line_in_a_pipe_removes_it_because_the_reader_may_print_it(self) -> None:
        made, clock = person(stdout_is_terminal=False), Clock()
        view = self.view(made, clock, "nowhere", show_answer=True)
        assert "answering" in self.said(made, clock, view, Prefill(4, 4), Thought(1), Answer("a", 1))
        assert self.said(made, clock, view, Answer("\nb", 2)) == ""
        assert self.said(made, clock, view, Answer("c\nd", 4), END) == ""

    def test_a_trace_that_a_program_gets_at_the_end_leaves_it_until_then(self) -> None:
        made, clock = person(stdout_is_terminal=False), Clock()
        view = self.view(made, clock, "stdout", show_answer=False)
        assert "thinking" in self.said(made, clock, view, Prefill(4, 4), Thinking("a\n", 1))
        assert "thinking" in self.said(made, clock, view, Thinking("b", 2))
        view.show(END)
        assert written(made.stdout) == "a\nb\n"

    def test_a_file_behind_stdout_leaves_it(self, tmp_path: Path) -> None:
        made, clock = person(stdout_is_terminal=False), Clock()
        with (tmp_path / "answer").open("w", encoding="utf-8") as file:
            made.stdout = file
            view = self.view(made, clock, "stderr", show_answer=True)
            assert self.said(made, clock, view, Prefill(4, 4), Thinking("a", 1)) == ""
            assert "answering · " in self.said(made, clock, view, Thought(2), Answer("b\nc", 9))
            view.show(END)
        assert (tmp_path / "answer").read_text(encoding="utf-8") == "b\nc\n"

    def test_ctrl_c_leaves_a_clean_line(self) -> None:
        made, clock = person(stdout_is_terminal=True), Clock()

        def events() -> Iterator[Event]:
            yield Prefill(4, 4)
            clock.advance(1)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            follow(events(), self.view(made, clock, "nowhere", show_answer=True))
        assert "thinking" in written(made.stderr)
        assert written(made.stderr).endswith("\r\x1b[K")


class TestLoadingLine:
    """The model's name where it fits, and the share that is loaded."""

    @pytest.mark.parametrize(("columns", "shown"), [("80", "loading a-model:Q4_K_M · 50%"), ("20", "loading · 50%")])
    def test_says_how_much_is_loaded(self, columns: str, shown: str) -> None:
        made, clock = person(stdout_is_terminal=True), Clock()
        made.environ = {"TERM": "xterm", "COLUMNS": columns}
        line = LoadingLine(made, "a-model:Q4_K_M", StatusLine(made, clock.ticker, clock))
        line(0.5)
        clock.advance(1)
        line.end()
        assert shown in written(made.stderr)
        assert written(made.stderr).endswith("\r\x1b[K")
