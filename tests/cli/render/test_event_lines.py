"""`r1.render.event_lines`: the JSON Lines of a pull."""

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
    Fetched,
    Fetching,
    Finished,
    Hashed,
    Noted,
    PipelineEvent,
    Planned,
    Preparing,
    Present,
    Rechecked,
    Rejected,
    Resumed,
    StartedOver,
    TensorDone,
    Waiting,
    WaitingForLock,
)
from tests.fakes.consoles import console, written
from tests.fakes.pulls import PLANNED, PULL, Clock

HOSTILE = 'a\n{"event": "finished"}\x1b[2J\u2028│'


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that `event_lines` sees."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def lines(*events: PipelineEvent, clock: Clock | None = None, seconds: float = 1.0) -> list[dict[str, Any]]:
    """The lines written for the events; with a `clock`, each event takes `seconds`."""
    screen, passed = console(), []
    for event in event_lines(screen, iter(events), "qwen-7b:Q4_K_M", lambda plan: {"repo": plan.repo}):
        passed.append(event)
        if clock:
            clock.now += seconds
    assert passed == list(events)
    assert written(screen.stderr) == ""
    text = written(screen.stdout)
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


RESULT = {"reference": "qwen-7b:Q4_K_M", "path": str(Path("/m/Q.gguf")), "bytes": 10}


class TestEvents:
    """Each event, except the frequent ones, is a line of its own, at once."""

    @pytest.mark.parametrize(
        ("event", "facts"),
        [
            (Noted("the cache is taken"), {"event": "note", "text": "the cache is taken"}),
            (WaitingForLock("it is being made"), {"event": "queued", "reason": "it is being made"}),
            (Arrived("b.gguf", 10), {"event": "arrived", "file": "b.gguf", "bytes": 10}),
            (Rejected("b.gguf", 10, "it is bad"), {"event": "rejected", "file": "b.gguf", "reason": "it is bad"}),
            (Waiting(0.5, "it failed"), {"event": "waiting", "wait_s": 0.5, "reason": "it failed"}),
            (StartedOver("it changed"), {"event": "started_over", "reason": "it changed"}),
            (
                Finished(Path("/m/Q.gguf"), 10, 1.5),
                {"event": "finished", **RESULT, "missing_tokens": []},
            ),
            (
                Present("qwen-7b:Q4_K_M", Path("/m/Q.gguf"), 10, current=True),
                {"event": "present", **RESULT, "missing_tokens": []},
            ),
            (
                Finished(Path("/m/Q.gguf"), 10, 1.5, ("<think>",)),
                {"event": "finished", **RESULT, "missing_tokens": ["<think>"]},
            ),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_are_objects(self, event: PipelineEvent, facts: dict[str, Any]) -> None:
        assert lines(PULL, event)[1:] == [facts]

    @pytest.mark.parametrize(
        "event",
        [
            *(PLANNED, Preparing("Q4_K"), TensorDone(1, "a", "Q4_K", 1, 1), Resumed(1, 1, 1)),
            *(Fetched("a", 1), Fetched(None, 1), Hashed(1), Rechecked(1), Advanced("a", 1, 1), Checked(1)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_frequent_events_have_no_line(self, event: PipelineEvent) -> None:
        assert lines(*[event] * 100) == []

    def test_downloads_have_a_line_only_after_the_plan(self) -> None:
        small, large = Fetching("config.json", 10, 0), Fetching("a/b.gguf", 10, 3)
        plan, fetching = lines(small, Rejected("config.json", 10, "another digest"), small, PULL, large)
        assert plan == {"event": "plan", "repo": "owner/model"}
        assert fetching == {"event": "fetching", "file": "a/b.gguf", "bytes": 10, "here": 3}

    @pytest.mark.parametrize("event", [Fetched("config.json", 1), Hashed(1)], ids=lambda value: type(value).__name__)
    def test_no_progress_comes_before_the_plan_on_a_slow_machine(self, clock: Clock, event: PipelineEvent) -> None:
        before = [event] * 100
        assert [line["event"] for line in lines(*before, PULL, clock=clock, seconds=60)] == ["plan"]
        assert [line["event"] for line in lines(*before, PULL, event, clock=clock, seconds=60)] == ["plan", "progress"]

    def test_text_from_the_hub_cannot_break_a_line(self) -> None:
        _, found = lines(PULL, Fetching(HOSTILE, 1, 0))
        assert found["file"] == HOSTILE

    def test_a_path_that_is_not_valid_text_is_still_written(self) -> None:
        (found,) = lines(Finished(Path("/m/a\udcff.gguf"), 10, 1.5))
        assert found["path"] == str(Path("/m/a\udcff.gguf"))


class TestProgress:
    """A progress line once a second, while something moves."""

    def progress(self, *events: PipelineEvent, clock: Clock, seconds: float) -> list[dict[str, Any]]:
        return [line for line in lines(*events, clock=clock, seconds=seconds) if line["event"] == "progress"]

    @pytest.mark.parametrize(("seconds", "count"), [(0.01, 9), (0.3, 250), (1.0, 999), (60.0, 999)])
    def test_once_a_second_at_most(self, clock: Clock, seconds: float, count: int) -> None:
        found = self.progress(PULL, *[Fetched("a", 1)] * 1000, clock=clock, seconds=seconds)
        assert count - 2 <= len(found) <= count + 1

    def test_has_the_right_counts(self, clock: Clock) -> None:
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

    def test_without_an_estimate_the_time_left_is_null(self, clock: Clock) -> None:
        first, *_ = self.progress(PULL, Fetched("a", 1), Fetched("a", 1), clock=clock, seconds=2)
        assert first["left_s"] is None

    def test_there_is_none_while_nothing_moves(self, clock: Clock) -> None:
        assert self.progress(*[TensorDone(1, "a", "Q4_K", 1, 1)] * 10, clock=clock, seconds=5) == []
