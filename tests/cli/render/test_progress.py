"""`r1.render.progress`: the numbers behind a progress line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r1.render import progress as module
from r1.render.progress import Progress, Rate
from r1_quantize.events import Advanced, Fetched, Fetching, FilePlan, PipelineEvent, PullPlan, Rejected
from tests.fakes.pulls import CONVERSION, FILES, PLANNED, PULL, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that `Rate` sees."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class TestProgress:
    """The counts are right at all times, with files of earlier runs and with files that are downloaded twice."""

    def after(self, *events: PipelineEvent) -> Progress:
        progress = Progress()
        for event in events:
            progress.add(event)
        return progress

    def planned(self, *here: int) -> PullPlan:
        files = [FilePlan(file.name, file.size, count) for file, count in zip(FILES, here, strict=True)]
        return replace(PULL, files=tuple(files))

    def test_bytes_on_disk_count_as_downloaded(self) -> None:
        progress = self.after(self.planned(1_000_000, 2_000_000_000))
        assert (progress.fetched, progress.of_fetched) == (2_001_000_000, 6_000_000_000)

    def test_a_header_that_was_read_before_the_plan_counts_once_its_file_is_downloaded(self) -> None:
        begun = Fetching("a.safetensors", 4_000_000_000, 131_072)
        progress = self.after(self.planned(0, 0), begun, Fetched("a.safetensors", 4_000_000_000 - 131_072))
        assert progress.fetched == 4_000_000_000

    def test_at_the_end_everything_is_downloaded(self) -> None:
        events: list[PipelineEvent] = [self.planned(0, 0)]
        for file in FILES:
            events += [Fetching(f"sub/{file.name}", file.size, 1000), Fetched(f"sub/{file.name}", file.size - 1000)]
        progress = self.after(*events)
        assert progress.fetched == progress.of_fetched == 6_000_000_000

    def test_a_rejected_file_counts_as_not_downloaded(self) -> None:
        size = FILES[0].size
        progress = self.after(
            self.planned(0, 2_000_000_000),
            Fetching("a.safetensors", size, 131_072),
            Fetched("a.safetensors", size - 131_072),
            Rejected("a.safetensors", size, "it is damaged"),
        )
        assert progress.fetched == 2_000_000_000

    def test_without_a_rate_there_is_no_estimate(self, clock: Clock) -> None:
        assert self.after(self.planned(0, 0)).seconds_left is None
        assert self.after(self.planned(0, 0), Fetched("a.safetensors", 1000)).seconds_left is None

    def test_the_time_left_is_that_of_the_slower_part(self, clock: Clock) -> None:
        progress = self.after(self.planned(0, 0), PLANNED)
        for _ in range(50):
            clock.now += 0.2
            progress.add(Fetched("a.safetensors", 20_000_000))  # 100 MB/s: 6 GB take a minute, 10 s of it are over
            progress.add(Advanced("a", 4_000_000, 1_000_000))  # 20 MB/s: 3 GB take 150 s, 10 s of it are over
        assert progress.seconds_left == pytest.approx(140, rel=0.05)

    def test_with_everything_on_disk_only_reading_is_left(self, clock: Clock) -> None:
        progress = self.after(self.planned(4_000_000_000, 2_000_000_000), PLANNED)
        for _ in range(50):
            clock.now += 0.2
            progress.add(Advanced("a", 4_000_000, 1_000_000))
        assert progress.seconds_left == pytest.approx(140, rel=0.05)

    def test_bytes_that_are_downloaded_and_read_count_twice(self) -> None:
        progress = self.after(self.planned(4_000_000_000, 0), PLANNED, CONVERSION[0])
        assert progress.done_and_total == (5_000_000_000, 9_000_000_000)


class TestRate:
    """Bytes per second over the last few seconds."""

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

    def test_forgets_old_bytes(self, clock: Clock) -> None:
        rate = Rate()
        self.flow(rate, clock, 60, 2_000_000)
        self.flow(rate, clock, 20, 20_000)
        assert rate.value == pytest.approx(1_000_000, rel=0.1)

    def test_falls_while_nothing_arrives(self, clock: Clock) -> None:
        rate = Rate()
        self.flow(rate, clock, 10, 20_000)
        clock.now += 10
        assert rate.value == pytest.approx(500_000, rel=0.1)

    def test_after_a_pause_is_the_new_rate(self, clock: Clock) -> None:
        rate = Rate()
        self.flow(rate, clock, 10, 20_000)
        clock.now += 600
        self.flow(rate, clock, 5, 20_000)
        assert rate.value == pytest.approx(1_000_000, rel=0.1)

    def test_many_small_steps_need_little_memory(self, clock: Clock) -> None:
        rate = Rate()
        for _ in range(100_000):
            clock.now += 0.0001
            rate.add(1)
        assert len(rate._steps) < 200
