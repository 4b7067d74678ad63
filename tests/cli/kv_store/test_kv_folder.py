"""`r1.kv_store.kv_folder`: private files, a bound on their size, and other processes in the same folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from r1.kv_store import kv_folder
from r1.kv_store.kv_folder import MAX_FILES, KvFolder, NoRoom
from r1_quantize.errors import Busy
from r1_quantize.files import lock_file
from tests.fakes.paths import ROOT

LARGE = 1 << 40


def put(folder: KvFolder, size: int, owner: str = "", origin: str = "model", used: int | None = None) -> Path:
    """A complete file; `used` is when, in seconds."""
    before = {file.path for file in folder.files()}
    with folder.new_file(owner, origin, size) as path:
        path.write_bytes(bytes(size))
    (new,) = {file.path for file in folder.files()} - before
    if used is not None:
        os.utime(new, (used, used))
    return new


def sizes(folder: KvFolder) -> list[int]:
    """The oldest first."""
    return [file.size for file in folder.files()]


@pytest.fixture
def folder(tmp_path: Path) -> KvFolder:
    return KvFolder(tmp_path / "home" / kv_folder.NAME, 1000, min_free=0)


class TestFiles:
    """Complete files are found, by what they belong to; nothing else is."""

    def test_a_folder_that_does_not_exist_has_none_and_is_not_made(self, folder: KvFolder) -> None:
        assert folder.files() == []
        assert folder.clear() == 0
        assert not folder.path.exists()

    def test_are_found_by_owner_and_by_origin(self, folder: KvFolder) -> None:
        put(folder, 1, "chat 1", "a")
        put(folder, 2, "chat 1", "b")
        put(folder, 3, "chat 2", "a")
        put(folder, 4, "", "a")
        assert sorted(sizes(folder)) == [1, 2, 3, 4]
        assert sorted(file.size for file in folder.files(owner="chat 1")) == [1, 2]
        assert sorted(file.size for file in folder.files(origin="a")) == [1, 3, 4]
        assert [file.size for file in folder.files(origin="a", owner="chat 1")] == [1]
        assert [file.size for file in folder.files() if folder.has_no_owner(file.path)] == [4]

    def test_the_files_of_an_owner_are_removed_without_being_read(self, folder: KvFolder) -> None:
        put(folder, 1, "chat 1", "a")
        put(folder, 2, "chat 1", "b")
        put(folder, 3, "chat 2")
        put(folder, 4)
        assert folder.remove_of("chat 1") == []
        assert sorted(sizes(folder)) == [3, 4]

    def test_those_that_cannot_be_removed_are_named(self, folder: KvFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        path = put(folder, 1, "chat 1")

        def refuse(_: Path) -> None:
            raise PermissionError

        with monkeypatch.context() as read_only:
            read_only.setattr(Path, "unlink", refuse)
            assert folder.remove_of("chat 1") == [path]
        assert folder.remove_of("chat 1") == []

    def test_what_is_left_unfinished_or_being_written_of_an_owner_goes_too(self, folder: KvFolder) -> None:
        put(folder, 1, "chat 2")

        def write_and_remove(path: Path) -> None:
            path.write_bytes(b"secret")
            path.with_name(path.name.replace("-10.", "-11.")).write_bytes(b"left by a kill")
            folder.remove_of("chat 1")

        with pytest.raises(FileNotFoundError), folder.new_file("chat 1", "model", 10) as path:
            write_and_remove(path)
        assert sizes(folder) == [1]
        assert list(folder.path.glob("*.partial")) == []

    def test_all_are_removed_at_once(self, folder: KvFolder) -> None:
        put(folder, 100)
        put(folder, 200, "chat 1")
        assert folder.clear() == 300
        assert sizes(folder) == []

    def test_what_is_no_regular_file_is_left_alone(self, folder: KvFolder, tmp_path: Path) -> None:
        put(folder, 1)
        (folder.path / "a.kv").mkdir()
        (folder.path / "b.kv").symlink_to(tmp_path)
        (folder.path / "notes.txt").write_text("mine")
        if hasattr(os, "mkfifo"):
            os.mkfifo(folder.path / "c.kv")
        assert sizes(folder) == [1]
        folder.clear()
        assert {path.name for path in folder.path.iterdir()} >= {"a.kv", "b.kv", "notes.txt"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
class TestPrivacy:
    """What was said in a chat is for its owner's eyes only."""

    def test_all_files_have_mode_600_and_the_folder_700(self, folder: KvFolder) -> None:
        before = os.umask(0)
        try:
            with folder.new_file("", "model", 10) as path:
                assert path.stat().st_mode & 0o777 == 0o600
        finally:
            os.umask(before)
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}

    def test_a_folder_that_others_may_read_is_closed(self, folder: KvFolder) -> None:
        folder.path.mkdir(parents=True)
        folder.path.chmod(0o755)
        put(folder, 1)
        assert folder.path.stat().st_mode & 0o777 == 0o700


