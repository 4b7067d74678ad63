"""`r1.render.plain`: a line where loading takes long enough to be noticed."""

from __future__ import annotations

import pytest

from r1.render import plain
from r1.render.plain import LoadingLine
from tests.fakes.consoles import console, written


class Clock:
    """Stands still until it is told to go on."""

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
    """Half a second without a word, then a line that takes its own place."""

    def test_says_nothing_of_what_is_quick(self, clock: Clock) -> None:
        there = console(stderr_is_terminal=True)
        line = LoadingLine(there, "qwen-7b:Q4_K_M")
        clock.now += 0.4
        line(0.5)
        line.end()
        assert written(there.stderr) == ""

    def test_counts_what_is_slow_and_goes_away(self, clock: Clock) -> None:
        there = console(stderr_is_terminal=True)
        line = LoadingLine(there, "qwen-7b:Q4_K_M")
        for share in (0.25, 0.5):
            clock.now += 0.6
            line(share)
        line.end()
        said = written(there.stderr)
        assert "loading qwen-7b:Q4_K_M · 25%" in said
        assert said.index("25%") < said.index("50%")
        assert said.endswith("\r\x1b[K")
        assert "\n" not in said

    def test_is_not_drawn_for_each_byte(self, clock: Clock) -> None:
        there = console(stderr_is_terminal=True)
        line = LoadingLine(there, "x")
        clock.now += 1
        for step in range(1000):
            clock.now += 0.001
            line(step / 1000)
        assert 8 <= written(there.stderr).count("loading") <= 12

    def test_fits_a_narrow_terminal(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "20")
        there = console(stderr_is_terminal=True)
        line = LoadingLine(there, "a-model-with-a-long-name:Q4_K_M")
        clock.now += 1
        line(0.5)
        assert "loading · 50%" in written(there.stderr)

    def test_says_nothing_to_scripts(self, clock: Clock) -> None:
        there = console()
        line = LoadingLine(there, "x")
        clock.now += 10
        line(0.5)
        line.end()
        assert written(there.stderr) == ""
