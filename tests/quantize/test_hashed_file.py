"""`r1_quantize.files`: a file's bytes and the digest of what went by."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from hashlib import sha256, shake_256
from pathlib import Path

import pytest

from r1_quantize.errors import BadFile
from r1_quantize.files import Crc32, HashedFile

SIZE = (5 << 19) + 3  # two and a half times what is read at once, and a bit
CONTENT = shake_256(b"hashed file").digest(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of some megabytes."""
    path = tmp_path / "some.file"
    path.write_bytes(CONTENT)
    return path


def taken(file: HashedFile, offset: int, count: int) -> bytes:
    """The bytes at an offset."""
    data = bytearray(count)
    file.read_into(offset, memoryview(data))
    return bytes(data)


class TestReading:
    """Whatever is read or skipped, the bytes are the file's, and so is the digest."""

    @pytest.mark.parametrize(
        "parts",
        [
            [],
            [(0, SIZE)],
            [(0, 1), (1, 1), (2, SIZE - 2)],
            [(SIZE - 1, 1)],
            [(SIZE, 0)],
            [(0, 0), (0, 0)],
            [(7, 100), (1 << 20, 1 << 20), ((1 << 21) + 5, 17)],
            [(100, 0), (100, 50), (150, 0), (SIZE - 3, 3)],
        ],
    )
    def test_gives_what_is_there(self, path: Path, parts: list[tuple[int, int]]) -> None:
        with HashedFile(path) as file:
            for offset, count in parts:
                assert taken(file, offset, count) == CONTENT[offset : offset + count]
                assert file.digest == sha256(CONTENT[: offset + count]).hexdigest()
            assert file.finish() == sha256(CONTENT).hexdigest()

    @pytest.mark.parametrize("offset", [0, 1, 1 << 20, (1 << 20) + 1, SIZE - 1, SIZE])
    def test_skips_to_where_it_is_told(self, path: Path, offset: int) -> None:
        with HashedFile(path) as file:
            file.skip_to(offset)
            assert file.digest == sha256(CONTENT[:offset]).hexdigest()
            file.skip_to(offset)
            assert file.digest == sha256(CONTENT[:offset]).hexdigest()

    def test_may_be_finished_twice(self, path: Path) -> None:
        with HashedFile(path) as file:
            assert file.finish() == file.finish() == file.digest

    def test_an_empty_file(self, path: Path) -> None:
        path.write_bytes(b"")
        with HashedFile(path) as file:
            assert file.finish() == sha256(b"").hexdigest()

    def test_a_file_is_known_by_its_stamp(self, path: Path) -> None:
        os.utime(path, ns=(0, 1_234_567_890_123_456_700))
        with HashedFile(path) as file:
            assert file.path == path
            assert file.stamp == (SIZE, path.stat().st_mtime_ns, path.stat().st_ctime_ns)

    def test_the_file_is_closed_afterwards(self, path: Path) -> None:
        with HashedFile(path) as file:
            pass
        with pytest.raises(ValueError, match="closed file"):
            file.finish()


class TestTrouble:
    """A file that is not there, or not what it was, ends in BadFile that names it."""

    def check(self, path: Path, said: str, action: Callable[[], object]) -> None:
        with pytest.raises(BadFile, match=said) as caught:
            action()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_not_there(self, tmp_path: Path) -> None:
        self.check(tmp_path / "none", "No such file", lambda: HashedFile(tmp_path / "none"))

    def test_a_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "directory", lambda: HashedFile(tmp_path))

    @pytest.mark.parametrize(
        ("offset", "count"), [(0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (SIZE + 1, 0), (1 << 40, 1)]
    )
    def test_bytes_past_its_end(self, path: Path, offset: int, count: int) -> None:
        with HashedFile(path) as file:
            self.check(path, "became shorter while it was read", lambda: taken(file, offset, count))

    @pytest.mark.parametrize("size", [0, 10, SIZE - 1])
    def test_it_becomes_shorter(self, path: Path, size: int) -> None:
        with HashedFile(path) as file:
            assert taken(file, 0, 20) == CONTENT[:20]
            os.truncate(path, size)
            self.check(path, "became shorter", lambda: taken(file, 20, SIZE - 20))

    @pytest.mark.parametrize("size", [0, 10, SIZE - 1])
    def test_it_becomes_shorter_before_it_is_finished(self, path: Path, size: int) -> None:
        with HashedFile(path) as file:
            taken(file, 0, 20)
            os.truncate(path, size)
            self.check(path, "became shorter", file.finish)

    @pytest.mark.parametrize("read", [0, SIZE])
    def test_it_becomes_longer(self, path: Path, read: int) -> None:
        with HashedFile(path) as file:
            taken(file, 0, read)
            with path.open("ab") as more:
                more.write(b"x")
            self.check(path, "was changed while it was read", file.finish)

    @pytest.mark.parametrize("read", [0, SIZE // 2, SIZE])
    def test_it_is_rewritten(self, path: Path, read: int) -> None:
        with HashedFile(path) as file:
            taken(file, 0, read)
            while path.stat().st_mtime_ns == file.stamp[1]:  # a file system's clock may tick slowly
                path.write_bytes(bytes(SIZE))
            self.check(path, "was changed while it was read", file.finish)

    @pytest.mark.skipif(os.name == "nt", reason="there it is the time of creation")
    def test_it_is_rewritten_and_its_time_put_back(self, path: Path) -> None:
        with HashedFile(path) as file:
            while path.stat().st_ctime_ns == file.stamp[2]:
                path.write_bytes(bytes(SIZE))
                os.utime(path, ns=(0, file.stamp[1]))
            with HashedFile(path) as again:
                assert again.stamp[:2] == file.stamp[:2]
                assert again.stamp != file.stamp

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_another_link_to_it_is_no_change(self, path: Path, tmp_path: Path) -> None:
        with HashedFile(path) as file:
            os.link(path, tmp_path / "link")
            assert file.finish() == sha256(path.read_bytes()).hexdigest()


def test_with_a_crc_it_is_the_same_but_for_the_digest(path: Path) -> None:
    with HashedFile(path, Crc32) as file:
        file.skip_to(1000)
        assert file.digest == f"{zlib.crc32(CONTENT[:1000]):08x}"
        assert file.finish() == f"{zlib.crc32(CONTENT):08x}"
