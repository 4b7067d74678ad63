"""`r1.render.event_lines`: what a script reads of a pull, an object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1.render import event_lines as module
from r1.render.event_lines import event_lines
from r1_quantize.events import (
    Advanced,
    Arrived,
    Checked,
    Hashed,
    Fetched,
    Fetching,
    Finished,
    Noted,
    PipelineEvent,
    Planned,
    Preparing,
    Present,
    WaitingForLock,
    Rechecked,
    Rejected,
    Resumed,
    StartedOver,
    TensorDone,
    Waiting,
)
from tests.cli.render.test_progress import PLANNED, PULL, Clock
from tests.fakes.consoles import console, written

HOSTILE = 'a\n{"event": "finished"}\x1b[2J\u2028│'


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The only clock there is."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def lines(*events: PipelineEvent, clock: Clock | None = None, seconds: float = 1.0) -> list[dict[str, Any]]:
    """What is written of these, of which with a `clock` each takes so many seconds."""
    made, passed = console(), []
    for event in event_lines(made, iter(events), "qwen-7b:Q4_K_M", lambda plan: {"repo": plan.repo}):
        passed.append(event)
        if clock:
            clock.now += seconds
    assert passed == list(events)
    assert written(made.stderr) == ""
    text = written(made.stdout)
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


class TestEvents:
    """Each event that says something is a line of its own, at once."""

    @pytest.mark.parametrize(
        ("event", "facts"),
        [
            (Noted("the cache is taken"), {"event": "note", "text": "the cache is taken"}),
            (WaitingForLock("it is being made"), {"event": "queued", "reason": "it is being made"}),
            (Arrived("b.gguf", 10), {"event": "arrived", "file": "b.gguf", "bytes": 10}),
            (Rejected("b.gguf", 10, "it is bad"), {"event": "rejected", "file": "b.gguf", "reason": "it is bad"}),
            (Waiting(0.5, "it failed"), {"event": "waiting", "seconds": 0.5, "reason": "it failed"}),
            (StartedOver("it changed"), {"event": "started_over", "reason": "it changed"}),
            (
                Finished(Path("/m/Q.gguf"), 10, 1.5),
                {"event": "finished", "reference": "qwen-7b:Q4_K_M", "path": str(Path("/m/Q.gguf")), "bytes": 10},
            ),
            (
                Present("qwen-7b:Q4_K_M", Path("/m/Q.gguf"), 10, current=True),
                {"event": "present", "reference": "qwen-7b:Q4_K_M", "path": str(Path("/m/Q.gguf")), "bytes": 10},
            ),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_that_say_something(self, event: PipelineEvent, facts: dict[str, Any]) -> None:
        assert lines(event) == [facts]

    @pytest.mark.parametrize(
        "event",
        [
            *(PLANNED, Preparing("Q4_K"), TensorDone(1, "a", "Q4_K", 1, 1), Resumed(1, 1, 1)),
            *(Fetched("a", 1), Fetched(None, 1), Hashed(1), Rechecked(1), Advanced("a", 1, 1), Checked(1)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_that_come_by_the_thousand_say_nothing_alone(self, event: PipelineEvent) -> None:
        assert lines(*[event] * 100) == []

    def test_what_is_fetched_is_said_once_it_is_planned(self) -> None:
        small, large = Fetching("config.json", 10, 0), Fetching("a/b.gguf", 10, 3)
        plan, fetching = lines(small, PULL, large)
        assert plan == {"event": "plan", "repo": "owner/model"}
        assert fetching == {"event": "fetching", "file": "a/b.gguf", "bytes": 10, "here": 3}

    def test_what_a_hub_says_breaks_no_line(self) -> None:
        _, found = lines(PULL, Fetching(HOSTILE, 1, 0))
        assert found["file"] == HOSTILE

    def test_what_is_no_text_is_written_all_the_same(self) -> None:
        (found,) = lines(Finished(Path("/m/a\udcff.gguf"), 10, 1.5))
        assert found["path"] == str(Path("/m/a\udcff.gguf"))


class TestProgress:
    """How far it is comes once a second, while something moves."""

    def progress(self, *events: PipelineEvent, clock: Clock, seconds: float) -> list[dict[str, Any]]:
        return [line for line in lines(*events, clock=clock, seconds=seconds) if line["event"] == "progress"]

    @pytest.mark.parametrize(("seconds", "count"), [(0.01, 9), (0.3, 250), (1.0, 999), (60.0, 999)])
    def test_once_a_second_at_most(self, clock: Clock, seconds: float, count: int) -> None:
        found = self.progress(*[Fetched("a", 1)] * 1000, clock=clock, seconds=seconds)
        assert count - 2 <= len(found) <= count + 1

    def test_has_true_counts(self, clock: Clock) -> None:
        fetched = [Fetched("a.safetensors", 1_000_000_000)] * 2
        advanced = Advanced("a", 1_000_000_000, 300_000_000)
        done = TensorDone(1, "a", "Q4_K", 1_000_000_000, 300_000_000)
        *_, last = self.progress(
            PULL, Planned(Path("x"), "Q4_K_M", PULL.tensors, 3_000_000_000, 1_000_000_000), *fetched, advanced, done,
            Rechecked(1), clock=clock, seconds=2
        )  # fmt: skip
        assert (last["fetched_bytes"], last["of_fetched_bytes"]) == (2_000_000_000, 6_000_000_000)
        assert (last["tensors"], last["of_tensors"]) == (1, 3)
        assert (last["read_bytes"], last["of_read_bytes"]) == (1_000_000_000, 3_000_000_000)
        assert (last["written_bytes"], last["of_written_bytes"]) == (300_000_000, 1_000_000_000)
        assert last["checked_bytes"] == 0

    def test_says_that_nobody_knows_what_is_left(self, clock: Clock) -> None:
        first, *_ = self.progress(PULL, Fetched("a", 1), Fetched("a", 1), clock=clock, seconds=2)
        assert first["left_s"] is None

    def test_nothing_while_nothing_moves(self, clock: Clock) -> None:
        assert self.progress(*[TensorDone(1, "a", "Q4_K", 1, 1)] * 10, clock=clock, seconds=5) == []
