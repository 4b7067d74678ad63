"""`r1.engine.read_ahead`: reading a file into the system's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from r1.engine.read_ahead import _missing, is_cached, read_ahead

SIZE = 100 << 20
AVAILABLE = 1 << 30

pytestmark = pytest.mark.skipif(
    not hasattr(os, "posix_fadvise"), reason="this system cannot drop a file from its cache"
)


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A file on the disk and not in the cache; skips where the file system is in memory."""
    path = tmp_path / "model.gguf"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    drop_from_cache(path)
    if not missing(path):
        pytest.skip("this file system is in memory")
    return path


def drop_from_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def missing(path: Path) -> int:
    with path.open("rb") as file:
        return len(_missing(file.fileno(), path.stat().st_size))


class TestPrefetch:
    """Reads what is not cached, if it fits, until cancelled."""

    def test_reads_what_is_missing_and_reports_progress(self, cold: Path) -> None:
        shares: list[float] = []
        assert read_ahead(cold, AVAILABLE, lambda share: not shares.append(share))  # type: ignore[func-returns-value]
        assert missing(cold) == 0
        assert shares == sorted(shares)
        assert len(shares) >= 10
        assert shares[0] < 0.2
        assert 0.8 < shares[-1] <= 1

    def test_does_nothing_the_second_time(self, cold: Path) -> None:
        read_ahead(cold, AVAILABLE, lambda _: True)
        shares: list[float] = []
        read_ahead(cold, AVAILABLE, lambda share: not shares.append(share))  # type: ignore[func-returns-value]
        assert shares == []

    def test_can_be_cancelled(self, cold: Path) -> None:
        assert not read_ahead(cold, AVAILABLE, lambda share: share < 0.3)
        assert missing(cold) > 0

    def test_leaves_a_file_alone_that_does_not_fit(self, cold: Path) -> None:
        assert read_ahead(cold, SIZE - 1, lambda _: False)
        assert missing(cold) > 0

    def test_ignores_a_missing_file(self, tmp_path: Path) -> None:
        assert read_ahead(tmp_path / "none.gguf", AVAILABLE, lambda _: False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has mincore")
def test_an_empty_file_has_nothing_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert missing(tmp_path / "empty") == 0


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system does not say what is cached")
class TestIsCached:
    """Whether the file can be read without a wait."""

    def test_a_file_on_the_disk_is_not(self, cold: Path) -> None:
        assert not is_cached(cold)

    def test_a_file_that_was_read_is(self, cold: Path) -> None:
        cold.read_bytes()
        assert is_cached(cold)

    def test_no_file_is_not(self, tmp_path: Path) -> None:
        assert not is_cached(tmp_path / "none.gguf")
