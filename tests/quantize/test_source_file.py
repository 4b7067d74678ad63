"""`r1_quantize.files`: a file that is here, or of which only the beginning is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from r1_quantize.files import SourceFile

CONTENT = b"0123456789"


class TestHere:
    """A file on this disk is as it is now."""

    def test_is_known_by_its_size_and_times(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(CONTENT)
        digest = hashlib.sha256(CONTENT).hexdigest()
        found = SourceFile.on_disk(path, digest)
        status = path.stat()
        assert (found.path, found.size, found.sha256, found.header) == (path, 10, digest, None)
        assert found.stamp == (10, status.st_mtime_ns, status.st_ctime_ns)

    def test_its_beginning_is_in_it(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(CONTENT)
        with SourceFile.on_disk(path).open_header() as (file, found):
            assert file.read() == CONTENT
            assert found == SourceFile.on_disk(path)

    def test_what_changed_since_is_seen_when_it_is_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(CONTENT)
        before = SourceFile.on_disk(path, "0" * 64)
        path.write_bytes(CONTENT * 2)
        os.utime(path, ns=(5, 5))
        with before.open_header() as (file, found):
            assert file.read() == CONTENT * 2
            assert (found.size, found.stamp and found.stamp[:2], found.sha256) == (20, (20, 5), "0" * 64)

    def test_nowhere(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            SourceFile.on_disk(tmp_path / "none")
        with pytest.raises(FileNotFoundError), SourceFile(tmp_path / "none", 10).open_header():
            pass


class TestOnItsWay:
    """Of a file that is not here the beginning lies elsewhere, and its size is what its publisher says."""

    @pytest.mark.parametrize("here", [False, True])
    def test_its_beginning_is_read_and_nothing_else(self, tmp_path: Path, here: bool) -> None:
        (tmp_path / "file.header").write_bytes(CONTENT[:4])
        if here:
            (tmp_path / "file").write_bytes(b"something else")
        coming = SourceFile(tmp_path / "file", 10, None, "0" * 64, tmp_path / "file.header")
        with coming.open_header() as (file, found):
            assert file.read() == CONTENT[:4]
            assert found == coming