class TestBound:
    """The least recently used files go when a new one needs their place."""

    def test_the_oldest_goes_first(self, folder: KvFolder) -> None:
        for number, size in enumerate((300, 301, 302)):
            put(folder, size, used=100 + number)
        put(folder, 303)
        assert sizes(folder) == [301, 302, 303]

    def test_a_file_that_was_used_stays(self, folder: KvFolder) -> None:
        first = put(folder, 300, used=100)
        put(folder, 301, used=101)
        put(folder, 302, used=102)
        folder.touch(first)
        put(folder, 303)
        assert sorted(sizes(folder)) == [300, 302, 303]

    def test_as_many_go_as_are_needed(self, folder: KvFolder) -> None:
        for number in range(5):
            put(folder, 200, used=100 + number)
        put(folder, 401)
        assert sizes(folder) == [200, 200, 401]

    def test_a_file_larger_than_the_bound_is_refused_and_nothing_goes(self, folder: KvFolder) -> None:
        put(folder, 900)
        with pytest.raises(NoRoom), folder.new_file("", "model", 1001):
            pytest.fail("there is no room")
        assert sizes(folder) == [900]

    def test_a_bound_that_has_become_smaller_holds_for_what_is_there(self, folder: KvFolder) -> None:
        """Also where the new file is too large to be kept."""
        for number, size in enumerate((300, 301, 302)):
            put(folder, size, used=100 + number)
        smaller = KvFolder(folder.path, 400, min_free=0)
        with pytest.raises(NoRoom):
            put(smaller, 500)
        assert sizes(folder) == [302]

    def test_a_bound_of_zero_keeps_nothing(self, folder: KvFolder) -> None:
        with pytest.raises(NoRoom), KvFolder(folder.path, 0, min_free=0).new_file("", "model", 1):
            pytest.fail("there is no room")

    def test_some_of_the_disk_stays_free(self, folder: KvFolder) -> None:
        put(folder, 900)
        with pytest.raises(NoRoom), KvFolder(folder.path, LARGE, min_free=LARGE * 1024).new_file("", "model", 10):
            pytest.fail("there is no room")
        assert sizes(folder) == [900]

    def test_there_are_at_most_so_many(self, folder: KvFolder) -> None:
        for number in range(MAX_FILES + 2):
            put(folder, 1, used=100 + number)
        assert len(folder.files()) == MAX_FILES
        assert folder.files()[0].used == 102 * 10**9

    def test_what_is_being_written_counts(self, folder: KvFolder) -> None:
        with folder.new_file("", "model", 600):
            with pytest.raises(NoRoom), folder.new_file("", "model", 500):
                pytest.fail("there is no room")
            put(folder, 400)
        assert sorted(sizes(folder)) == [0, 400]


HOLD = """
import sys, time
from pathlib import Path
from r1.kv_store.kv_folder import KvFolder
with KvFolder(Path(sys.argv[1]), 1000, min_free=0).new_file("", "model", 600) as path:
    path.write_bytes(bytes(300))
    print("writing", flush=True)
    time.sleep(100)
"""


class TestIncomplete:
    """A file appears with its complete content, or leaves nothing behind."""

    def test_has_no_name_until_it_is_complete(self, folder: KvFolder) -> None:
        with folder.new_file("", "model", 10) as path:
            path.write_bytes(b"0123456789")
            assert folder.files() == []
        assert sizes(folder) == [10]
        assert not path.exists()

    @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
    def test_is_gone_after_an_error(self, folder: KvFolder, error: type[BaseException]) -> None:
        def write_half(path: Path) -> None:
            path.write_bytes(b"01234")
            raise error

        with pytest.raises(error), folder.new_file("", "model", 10) as path:
            write_half(path)
        assert {path.name for path in folder.path.iterdir()} == {".lock"}

    def test_a_killed_process_leaves_a_file_that_the_next_one_removes(self, folder: KvFolder) -> None:
        with holding(folder):
            pass
        assert folder.files() == []
        assert len(list(folder.path.glob("*.partial"))) == 1
        put(folder, 1000)
        assert sizes(folder) == [1000]
        assert list(folder.path.glob("*.partial")) == []

    def test_what_another_process_is_writing_stays(self, folder: KvFolder) -> None:
        with holding(folder):
            put(folder, 400)
            with pytest.raises(NoRoom):
                put(folder, 401)  # 600 are promised to the other
            folder.clear()
            assert len(list(folder.path.glob("*.partial"))) == 1


