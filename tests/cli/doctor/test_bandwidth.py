"""`r1.doctor.bandwidth`: the speed of memory."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest

from r1.doctor import bandwidth as module
from r1.doctor.bandwidth import buffer_size, read_bandwidth, shared_cache

MB = 1 << 20


class TestBuffers:
    """Larger than the caches, and a modest share of the free memory."""

    def test_are_64_megabytes_per_thread_on_small_machines(self) -> None:
        assert buffer_size(2, free=8 << 30, cache_size=4 * MB) == 64 * MB

    def test_are_four_times_a_large_cache(self) -> None:
        assert 2 * buffer_size(2, free=64 << 30, cache_size=96 * MB) == 4 * 96 * MB

    def test_take_at_most_an_eighth_of_the_free_memory_and_a_gigabyte(self) -> None:
        assert 8 * buffer_size(8, free=2 << 30, cache_size=4 * MB) <= (2 << 30) // 8
        assert 64 * buffer_size(64, free=512 << 30, cache_size=384 * MB) <= 1 << 30

    def test_there_are_none_if_they_would_fit_the_caches(self) -> None:
        assert buffer_size(4, free=256 * MB, cache_size=0) == 0
        assert buffer_size(4, free=1 << 30, cache_size=96 * MB) == 0

    def test_the_size_of_a_cache_is_read_from_sysfs(self, tmp_path: Path) -> None:
        for index, size in enumerate(["48K", "2048K", "96M", "?"]):
            folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}"
            folder.mkdir(parents=True)
            (folder / "size").write_text(f"{size}\n")
        assert shared_cache(tmp_path) == 96 * MB
        assert shared_cache(tmp_path / "nowhere") == 0


class TestReadBandwidth:
    """How fast it really is, `scripts/bench/bandwidth.py` compares with numpy: a test must not depend on speed."""

    def test_is_the_bytes_of_a_pass_over_its_time(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """On a clock that advances 1/64 s per look, a pass of 0.05 s ends at the fourth look, after three pieces."""
        looks = itertools.count()
        monkeypatch.setattr(module.time, "perf_counter", lambda: next(looks) / 64)
        assert read_bandwidth(1, 4 << 30, tmp_path) == 3 * (2 * MB) / (4 / 64)

    def test_is_unknown_if_threads_are_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        start, left = threading.Thread.start, [1]

        def refusing(thread: threading.Thread) -> None:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refusing)
        before = threading.active_count()
        assert read_bandwidth(2, 4 << 30, tmp_path) is None
        while threading.active_count() > before:  # the thread that did start must end too
            time.sleep(0.01)

    def test_is_unknown_if_memory_is_short(self) -> None:
        assert read_bandwidth(2, 100 * MB) is None
