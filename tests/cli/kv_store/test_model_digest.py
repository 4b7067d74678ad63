"""`r1.kv_store.model_digest`: other weights have another digest, and a large file is not read for it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from r1.kv_store.model_digest import model_digest

SIZE = 1_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_is_the_same_for_the_same_file(file: Path, tmp_path: Path) -> None:
    (link := tmp_path / "link.gguf").symlink_to(file)
    assert model_digest(file) == model_digest(file) == model_digest(link)


def test_another_file_of_the_same_size_and_time_is_another_model(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(os.urandom(SIZE))
    shutil.copystat(file, other)
    assert other.stat().st_mtime_ns == file.stat().st_mtime_ns
    assert model_digest(other) != model_digest(file)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time that programs cannot set")
def test_a_byte_that_was_changed_under_the_same_time_is_noticed(file: Path) -> None:
    """No block that is looked at holds it, but the file's ctime tells."""
    before, status = model_digest(file), file.stat()
    time.sleep(0.02)
    with file.open("r+b") as opened:
        opened.seek(5000)
        opened.write(b"\xff")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    assert model_digest(file) != before


@pytest.mark.parametrize("at", [0, (SIZE - 4096) * 8 // 15 + 100, SIZE - 1])
def test_the_content_counts_at_the_start_in_the_middle_and_at_the_end(
    file: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system where all the times are as before."""
    monkeypatch.setattr("r1.kv_store.model_digest.stamp_of", lambda status: (status.st_size, 0, 0))
    before, content = model_digest(file), bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert model_digest(file) != before


def test_all_parts_of_a_split_file_count(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(os.urandom(1000))
    before = model_digest(parts[0])
    parts[1].write_bytes(os.urandom(1000))
    assert model_digest(parts[0]) != before


def test_an_empty_and_a_short_file_have_one(tmp_path: Path) -> None:
    for size in (0, 1, 4096, 5000):
        path = tmp_path / f"{size}.gguf"
        path.write_bytes(bytes(size))
        assert len(model_digest(path)) == 32


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        model_digest(tmp_path / "none.gguf")


def test_a_file_of_40_gb_takes_no_time(tmp_path: Path) -> None:
    """A sparse file: reading it whole would take many seconds."""
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.truncate(40 * 10**9)
    began = time.perf_counter()
    model_digest(path)
    assert time.perf_counter() - began < 1
