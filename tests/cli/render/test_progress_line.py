"""`r1.render.progress_line`: the lines on stderr during a download and a conversion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from r1.render import progress, progress_line
from r1.render.progress_line import Report, follow
from r1_quantize.events import (
    Advanced,
    Arrived,
    Fetched,
    Fetching,
    Hashed,
    Noted,
    PipelineEvent,
    Rechecked,
    Rejected,
    Resumed,
    StartedOver,
    Waiting,
    WaitingForLock,
)
from tests.fakes.consoles import console, written
from tests.fakes.pulls import CONVERSION, FINISHED, PLANNED, PULL, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that the progress and its lines see."""
    clock = Clock()
    monkeypatch.setattr(progress_line, "time", clock)
    monkeypatch.setattr(progress, "time", clock)
    return clock


def said(
    *events: PipelineEvent, report: Report = "lines", clock: Clock | None = None, seconds: float = 6.0
) -> list[str]:
    """The lines on stderr; with a `clock`, every event takes `seconds`."""

    def slowly() -> Iterator[PipelineEvent]:
        for event in (*events, FINISHED):
            if clock:
                clock.now += seconds
            yield event

    screen = console()
    assert follow(screen, slowly(), "model", report, lambda plan: [plan.reference, "as planned"]) == FINISHED
    assert written(screen.stdout) == ""
    return written(screen.stderr).splitlines()


class TestLines:
    """Not on a terminal: the plan at once, then a line every few seconds."""

    def test_notes_and_a_warning_follow_the_plan(self) -> None:
        planned = replace(PLANNED, notes=("a note",), missing_tokens=("<think>",))
        _, note, warning = said(planned)
        assert note == "r1: a note"
        assert warning == "r1: r1 cannot run it: it is no DeepSeek-R1 distill, as its vocabulary lacks <think>"

    def test_a_short_conversion_has_one_line(self) -> None:
        assert said(PLANNED, *CONVERSION) == ["r1: model → Q4_K_M: 3 tensors, 3 GB in, 1 GB out"]

    def test_a_long_conversion_shows_its_progress(self, clock: Clock) -> None:
        _, first, second, *checks = said(PLANNED, *CONVERSION, clock=clock)
        assert first == "r1: tensor 1/3 · 1 of 3 GB read · 300 MB written"
        assert second.startswith("r1: tensor 2/3 · 3 of 3 GB read · 1 GB written · reading ")
        assert second.endswith(" MB/s")
        assert checks == [
            "r1: written; flushing to disk",
            "r1: verifying, 600 MB of 1 GB",
            "r1: verifying, 1 of 1 GB",
        ]

    def test_the_work_of_an_earlier_run_is_counted_but_not_as_speed(self, clock: Clock) -> None:
        resumed = Resumed(1, 1_000_000_000, 300_000_000)
        steps = [Advanced("b", 1000, 10)] * 20
        _, first, second, *others = said(PLANNED, resumed, *steps, clock=clock)
        assert first == "r1: resuming after tensor 1"
        assert second == "r1: tensor 2/3 · 1 of 3 GB read · 300 MB written"
        assert all("kB" not in line and "MB/s" not in line for line in others)
        assert "/s" in others[0]

    def test_starting_over_has_its_reason(self, clock: Clock) -> None:
        _, second, third, *_ = said(PLANNED, StartedOver("x was changed"), *CONVERSION, clock=clock)
        assert second == "r1: starting over: x was changed"
        assert third.startswith("r1: tensor 1/3")

    def test_the_output_of_an_earlier_run_is_checked_first(self, clock: Clock) -> None:
        assert "r1: checking the output of an earlier run, 2 MB" in said(PLANNED, Rechecked(2_000_000), clock=clock)

    @pytest.mark.parametrize("report", ["nothing", "json"])
    def test_nothing_with_json_or_quiet(self, clock: Clock, report: Report) -> None:
        assert said(PULL, PLANNED, Waiting(9, "no"), *CONVERSION, report=report, clock=clock) == []

    def test_a_long_run_has_fewer_lines(self, clock: Clock) -> None:
        body = [Advanced("a", 1000, 1000)] * 1000
        lines = said(PLANNED, *body, clock=clock, seconds=3.6)  # an hour
        assert 3600 / 30 - 5 < len(lines) < 3600 / 30 + 120 / 5 + 5


