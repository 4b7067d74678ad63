"""`r1_quantize.files`: one holder at a time. Other processes are tried in test_store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from r1_quantize.files import lock_file, try_lock


class TestLockFile:
    """Closing the file lets go of the lock; the file's text says who has it."""

    def test_says_who_holds_it(self, tmp_path: Path) -> None:
        with lock_file(tmp_path / "lock", wait=False):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"

    def test_is_held_by_one(self, tmp_path: Path) -> None:
        with lock_file(tmp_path / "lock", wait=False):
            with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
                lock_file(tmp_path / "lock", wait=False)
            with (tmp_path / "lock").open("a+b") as file:
                assert not try_lock(file)

    def test_is_free_once_it_is_closed(self, tmp_path: Path) -> None:
        for _ in range(3):
            lock_file(tmp_path / "lock", wait=False).close()

    def test_a_longer_pid_of_an_earlier_holder_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "lock").write_text("99999999999\n")
        with lock_file(tmp_path / "lock", wait=False):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