@contextmanager
def holding(folder: KvFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that is writing a file, and is killed in the end."""
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            yield writer
        finally:
            writer.kill()


class TestOtherProcesses:
    """Each may remove what another has just found."""

    def test_a_file_that_has_vanished_is_no_error(self, folder: KvFolder) -> None:
        path = put(folder, 1)
        path.unlink()
        folder.touch(path)
        folder.remove(path)
        assert folder.files() == []

    def test_a_lock_that_is_not_released_is_an_error_and_no_hang(
        self, folder: KvFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(folder, 1)
        monkeypatch.setattr(kv_folder, "_LOCK_TIMEOUT_S", 0.1)
        with lock_file(folder.path / ".lock", wait=False), pytest.raises(Busy, match="in use by another r1"):
            put(folder, 2)
        assert sizes(folder) == [1]

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
    def test_a_stopped_process_holds_up_no_other(self, folder: KvFolder) -> None:
        with holding(folder) as writer:
            writer.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            put(folder, 300)
            assert time.monotonic() - began < kv_folder._LOCK_TIMEOUT_S

    def test_several_that_write_at_once_stay_within_the_bound(self, folder: KvFolder) -> None:
        program = (
            "import sys\nfrom pathlib import Path\nfrom r1.kv_store.kv_folder import KvFolder, NoRoom\n"
            "folder = KvFolder(Path(sys.argv[1]), 1000, min_free=0)\n"
            "for number in range(100):\n"
            "    try:\n"
            "        with folder.new_file(sys.argv[2], 'model', 240) as path: path.write_bytes(bytes(240))\n"
            "    except NoRoom: pass\n"
            "    assert sum(file.size for file in folder.files()) <= 1000\n"
        )
        command = [sys.executable, "-c", program, str(folder.path)]
        writers = [subprocess.Popen([*command, str(number)], cwd=ROOT) for number in range(3)]
        assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
        assert sizes(folder) == [240] * 4
        assert list(folder.path.glob("*.partial")) == []


class TestDisk:
    """A disk that cannot be written is an error that says so; nothing is left behind."""

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        folder = KvFolder(tmp_path / "file" / "kv-cache", 1000)
        assert folder.files() == []
        with pytest.raises(OSError, match="Not a directory"):
            put(folder, 1)

    def test_a_full_disk(self, tmp_path: Path, on_small_disk: Callable[[str], str]) -> None:
        program = (
            "folder = KvFolder(path, 10**9, min_free=0)\n"
            "with folder.new_file('', 'a', 500_000) as file: file.write_bytes(bytes(500_000))\n"
            "try:\n"
            "    with folder.new_file('', 'a', 100_000) as file: file.write_bytes(bytes(900_000))\n"
            "except OSError as exc: print(exc.strerror)\n"
            "print([file.size for file in folder.files()], len(list(path.glob('*.partial'))))\n"
            "try:\n"
            "    with folder.new_file('', 'a', 2_000_000): print('no')\n"
            "except NoRoom: print('no room')\n"
            "print([file.size for file in folder.files()])\n"
            "with folder.new_file('', 'a', 900_000) as file: file.write_bytes(bytes(900_000))\n"  # the first one goes
            "print([file.size for file in folder.files()])\n"
        )
        assert on_small_disk(program).splitlines() == [
            "No space left on device",
            "[500000] 0",
            "no room",
            "[500000]",
            "[900000]",
        ]


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Callable[[str], str]:
    """Runs a program with `path` on a disk of 1 MB."""

    def run(program: str) -> str:
        prelude = "import sys\nfrom pathlib import Path\nfrom r1.kv_store.kv_folder import KvFolder, NoRoom\n"
        code = f"{prelude}path = Path(sys.argv[1]) / 'kv-cache'\n{program}"
        script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
        command = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
        except FileNotFoundError:
            pytest.skip("there is no unshare here")
        if "unshare" in done.stderr or "mount" in done.stderr:
            pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
