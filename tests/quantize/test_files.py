"""`r1_quantize.files`: atomic writes, locks, hashed reads and source files.

Locks between processes are tested in store/test_store.py.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
import zlib
from collections.abc import Callable
from hashlib import sha256, shake_256
from pathlib import Path

import pytest

from r1_quantize.errors import BadFile, NotEnoughSpace, R1Error
from r1_quantize.files import (
    Crc32,
    HashedFile,
    SourceFile,
    disk_error,
    expanded,
    lock_file,
    remove_file,
    try_lock,
    write_atomically,
)
from tests.fakes.paths import ROOT
from tests.quantize.conftest import names_in
from tests.quantize.test_writer import at_most_bytes_a_file


class TestExpanded:
    """A path as a shell would read it."""

    @pytest.mark.parametrize("path", ["~nosuchuser", "~nosuchuser/x.gguf", "./~", "a/~/b", "/~", "", "x~"])
    def test_is_unchanged_without_a_home_folder(self, path: str) -> None:
        assert expanded(path) == Path(path)

    def test_a_tilde_is_the_home_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert expanded("~/x.gguf") == tmp_path / "x.gguf"
        assert expanded("~") == tmp_path

    def test_every_path_is_expanded_this_way(self) -> None:
        """`Path.expanduser` raises RuntimeError for a user who does not exist or has no home folder."""
        sources = [path for root in ("cli", "quantize") for path in (ROOT / root).rglob("*.py")]
        calls = re.compile(r"(?<!os\.path)\.expanduser\(")
        assert [path.name for path in sources if calls.search(path.read_text(encoding="utf-8"))] == []


class TestWriteAtomically:
    """The file appears with its complete content, and no other file is left."""

    @pytest.mark.parametrize("text", ["", "a\n", "ä│模型\U0001f40b\n", "x" * 3_000_000])
    def test_writes_the_text(self, tmp_path: Path, text: str) -> None:
        write_atomically(tmp_path / "a.json", text)
        assert (tmp_path / "a.json").read_bytes() == text.encode() or sys.platform == "win32"
        assert names_in(tmp_path) == ["a.json"]

    def test_replaces_an_older_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("older and longer")
        write_atomically(tmp_path / "a.json", "new")
        assert (tmp_path / "a.json").read_text() == "new"

    def test_a_file_name_that_is_not_utf8_stays_valid_json(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"mod\xffel")
        write_atomically(tmp_path / "a.json", json.dumps({"source": name}, ensure_ascii=False))
        assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"source": name}

    def test_replaces_what_an_interrupted_run_left(self, tmp_path: Path) -> None:
        (tmp_path / "a.json.partial").write_text("half")
        write_atomically(tmp_path / "a.json", "new")
        assert names_in(tmp_path) == ["a.json"]

    @pytest.mark.skipif(os.name == "nt", reason="links need special rights on Windows")
    @pytest.mark.parametrize("name", ["a.json", "a.json.partial"])
    def test_does_not_follow_a_link(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "victim").write_text("mine")
        (tmp_path / name).symlink_to(tmp_path / "victim")
        write_atomically(tmp_path / "a.json", "new")
        assert (tmp_path / "victim").read_text() == "mine"
        assert (tmp_path / "a.json").read_text() == "new"
        assert not (tmp_path / "a.json").is_symlink()


class TestWriteFails:
    """A failed write keeps the older file and gives one line with the file's name."""

    def fails(self, path: Path, text: str = "new") -> None:
        with pytest.raises(R1Error) as caught:
            write_atomically(path, text)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    def test_a_full_disk(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("older")
        with at_most_bytes_a_file(1000):
            self.fails(tmp_path / "a.json", "x" * 2000)
        assert (tmp_path / "a.json").read_text() == "older"

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        self.fails(tmp_path / "none" / "a.json")

    @pytest.mark.parametrize("name", ["a.json", "a.json.partial"])
    def test_a_folder_of_that_name(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).mkdir()
        self.fails(tmp_path / "a.json")


class TestDiskError:
    """A full disk is NotEnoughSpace with a way out; any other failure is R1Error."""

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
    def test_a_full_disk(self, tmp_path: Path, number: int) -> None:
        error = disk_error(tmp_path / "a", OSError(number, "full"), 2_000_000)
        assert isinstance(error, NotEnoughSpace)
        assert str(error).startswith(f"{tmp_path / 'a'}: full: 2 MB needed, ")
        assert str(error).endswith(" free; free some space and run it again to resume")

    def test_any_other_failure(self, tmp_path: Path) -> None:
        error = disk_error(tmp_path / "a", OSError(errno.EIO, "broken"), 2_000_000)
        assert (type(error), str(error)) == (R1Error, f"{tmp_path / 'a'}: broken")


class TestRemoveFile:
    """Removes a file if it exists."""

    def test_existing_or_not(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x")
        for _ in range(2):
            remove_file(tmp_path / "a")
            assert names_in(tmp_path) == []

    def test_refuses_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(R1Error, match=r"/a: "):
            remove_file(tmp_path / "a")
        assert names_in(tmp_path) == ["a"]


class TestLockFile:
    """Closing the file releases the lock; its content names the holder."""

    def test_names_the_holder(self, tmp_path: Path) -> None:
        with lock_file(tmp_path / "lock", wait=False):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"

    def test_has_one_holder(self, tmp_path: Path) -> None:
        with lock_file(tmp_path / "lock", wait=False):
            with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
                lock_file(tmp_path / "lock", wait=False)
            with (tmp_path / "lock").open("a+b") as file:
                assert not try_lock(file)

    def test_is_free_after_closing(self, tmp_path: Path) -> None:
        for _ in range(3):
            lock_file(tmp_path / "lock", wait=False).close()

    def test_overwrites_the_longer_pid_of_an_earlier_holder(self, tmp_path: Path) -> None:
        (tmp_path / "lock").write_text("99999999999\n")
        with lock_file(tmp_path / "lock", wait=False):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


SIZE = (5 << 19) + 3  # a little more than two and a half times what is read at once
CONTENT = shake_256(b"hashed file").digest(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of some megabytes."""
    path = tmp_path / "some.file"
    path.write_bytes(CONTENT)
    return path


def read_at(file: HashedFile, offset: int, count: int) -> bytes:
    """The bytes at an offset."""
    data = bytearray(count)
    file.read_into(offset, memoryview(data))
    return bytes(data)


class TestHashedFile:
    """However a file is read and skipped, its bytes and its digest are right."""

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
    def test_reads_parts(self, path: Path, parts: list[tuple[int, int]]) -> None:
        with HashedFile(path) as file:
            for offset, count in parts:
                assert read_at(file, offset, count) == CONTENT[offset : offset + count]
                assert file.digest == sha256(CONTENT[: offset + count]).hexdigest()
            assert file.finish() == sha256(CONTENT).hexdigest()

    @pytest.mark.parametrize("offset", [0, 1, 1 << 20, (1 << 20) + 1, SIZE - 1, SIZE])
    def test_skips(self, path: Path, offset: int) -> None:
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

    def test_has_the_stamp_of_the_file(self, path: Path) -> None:
        os.utime(path, ns=(0, 1_234_567_890_123_456_700))
        with HashedFile(path) as file:
            assert file.path == path
            assert file.stamp == (SIZE, path.stat().st_mtime_ns, path.stat().st_ctime_ns)

    def test_closes_the_file(self, path: Path) -> None:
        with HashedFile(path) as file:
            pass
        with pytest.raises(ValueError, match="closed file"):
            file.finish()

    def test_with_a_crc_instead_of_a_sha256(self, path: Path) -> None:
        with HashedFile(path, Crc32) as file:
            file.skip_to(1000)
            assert file.digest == f"{zlib.crc32(CONTENT[:1000]):08x}"
            assert file.finish() == f"{zlib.crc32(CONTENT):08x}"


class TestHashedFileFails:
    """A file that is missing or changes gives BadFile with its name."""

    def check(self, path: Path, said: str, action: Callable[[], object]) -> None:
        with pytest.raises(BadFile, match=said) as caught:
            action()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.check(tmp_path / "none", "No such file", lambda: HashedFile(tmp_path / "none"))

    def test_a_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "directory", lambda: HashedFile(tmp_path))

    @pytest.mark.parametrize(
        ("offset", "count"), [(0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (SIZE + 1, 0), (1 << 40, 1)]
    )
    def test_bytes_past_the_end(self, path: Path, offset: int, count: int) -> None:
        with HashedFile(path) as file:
            self.check(path, "became shorter while it was read", lambda: read_at(file, offset, count))

    @pytest.mark.parametrize("size", [0, 10, SIZE - 1])
    def test_becomes_shorter(self, path: Path, size: int) -> None:
        with HashedFile(path) as file:
            assert read_at(file, 0, 20) == CONTENT[:20]
            os.truncate(path, size)
            self.check(path, "became shorter", lambda: read_at(file, 20, SIZE - 20))

    @pytest.mark.parametrize("size", [0, 10, SIZE - 1])
    def test_becomes_shorter_before_it_is_finished(self, path: Path, size: int) -> None:
        with HashedFile(path) as file:
            read_at(file, 0, 20)
            os.truncate(path, size)
            self.check(path, "became shorter", file.finish)

    @pytest.mark.parametrize("read", [0, SIZE])
    def test_becomes_longer(self, path: Path, read: int) -> None:
        with HashedFile(path) as file:
            read_at(file, 0, read)
            with path.open("ab") as more:
                more.write(b"x")
            self.check(path, "changed while it was read", file.finish)

    @pytest.mark.parametrize("read", [0, SIZE // 2, SIZE])
    def test_is_rewritten(self, path: Path, read: int) -> None:
        with HashedFile(path) as file:
            read_at(file, 0, read)
            while path.stat().st_mtime_ns == file.stamp[1]:  # a file system's clock may tick slowly
                path.write_bytes(bytes(SIZE))
            self.check(path, "changed while it was read", file.finish)

    @pytest.mark.skipif(os.name == "nt", reason="on Windows it is the time of creation")
    def test_is_rewritten_and_its_mtime_restored(self, path: Path) -> None:
        with HashedFile(path) as file:
            while path.stat().st_ctime_ns == file.stamp[2]:
                path.write_bytes(bytes(SIZE))
                os.utime(path, ns=(0, file.stamp[1]))
            with HashedFile(path) as again:
                assert again.stamp[:2] == file.stamp[:2]
                assert again.stamp != file.stamp

    @pytest.mark.skipif(os.name == "nt", reason="links need special rights on Windows")
    def test_a_new_hard_link_is_not_a_change(self, path: Path, tmp_path: Path) -> None:
        with HashedFile(path) as file:
            os.link(path, tmp_path / "link")
            assert file.finish() == sha256(path.read_bytes()).hexdigest()


DIGITS = b"0123456789"


class TestSourceFileOnDisk:
    """A file on this disk."""

    def test_has_the_size_and_times_of_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(DIGITS)
        digest = hashlib.sha256(DIGITS).hexdigest()
        found = SourceFile.on_disk(path, digest)
        status = path.stat()
        assert (found.path, found.size, found.sha256, found.header) == (path, 10, digest, None)
        assert found.stamp == (10, status.st_mtime_ns, status.st_ctime_ns)

    def test_opens_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(DIGITS)
        with SourceFile.on_disk(path).open_header() as (file, found):
            assert file.read() == DIGITS
            assert found == SourceFile.on_disk(path)

    def test_opening_it_notices_a_change(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(DIGITS)
        before = SourceFile.on_disk(path, "0" * 64)
        path.write_bytes(DIGITS * 2)
        os.utime(path, ns=(5, 5))
        with before.open_header() as (file, found):
            assert file.read() == DIGITS * 2
            assert (found.size, found.stamp and found.stamp[:2], found.sha256) == (20, (20, 5), "0" * 64)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            SourceFile.on_disk(tmp_path / "none")
        with pytest.raises(FileNotFoundError), SourceFile(tmp_path / "none", 10).open_header():
            pass


class TestSourceFileToCome:
    """A file still to be downloaded has its first bytes in another file, and the size its publisher gives."""

    @pytest.mark.parametrize("exists", [False, True])
    def test_opens_the_header_only(self, tmp_path: Path, exists: bool) -> None:
        (tmp_path / "file.header").write_bytes(DIGITS[:4])
        if exists:
            (tmp_path / "file").write_bytes(b"something else")
        coming = SourceFile(tmp_path / "file", 10, None, "0" * 64, tmp_path / "file.header")
        with coming.open_header() as (file, found):
            assert file.read() == DIGITS[:4]
            assert found == coming
