"""`r1.render.lines_progress`: how many prompts are answered, how fast, and how long the rest will take."""

from __future__ import annotations

import threading

import pytest

from r1.console import Console
from r1.render.lines_progress import LinesProgress
from r1.render.status_line import StatusLine
from tests.fakes.clock import Clock
from tests.fakes.consoles import console, written

TERMINAL = {"TERM": "xterm", "COLUMNS": "80"}


def progress(clock: Clock, total: int | None = None, made: Console | None = None) -> LinesProgress:
    made = made or console()
    return LinesProgress(made, total, status=StatusLine(made, clock.ticker, clock), clock=clock)


class TestWordings:
    """Counts, tokens per second over the last seconds, and the time left where it can be known."""

    def test_before_anything(self) -> None:
        assert progress(Clock()).wordings()[0] == "0 done · 0 running"

    def test_of_an_input_of_unknown_length(self) -> None:
        clock = Clock()
        found = progress(clock)
        for _ in range(3):
            found.begin(100)
        for _ in range(10):
            clock.advance(0.5)
            found.add_tokens(30)
        found.finish(100)
        assert found.wordings() == ["1 done · 2 running · 60 tok/s", "1 done · 2 running", "1 done"]

    def test_the_rate_is_of_the_last_seconds(self) -> None:
        clock = Clock()
        found = progress(clock)
        found.begin(100)
        for _ in range(20):
            clock.advance(0.5)
            found.add_tokens(50)
        for _ in range(12):
            clock.advance(0.5)
            found.add_tokens(4)
        assert "8.0 tok/s" in found.wordings()[0]

    def test_the_time_left_follows_from_the_share_that_is_answered(self) -> None:
        """A tenth is answered in a minute, and a tenth is under way, half done on average."""
        clock = Clock()
        found = progress(clock, total=10_000)
        for _ in range(10):
            found.begin(100)
        clock.advance(60)
        for _ in range(10):
            found.finish(100)
            found.begin(100)
        # 1,000 + 500 bytes of work in 60 s: the other 8,500 take 340 s
        assert found.wordings()[0] == "10 done · 10 running · about 6 min left"
        assert found.wordings()[-2:] == ["10 done · 6 min left", "10 done"]

    def test_there_is_no_time_left_until_enough_is_answered(self) -> None:
        clock = Clock()
        found = progress(clock, total=1000)
        for _ in range(4):
            found.begin(10)
        for done in range(1, 5):
            clock.advance(10)
            found.finish(10)
            found.begin(10)
            assert ("left" in found.wordings()[0]) == (done >= 4)

    def test_skipped_lines_count_neither_as_done_nor_as_left(self) -> None:
        clock = Clock()
        found = progress(clock, total=1000)
        found.skip(800)
        for _ in range(2):
            found.begin(50)
            clock.advance(60)
            found.finish(50)
        assert found.wordings()[0] == "2 done · 0 running · about 2 min left"

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (5, "less than a minute left"),
            (40, "about 1 min left"),
            (95, "about 2 min left"),
            (3600, "about 1 h left"),
            (5000, "about 1 h 23 min left"),
        ],
    )
    def test_the_time_left_is_in_minutes(self, seconds: int, words: str) -> None:
        clock = Clock()
        found = progress(clock, total=400)
        for _ in range(2):
            found.begin(100)
            clock.advance(seconds / 2)
            found.finish(100)
        assert found.wordings()[0].endswith(f" · {words}")
        assert found.wordings()[-2].endswith(f" · {'< 1 min left' if seconds < 30 else words.removeprefix('about ')}")

    def test_who_counts_something_else_words_it_and_may_add_to_the_line(self) -> None:
        clock = Clock()
        found = LinesProgress(
            console(), 10, done=lambda done: f"{5 + done} of 15 samples", more=lambda: "no winner yet: 3", clock=clock
        )
        found.begin(1)
        assert found.wordings()[0] == "5 of 15 samples · 1 running · no winner yet: 3"
        for _ in range(2):
            clock.advance(30)
            found.finish(1)
            found.begin(1)
        # 2 and a half of 10 samples in 60 s: the other 7 and a half take 180 s
        assert found.wordings()[0] == "7 of 15 samples · 1 running · about 3 min left · no winner yet: 3"
        assert found.wordings()[1] == "7 of 15 samples · 3 min left · no winner yet: 3"
        assert found.wordings()[2] == "7 of 15 samples · 1 running · about 3 min left"

    def test_each_wording_is_shorter_than_the_one_before(self) -> None:
        clock = Clock()
        found = progress(clock, total=100_000)
        for _ in range(1234):
            found.begin(10)
            clock.advance(1)
            found.add_tokens(5000)
            found.finish(10)
        found.begin(10)
        lengths = list(map(len, found.wordings()))
        assert lengths == sorted(lengths, reverse=True)
        assert lengths[2] <= 40


class TestLine:
    """On a terminal only, and out of the way of what is printed."""

    def shown(self, made: Console) -> tuple[Clock, LinesProgress]:
        clock = Clock()
        found = progress(clock, made=made)
        found.begin(10)
        found.show()
        clock.advance(1)
        return clock, found

    def test_it_is_shown_until_it_is_hidden(self) -> None:
        made = console(stderr_is_terminal=True, environ=TERMINAL)
        clock, found = self.shown(made)
        assert written(made.stderr).endswith("0 done · 1 running\x1b[22m")
        found.hide()
        assert written(made.stderr).endswith("\r\x1b[K")
        before = written(made.stderr)
        clock.advance(5)
        assert written(made.stderr) == before

    def test_it_makes_way_for_what_is_printed(self) -> None:
        made = console(stderr_is_terminal=True, environ=TERMINAL)
        clock, found = self.shown(made)
        with found.aside():
            assert written(made.stderr).endswith("\r\x1b[K")
        clock.advance(0.6)
        assert written(made.stderr).endswith("0 done · 1 running\x1b[22m")

    @pytest.mark.parametrize("made", [console(environ=TERMINAL), console(stderr_is_terminal=True, environ=TERMINAL)])
    def test_there_is_none_in_a_pipe_or_with_q(self, made: Console) -> None:
        made.quiet = made.stderr_is_terminal
        self.shown(made)
        assert written(made.stderr) == ""


def test_it_may_be_read_while_it_changes() -> None:
    found = LinesProgress(console(), 10**9)
    stop = threading.Event()
    read = []

    def repeat() -> None:
        while not stop.is_set():
            read.append(found.wordings())

    thread = threading.Thread(target=repeat)
    thread.start()
    for _ in range(2000):
        found.begin(10)
        found.add_tokens(3)
        found.skip(5)
        found.finish(10)
    stop.set()
    thread.join()
    assert read
    assert found.wordings()[0].startswith("2,000 done")