class TestTransfer:
    """Downloads are shown like conversions."""

    def test_the_plan_comes_at_once_even_for_a_short_download(self) -> None:
        assert said(PULL) == ["r1: model:Q4_K_M", "as planned"]

    def test_a_long_download_shows_its_progress_and_the_time_left(self, clock: Clock) -> None:
        second = [Fetched("a.safetensors", 100_000_000)] * 12
        *_, last = said(PULL, Fetching("a.safetensors", 4_000_000_000, 0), *second, clock=clock, seconds=1)
        amount, speed, left, number = last.removeprefix("r1: ").split(" · ")
        assert amount.endswith(("00 MB of 6 GB", " of 6 GB"))
        assert 100 <= float(speed.removesuffix(" MB/s")) < 130  # 100, and the bytes before the first measurement
        assert number == "file 1/2"
        assert left.endswith(" s left")

    def test_the_plan_of_a_pull_replaces_that_of_the_conversion(self) -> None:
        assert said(PULL, PLANNED) == said(PULL)

    def test_files_are_counted_as_they_arrive(self, clock: Clock) -> None:
        arrived = Arrived("a.safetensors", 4_000_000_000)
        *_, last = said(PULL, Fetched("a.safetensors", 4_000_000_000), arrived, Fetched("b", 1000), clock=clock)
        assert "file 2/2" in last

    def test_bytes_of_an_earlier_run_that_must_be_downloaded_again_are_not_counted(self, clock: Clock) -> None:
        *_, last = said(PULL, Fetched(None, 3_000_000_000), Fetched("a.safetensors", 1_000_000), clock=clock)
        assert last.startswith("r1: 1 MB of 6 GB")

    def test_files_on_disk_are_checked_first(self, clock: Clock) -> None:
        *_, last = said(PULL, Hashed(10_000_000), Hashed(10_000_000), clock=clock)
        assert last == "r1: checking files on disk, 20 MB"

    @pytest.mark.parametrize(
        ("event", "line"),
        [
            (Noted("the hub's\nXet storage failed"), "the hub's Xet storage failed"),
            (
                WaitingForLock("model:Q4_K_M is being made (process 7)"),
                "model:Q4_K_M is being made (process 7); waiting for it",
            ),
            (Rejected("a", 10, "it is damaged"), "a: it is damaged; downloading it again"),
            (Waiting(90, "the hub answered 503"), "the hub answered 503; retrying in 1 min 30 s"),
        ],
    )
    def test_unusual_events_are_reported_at_once(self, event: PipelineEvent, line: str) -> None:
        assert said(PULL, event)[2:] == [f"r1: {line}"]

    def test_waiting_ends_when_the_hub_answers_again(self, clock: Clock) -> None:
        *_, last = said(PULL, Waiting(1, "it failed"), Fetched("a.safetensors", 1_000_000), clock=clock)
        assert last.startswith("r1: 1 MB of 6 GB")


class TestInterrupted:
    """Ctrl-C passes through, after a line that says how to resume."""

    def interrupted(self, *events: PipelineEvent, report: Report = "lines") -> list[str]:
        def until_ctrl_c() -> Iterator[PipelineEvent]:
            yield from events
            raise KeyboardInterrupt

        screen = console()
        with pytest.raises(KeyboardInterrupt):
            follow(screen, until_ctrl_c(), "model", report)
        return written(screen.stderr).splitlines()

    def test_with_some_tensors_done(self) -> None:
        last = self.interrupted(PLANNED, *CONVERSION[:3])[-1]
        assert last == "r1: stopped (1 of 3 tensors done); run it again to resume"

    def test_with_nothing_done_there_is_no_line(self) -> None:
        assert len(self.interrupted(PLANNED, CONVERSION[0])) == 1

    def test_downloaded_bytes_are_counted_too(self) -> None:
        last = self.interrupted(PULL, Fetched("a.safetensors", 1_500_000_000), PLANNED, *CONVERSION[:2])[-1]
        assert last == "r1: stopped (1.5 GB of 6 GB downloaded, 1 of 3 tensors done); run it again to resume"

    def test_before_the_plan_there_is_no_line(self) -> None:
        assert self.interrupted(Fetching("tokenizer.json", 9_000_000, 0), Fetched("tokenizer.json", 7_000_000)) == []

    def test_with_quiet_there_is_no_line(self) -> None:
        assert self.interrupted(PLANNED, *CONVERSION, report="nothing") == []
