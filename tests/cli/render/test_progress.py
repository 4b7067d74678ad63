"""`r1.render.progress_line`: what is said while a download and a conversion go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from r1.render import progress, progress_line
from r1.render.progress import Progress, Rate
from r1.render.progress_line import Report, follow
from r1_quantize.events import (
    Advanced,
    Arrived,
    Checked,
    Hashed,
    Fetched,
    Fetching,
    FilePlan,
    Finished,
    Noted,
    PipelineEvent,
    Planned,
    PullPlan,
    WaitingForLock,
    Rechecked,
    Rejected,
    Resumed,
    StartedOver,
    TensorDone,
    Waiting,
)
from r1_quantize.source import Extent
from tests.fakes.consoles import console, written

TENSORS = tuple(Extent(name, (2, 4), 32) for name in "abc")
PLANNED = Planned(Path("x"), "Q4_K_M", TENSORS, bytes_in=3_000_000_000, bytes_out=1_000_000_000)
FINISHED = Finished(Path("x.gguf"), 1_000_000_000, 1.0)
BODY: tuple[PipelineEvent, ...] = (
    Advanced("a", 1_000_000_000, 300_000_000),
    TensorDone(1, "a", "Q4_K", 1_000_000_000, 300_000_000),
    Advanced("b", 2_000_000_000, 700_000_000),
    TensorDone(2, "b", "Q4_K", 2_000_000_000, 700_000_000),
    Checked(0),
    Checked(600_000_000),
    Checked(400_000_000),
)


FILES = (FilePlan("a.safetensors", 4_000_000_000, 0), FilePlan("b.safetensors", 2_000_000_000, 0))
PULL = PullPlan(
    reference="model:Q4_K_M",
    repo="owner/model",
    commit="0" * 40,
    files=FILES,
    result=1_000_000_000,
    peak=7_000_000_000,
    free=9_000_000_000,
    shards_at_once=2,
    tensors=TENSORS,
)


class Clock:
    """Time that passes only when it is told to, in place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The only clock there is."""
    clock = Clock()
    monkeypatch.setattr(progress_line, "time", clock)
    monkeypatch.setattr(progress, "time", clock)
    return clock


def said(
    *events: PipelineEvent, report: Report = "lines", clock: Clock | None = None, seconds: float = 6.0
) -> list[str]:
    """The lines on stderr; with a `clock` every event takes so many seconds."""

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
    """Off a terminal: the plan at once, then a line every few seconds."""

    def test_a_short_conversion_has_one_line(self) -> None:
        assert said(PLANNED, *BODY) == ["r1: model → Q4_K_M: 3 tensors, 3 GB in, 1 GB out"]

    def test_a_long_one_says_how_far_it_is(self, clock: Clock) -> None:
        _, first, second, *checks = said(PLANNED, *BODY, clock=clock)
        assert first == "r1: tensor 1/3 · 1 of 3 GB read · 300 MB written"
        assert second.startswith("r1: tensor 2/3 · 3 of 3 GB read · 1 GB written · reading ")
        assert second.endswith(" MB/s")
        assert checks == [
            "r1: written; the disk takes what is still in memory",
            "r1: reading it back, 600 MB of 1 GB",
            "r1: reading it back, 1 of 1 GB",
        ]

    def test_what_an_earlier_run_did_is_said_and_counted_but_not_as_speed(self, clock: Clock) -> None:
        resumed = Resumed(1, 1_000_000_000, 300_000_000)
        steps = [Advanced("b", 1000, 10)] * 20
        _, first, second, *others = said(PLANNED, resumed, *steps, clock=clock)
        assert first == "r1: going on after tensor 1"
        assert second == "r1: tensor 2/3 · 1 of 3 GB read · 300 MB written"
        assert all("kB" not in line and "MB/s" not in line for line in others)
        assert "/s" in others[0]

    def test_starting_over_is_said_with_its_reason(self, clock: Clock) -> None:
        _, second, third, *_ = said(PLANNED, StartedOver("x was changed"), *BODY, clock=clock)
        assert second == "r1: starting over: x was changed"
        assert third.startswith("r1: tensor 1/3")

    def test_what_an_earlier_run_wrote_is_checked_first(self, clock: Clock) -> None:
        assert "r1: checking what an earlier run wrote, 2 MB" in said(PLANNED, Rechecked(2_000_000), clock=clock)

    @pytest.mark.parametrize("report", ["nothing", "json"])
    def test_nothing_where_nothing_is_wanted(self, clock: Clock, report: Report) -> None:
        assert said(PULL, PLANNED, Waiting(9, "no"), *BODY, report=report, clock=clock) == []

    def test_a_night_has_fewer_lines(self, clock: Clock) -> None:
        body = [Advanced("a", 1000, 1000)] * 1000
        lines = said(PLANNED, *body, clock=clock, seconds=3.6)  # an hour
        assert 3600 / 30 - 5 < len(lines) < 3600 / 30 + 120 / 5 + 5


class TestTransfer:
    """What is fetched is said as what is converted is."""

    def test_the_plan_comes_at_once_however_short_it_is(self) -> None:
        assert said(PULL) == ["r1: model:Q4_K_M", "as planned"]

    def test_a_long_one_says_how_far_it_is_and_how_long_it_takes(self, clock: Clock) -> None:
        second = [Fetched("a.safetensors", 100_000_000)] * 12
        *_, last = said(PULL, Fetching("a.safetensors", 4_000_000_000, 0), *second, clock=clock, seconds=1)
        amount, speed, left, number = last.removeprefix("r1: ").split(" · ")
        assert amount.endswith(("00 MB of 6 GB", " of 6 GB"))
        assert 100 <= float(speed.removesuffix(" MB/s")) < 130  # 100, and what came before the first look
        assert number == "file 1/2"
        assert left.endswith(" s left")

    def test_what_the_plan_of_a_pull_has_said_is_not_said_again(self) -> None:
        assert said(PULL, PLANNED) == said(PULL)

    def test_files_are_counted_as_they_arrive(self, clock: Clock) -> None:
        arrived = Arrived("a.safetensors", 4_000_000_000)
        *_, last = said(PULL, Fetched("a.safetensors", 4_000_000_000), arrived, Fetched("b", 1000), clock=clock)
        assert "file 2/2" in last

    def test_what_came_before_and_had_to_come_again_is_not_counted(self, clock: Clock) -> None:
        *_, last = said(PULL, Fetched(None, 3_000_000_000), Fetched("a.safetensors", 1_000_000), clock=clock)
        assert last.startswith("r1: 1 MB of 6 GB")

    def test_what_is_here_already_is_looked_at_first(self, clock: Clock) -> None:
        *_, last = said(PULL, Hashed(10_000_000), Hashed(10_000_000), clock=clock)
        assert last == "r1: checking what is here already, 20 MB"

    @pytest.mark.parametrize(
        ("event", "line"),
        [
            (Noted("the hub's\nXet storage failed"), "the hub's Xet storage failed"),
            (
                WaitingForLock("model:Q4_K_M is being made (process 7)"),
                "model:Q4_K_M is being made (process 7); waiting for it",
            ),
            (Rejected("a", 10, "it is damaged"), "a: it is damaged; fetching it again, alone"),
            (Waiting(90, "the hub answered 503"), "the hub answered 503; trying again in 1:30 min"),
        ],
    )
    def test_what_goes_another_way_is_said_at_once(self, event: PipelineEvent, line: str) -> None:
        assert said(PULL, event)[2:] == [f"r1: {line}"]

    def test_a_hub_that_answers_again_is_not_waited_for(self, clock: Clock) -> None:
        *_, last = said(PULL, Waiting(1, "it failed"), Fetched("a.safetensors", 1_000_000), clock=clock)
        assert last.startswith("r1: 1 MB of 6 GB")


class TestStanding:
    """The counts are true at every moment, whatever an earlier run left and whatever has to come twice."""

    def after(self, *events: PipelineEvent) -> Progress:
        standing = Progress()
        for event in events:
            standing.take(event)
        return standing

    def planned(self, *here: int) -> PullPlan:
        files = [FilePlan(file.name, file.size, count) for file, count in zip(FILES, here, strict=True)]
        return replace(PULL, files=tuple(files))

    def test_what_is_here_counts_as_fetched(self) -> None:
        standing = self.after(self.planned(1_000_000, 2_000_000_000))
        assert (standing.fetched, standing.of_fetched) == (2_001_000_000, 6_000_000_000)

    def test_what_was_looked_at_before_the_plan_counts_when_the_file_is_fetched(self) -> None:
        begun = Fetching("a.safetensors", 4_000_000_000, 131_072)
        standing = self.after(self.planned(0, 0), begun, Fetched("a.safetensors", 4_000_000_000 - 131_072))
        assert standing.fetched == 4_000_000_000

    def test_at_the_end_all_is_fetched(self) -> None:
        events: list[PipelineEvent] = [self.planned(0, 0)]
        for file in FILES:
            events += [Fetching(f"sub/{file.name}", file.size, 1000), Fetched(f"sub/{file.name}", file.size - 1000)]
        standing = self.after(*events)
        assert standing.fetched == standing.of_fetched == 6_000_000_000

    def test_a_file_that_is_refused_counts_as_not_fetched(self) -> None:
        size = FILES[0].size
        standing = self.after(
            self.planned(0, 2_000_000_000),
            Fetching("a.safetensors", size, 131_072),
            Fetched("a.safetensors", size - 131_072),
            Rejected("a.safetensors", size, "it is damaged"),
        )
        assert standing.fetched == 2_000_000_000

    def test_nothing_is_left_that_nobody_can_estimate(self, clock: Clock) -> None:
        assert self.after(self.planned(0, 0)).left is None
        assert self.after(self.planned(0, 0), Fetched("a.safetensors", 1000)).left is None

    def test_what_is_left_is_what_takes_longer(self, clock: Clock) -> None:
        standing = self.after(self.planned(0, 0), PLANNED)
        for _ in range(50):
            clock.now += 0.2
            standing.take(Fetched("a.safetensors", 20_000_000))  # 100 MB/s: 6 GB in a minute, of which 10 s are over
            standing.take(Advanced("a", 4_000_000, 1_000_000))  # 20 MB/s: 3 GB in 150 s, of which 10 s are over
        assert standing.left == pytest.approx(140, rel=0.05)

    def test_when_all_is_here_only_reading_is_left(self, clock: Clock) -> None:
        standing = self.after(self.planned(4_000_000_000, 2_000_000_000), PLANNED)
        for _ in range(50):
            clock.now += 0.2
            standing.take(Advanced("a", 4_000_000, 1_000_000))
        assert standing.left == pytest.approx(140, rel=0.05)

    def test_what_is_fetched_and_read_counts_twice(self) -> None:
        standing = self.after(self.planned(4_000_000_000, 0), PLANNED, BODY[0])
        assert standing.share == (5_000_000_000, 9_000_000_000)


class TestRate:
    """Bytes a second, over the last moments only."""

    def flow(self, rate: Rate, clock: Clock, seconds: float, count: int) -> None:
        for _ in range(round(seconds / 0.02)):
            clock.now += 0.02
            rate.add(count)

    def test_is_unknown_at_first(self, clock: Clock) -> None:
        rate = Rate()
        assert rate.value is None
        rate.add(1_000_000)
        assert rate.value is None

    @pytest.mark.parametrize("seconds", [2, 14, 60])
    def test_of_a_steady_flow(self, clock: Clock, seconds: int) -> None:
        rate = Rate()
        self.flow(rate, clock, seconds, 20_000)
        assert rate.value == pytest.approx(1_000_000, rel=0.1)

    def test_forgets_what_was_long_ago(self, clock: Clock) -> None:
        rate = Rate()
        self.flow(rate, clock, 60, 2_000_000)
        self.flow(rate, clock, 20, 20_000)
        assert rate.value == pytest.approx(1_000_000, rel=0.1)

    def test_sinks_while_nothing_comes(self, clock: Clock) -> None:
        rate = Rate()
        self.flow(rate, clock, 10, 20_000)
        clock.now += 10
        assert rate.value == pytest.approx(500_000, rel=0.1)

    def test_after_a_silence_is_that_of_what_comes_again(self, clock: Clock) -> None:
        rate = Rate()
        self.flow(rate, clock, 10, 20_000)
        clock.now += 600
        self.flow(rate, clock, 5, 20_000)
        assert rate.value == pytest.approx(1_000_000, rel=0.1)

    def test_of_many_small_steps_takes_no_room(self, clock: Clock) -> None:
        rate = Rate()
        for _ in range(100_000):
            clock.now += 0.0001
            rate.add(1)
        assert len(rate._steps) < 200


class TestInterrupted:
    """Ctrl-C passes through, after a line that says how to go on."""

    def interrupted(self, *events: PipelineEvent, report: Report = "lines") -> list[str]:
        def until_ctrl_c() -> Iterator[PipelineEvent]:
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

    def test_what_was_fetched_is_said_too(self) -> None:
        last = self.interrupted(PULL, Fetched("a.safetensors", 1_500_000_000), PLANNED, *BODY[:2])[-1]
        done = "1.5 GB of 6 GB are here, 1 of 3 tensors are done"
        assert last == f"r1: stopped; {done}, and the same command goes on from there"

    def test_before_there_is_a_plan_there_is_nothing_to_say(self) -> None:
        assert self.interrupted(Fetching("tokenizer.json", 9_000_000, 0), Fetched("tokenizer.json", 7_000_000)) == []

    def test_quietly(self) -> None:
        assert self.interrupted(PLANNED, *BODY, report="nothing") == []
