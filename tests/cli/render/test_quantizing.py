"""`r1.render.quantizing`: what is said while a conversion goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from r1.render import quantizing
from r1.render.quantizing import Report, follow
from r1_quantize.events import Advanced, Checked, Event, Finished, Planned, Resumed, StartedOver, TensorDone
from tests.fakes.consoles import console, written

PLANNED = Planned(Path("x"), "Q4_K_M", tensors=3, bytes_in=3_000_000_000, bytes_out=1_000_000_000)
FINISHED = Finished(Path("x.gguf"), 1_000_000_000, 1.0)
BODY: tuple[Event, ...] = (
    Advanced("a", 1_000_000_000, 300_000_000),
    TensorDone(1, "a", "Q4_K", 1_000_000_000, 300_000_000),
    Advanced("b", 2_000_000_000, 700_000_000),
    TensorDone(2, "b", "Q4_K", 2_000_000_000, 700_000_000),
    Checked(0),
    Checked(600_000_000),
    Checked(400_000_000),
)


@pytest.fixture
def at_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between two lines."""
    monkeypatch.setattr(quantizing, "_EVERY", 0.0)


def said(*events: Event, report: Report = "lines") -> list[str]:
    """The lines on stderr."""
    screen = console()
    assert follow(screen, iter((*events, FINISHED)), "model", report) == FINISHED
    assert written(screen.stdout) == ""
    return written(screen.stderr).splitlines()


class TestLines:
    """Off a terminal: the plan at once, then a line every few seconds."""

    def test_a_short_conversion_has_one_line(self) -> None:
        assert said(PLANNED, *BODY) == ["r1: model → Q4_K_M: 3 tensors, 3 GB in, 1 GB out"]

    def test_a_long_one_says_how_far_it_is(self, at_every_event: None) -> None:
        _, first, second, *checks = said(PLANNED, *BODY)
        assert first.startswith("r1: tensor 1 of 3 · ")
        assert " · 1 GB of 3 GB read · 300 MB written · reading " in first
        assert first.endswith("/s")
        assert second.startswith("r1: tensor 2 of 3 · 3 GB of 3 GB read · 1 GB written · reading ")
        assert checks == [
            "r1: written; the disk takes what is still in memory",
            "r1: reading it back, 600 MB of 1 GB",
            "r1: reading it back, 1 GB of 1 GB",
        ]

    def test_what_an_earlier_run_did_is_said_and_counted_but_not_as_speed(self, at_every_event: None) -> None:
        resumed = Resumed(1, 1_000_000_000, 300_000_000)
        _, first, second, *_ = said(PLANNED, resumed, Advanced("b", 1000, 10), *BODY[3:])
        assert first.startswith("r1: going on after tensor 1; ")
        assert "1 GB of 3 GB read" in second
        assert "tensor 2 of 3" in second

    def test_starting_over_is_said_with_its_reason(self, at_every_event: None) -> None:
        _, second, third, *_ = said(PLANNED, StartedOver("x was changed"), *BODY)
        assert second == "r1: starting over: x was changed"
        assert third.startswith("r1: tensor 1 of 3")

    @pytest.mark.parametrize("report", ["nothing", "json"])
    def test_nothing_where_nothing_is_wanted(self, at_every_event: None, report: Report) -> None:
        assert said(PLANNED, *BODY, report=report) == []


class TestInterrupted:
    """Ctrl-C passes through, after a line that says how to go on."""

    def interrupted(self, *events: Event, report: Report = "lines") -> list[str]:
        def until_ctrl_c() -> Iterator[Event]:
            yield from events
            raise KeyboardInterrupt

        screen = console()
        with pytest.raises(KeyboardInterrupt):
            follow(screen, until_ctrl_c(), "model", report)
        return written(screen.stderr).splitlines()

    def test_when_something_is_done(self) -> None:
        last = self.interrupted(PLANNED, *BODY[:3])[-1]
        assert last == "r1: stopped; 1 of 3 tensors are done, and the same command goes on from there"

    def test_when_nothing_is_done_there_is_nothing_to_say(self) -> None:
        assert len(self.interrupted(PLANNED, BODY[0])) == 1

    def test_quietly(self) -> None:
        assert self.interrupted(PLANNED, *BODY, report="nothing") == []
