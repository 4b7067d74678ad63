"""`r1_quantize.units`: bytes, counts and seconds as people read them."""

from __future__ import annotations

import time

import pytest

from r1_quantize import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (2_709_408, "2.71 MB"),
        (999_999_999, "1 GB"),
        (56_700, "56.7 kB"),
        (1_117_320_512, "1.12 GB"),
        (141_000_000_000, "141 GB"),
        (2_000_000_000_000, "2 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 0, "0 of 0 B"),
        (0, 3_550_000_000, "0 B of 3.55 GB"),
        (950_000, 3_550_000_000, "950 kB of 3.55 GB"),
        (999_600_000, 3_550_000_000, "1 of 3.55 GB"),
        (3_550_000_000, 3_550_000_000, "3.55 of 3.55 GB"),
        (1, 2, "1 of 2 B"),
    ],
)
def test_parts(done: int, total: int, text: str) -> None:
    assert units.part(done, total) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(2_527_488, "2.53 M"), (1_777_088_000, "1.78 B"), (7_615_616_512, "7.62 B"), (70_553_706_496, "70.6 B")],
)
def test_parameters(count: int, text: str) -> None:
    assert units.parameters(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (23.9, "24 s"),
        (59.6, "1 min 0 s"),
        (60, "1 min 0 s"),
        (125, "2 min 5 s"),
        (245, "4 min 5 s"),
        (3599.6, "1 h 0 min"),
        (7384, "2 h 3 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


class TestCounts:
    """A number with its noun, and a time to the minute."""

    @pytest.mark.parametrize(("number", "text"), [(0, "0 turns"), (1, "1 turn"), (2, "2 turns"), (3000, "3,000 turns")])
    def test_only_one_is_singular(self, number: int, text: str) -> None:
        assert units.count(number, "turn") == text

    def test_a_minute_is_local_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "UTC-2")
        time.tzset()
        assert units.minute(1_000_000_000) == "2001-09-09 03:46"
        monkeypatch.undo()
        time.tzset()
