"""`r1.engine.pages`: new areas of memory get their pages ahead of llama.cpp."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import pytest

from r1.engine import pages
from r1.engine.pages import Populating, without

SIZE = 64 << 20

on_linux = pytest.mark.skipif(not pages.IS_SUPPORTED, reason="this system has no /proc")


class TestWithout:
    """The parts of an area that are in no other."""

    @pytest.mark.parametrize(
        ("others", "parts"),
        [
            ([], [(10, 20)]),
            ([(0, 10), (20, 30)], [(10, 20)]),
            ([(0, 15)], [(15, 20)]),
            ([(15, 30)], [(10, 15)]),
            ([(12, 14), (16, 18)], [(10, 12), (14, 16), (18, 20)]),
            ([(0, 30)], []),
        ],
    )
    def test_what_is_left(self, others: list[tuple[int, int]], parts: list[tuple[int, int]]) -> None:
        assert without((10, 20), others) == parts


def resident() -> int:
    """Bytes of anonymous memory that this process has in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def grown_to(bytes_: int) -> bool:
    end = time.monotonic() + 10
    while resident() < bytes_ and time.monotonic() < end:
        time.sleep(0.01)
    return resident() >= bytes_


@on_linux
class TestPopulating:
    """Areas that appeared since the last call."""

    @pytest.mark.parametrize("from_end", [False, True])
    def test_a_new_area_gets_its_pages(self, *, from_end: bool) -> None:
        populating = Populating()
        populating.note()
        before = resident()
        with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
            populating.begin(SIZE, from_end=from_end)
            if not grown_to(before + SIZE * 9 // 10):
                pytest.skip("this kernel does not populate")
            assert not any(area[:: 1 << 20])

    def test_no_more_than_was_asked_for(self) -> None:
        populating = Populating()
        populating.note()
        before = resident()
        with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
            populating.begin(SIZE // 4)
            time.sleep(0.2)
            assert resident() < before + SIZE // 2

    def test_an_area_that_was_there_is_left_alone(self) -> None:
        populating = Populating()
        with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
            populating.note()
            before = resident()
            populating.begin(SIZE)
            time.sleep(0.2)
            assert resident() < before + SIZE // 2
