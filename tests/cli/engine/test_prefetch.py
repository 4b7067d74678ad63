"""`r1.engine.prefetch`: a file into the system's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from r1.engine.prefetch import _missing, prefetch

SIZE = 100 << 20
ROOM = 1 << 30

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system does not forget a file on demand")


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A file that is on the disk and not in the cache. A file system in memory has no such thing."""
    path = tmp_path / "model.gguf"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    forget(path)
    if not missing(path):
        pytest.skip("this file system keeps every file in memory")
    return path


def forget(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def missing(path: Path) -> int:
    with path.open("rb") as file:
        return len(_missing(file.fileno(), path.stat().st_size))


class TestPrefetch:
    """Only what is not there, only where there is room, and only until somebody says stop."""

    def test_brings_in_what_is_missing_and_says_how_far_it_is(self, cold: Path) -> None:
        shares: list[float] = []
        assert prefetch(cold, ROOM, lambda share: not shares.append(share))  # type: ignore[func-returns-value]
        assert missing(cold) == 0
        assert shares == sorted(shares)
        assert len(shares) >= 10
        assert shares[0] < 0.2
        assert 0.8 < shares[-1] <= 1

    def test_does_nothing_the_second_time(self, cold: Path) -> None:
        prefetch(cold, ROOM, lambda _: True)
        shares: list[float] = []
        prefetch(cold, ROOM, lambda share: not shares.append(share))  # type: ignore[func-returns-value]
        assert shares == []

    def test_can_be_given_up(self, cold: Path) -> None:
        assert not prefetch(cold, ROOM, lambda share: share < 0.3)
        assert missing(cold) > 0

    def test_leaves_alone_what_there_is_no_room_for(self, cold: Path) -> None:
        assert prefetch(cold, SIZE - 1, lambda _: False)
        assert missing(cold) > 0

    def test_says_nothing_of_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert prefetch(tmp_path / "none.gguf", ROOM, lambda _: False)


@pytest.mark.skipif(sys.platform != "linux", reason="mincore is asked on Linux alone")
def test_an_empty_file_has_nothing_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert missing(tmp_path / "empty") == 0
