"""`r1_quantize.store.removable`: the files of a model or checkpoint, and the disk space they take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from r1_quantize.store.removable import allocated_bytes, files_of_model, removable_of


class TestAllocatedBytes:
    """The disk space of a file, at most its size."""

    @pytest.mark.skipif(os.name == "nt", reason="Windows files have no holes by default")
    def test_a_hole_takes_no_space(self, tmp_path: Path) -> None:
        with (tmp_path / "a").open("wb") as file:
            file.truncate(1 << 40)
        assert allocated_bytes(tmp_path / "a") < 1 << 20

    def test_a_small_file_is_not_rounded_up(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x")
        assert allocated_bytes(tmp_path / "a") <= 1

    def test_a_missing_file_takes_no_space(self, tmp_path: Path) -> None:
        assert allocated_bytes(tmp_path / "a") == 0

    @pytest.mark.skipif(os.name == "nt", reason="links need special rights on Windows")
    def test_a_link_counts_itself(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x" * 100_000)
        (tmp_path / "b").symlink_to(tmp_path / "a")
        assert allocated_bytes(tmp_path / "b") < 1000


class TestFilesOfModel:
    """The model first, then the files that are useless without it."""

    def test_in_the_order_of_removal(self, tmp_path: Path) -> None:
        partial = ("Q8_0.gguf.partial", "Q8_0.gguf.partial.journal")
        for name in ("Q8_0.json", *partial, "Q8_0.gguf", "Q8_0.lock", "Q4_0.gguf"):
            (tmp_path / name).touch()
        names = [path.name for path in files_of_model(tmp_path, "Q8_0")]
        assert names == ["Q8_0.gguf", "Q8_0.json", "Q8_0.gguf.partial", "Q8_0.gguf.partial.journal"]

    def test_none(self, tmp_path: Path) -> None:
        assert files_of_model(tmp_path, "Q8_0") == []


class TestRemovableOf:
    """The sum of all files, in folders too."""

    def test_adds_up_files_in_folders(self, tmp_path: Path) -> None:
        (tmp_path / "folder" / "deeper").mkdir(parents=True)
        for path in (tmp_path / "a", tmp_path / "folder" / "b", tmp_path / "folder" / "deeper" / "c"):
            path.write_bytes(bytes(range(256)) * 40)
        found = removable_of("x:Q8_0", [tmp_path / "a", tmp_path / "folder"], is_complete=True)
        assert (found.reference, found.is_complete) == ("x:Q8_0", True)
        assert found.size == 3 * 256 * 40
        assert found.paths == (tmp_path / "a", tmp_path / "folder")
