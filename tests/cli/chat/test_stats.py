"""`r1.chat.stats`: the figures of /stats in words, and on a narrow screen."""

from __future__ import annotations

import pytest

from r1.chat.stats import drafts, latency
from r1.engine.events import Drafted
from tests.fakes.views import Talk


@pytest.mark.parametrize(("seconds", "words"), [(0.0454, "45 ms"), (0.099, "99 ms"), (0.1, "0.10 s"), (2.34, "2.34 s")])
def test_short_times_are_in_milliseconds(seconds: float, words: str) -> None:
    assert latency(seconds) == words


@pytest.mark.parametrize(
    ("drafted", "words"),
    [
        (Drafted(1400, 1050, 700, 1.84), "1,050 of 1,400 guesses right, 2.5 tokens a pass, 1.8 × as fast as without"),
        (Drafted(1, 0, 30), "0 of 1 guess right, 1.0 tokens a pass"),
        (Drafted(0, 0, 30), "none"),
    ],
)
def test_what_came_of_drafts(drafted: Drafted, words: str) -> None:
    assert drafts(drafted) == words


def test_on_a_narrow_screen_long_lines_go_on_in_their_column(talk: Talk) -> None:
    talk.say("hello")
    talk.view.style.width = 40
    lines = talk.say("/stats").rstrip("\n").split("\n")
    assert max(map(len, lines)) < 40
    (first,) = (number for number, line in enumerate(lines) if line.startswith("plan         "))
    assert len(lines) > first + 1
    assert all(line.startswith(" " * 13) for line in lines[first + 1 :])
