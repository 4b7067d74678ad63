"""An R1_HOME that cannot be used, or that can only be read: every command says so in the same way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.fakes.chats import write_three_chats

WRITING = [
    "run -m tiny --no-stdin hi",
    "chat -m tiny",
    "show tiny",
    "verify tiny",
    "quantize tiny -t Q8_0",
    "bench tiny",
]
READING = ["list", "list --json", "history", "history search x"]
OF_ONE = ["history show 1", "history export 1 -", "history delete -y 1", "rm -y tiny:Q8_0"]


class TestUnusable:
    """A file where the folder should be, as a sibling of a folder without permissions, which root never meets."""

    @pytest.fixture(params=["file", "file/below", "loop"])
    def wrong(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        (tmp_path / "file").write_text("")
        if request.param == "loop":
            if sys.platform == "win32":
                pytest.skip("needs the right to make links")
            (tmp_path / "loop").symlink_to(tmp_path / "loop")
        return str(tmp_path / request.param)

    @pytest.mark.parametrize("command", WRITING)
    def test_exits_2_and_names_r1_home(self, r1: Run, wrong: str, command: str) -> None:
        done = r1(*command.split(), R1_HOME=wrong, stdin=b"")
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert done.stderr.startswith(f"r1: {wrong}".encode())
        assert done.stderr.endswith(b"set R1_HOME to another folder\n")

    @pytest.mark.parametrize("command", READING)
    def test_has_nothing_to_list(self, r1: Run, wrong: str, command: str) -> None:
        assert r1(*command.split(), R1_HOME=wrong).returncode == 0

    @pytest.mark.parametrize("command", OF_ONE)
    def test_has_no_such_model_or_chat(self, r1: Run, wrong: str, command: str) -> None:
        done = r1(*command.split(), R1_HOME=wrong)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (4, b"", 1)

    @pytest.mark.parametrize("command", [*WRITING, *READING, *OF_ONE])
    def test_a_name_that_is_too_long_exits_2(self, r1: Run, tmp_path: Path, command: str) -> None:
        done = r1(*command.split(), R1_HOME=str(tmp_path / ("x" * 300)), stdin=b"")
        assert (done.returncode, done.stdout.count(b"{"), done.stderr.count(b"\n")) == (2, "--json" in command, 1)
        assert b"unexpected" not in done.stderr

    @pytest.mark.parametrize("command", [*WRITING, *READING, *OF_ONE])
    def test_a_tilde_without_a_home_exits_2(self, r1: Run, command: str) -> None:
        done = r1(*command.split(), R1_HOME="~nosuchuser/r1", stdin=b"")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert done.stderr.startswith(b"r1: R1_HOME: there is no home folder for ~nosuchuser/r1; ")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user whom permissions stop")
class TestReadOnly:
    """A folder of another user, with a model and chats: reading works, writing exits 2."""

    @pytest.fixture
    def locked(self, own_home: Path) -> Path:
        write_three_chats(own_home / "history.db")
        for folder in (own_home, own_home / "models", own_home / "models" / "tiny"):
            folder.chmod(0o555)
        for file in own_home.rglob("*.*"):
            file.chmod(0o444)
        return own_home

    @pytest.mark.parametrize("command", ["chat -m tiny", "chat --chat 1", "history delete -y 1", "rm -y tiny"])
    def test_writing_exits_2(self, r1: Run, locked: Path, command: str) -> None:
        done = r1(*command.split(), R1_HOME=str(locked), stdin=b"hi")
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert b"set R1_HOME to another folder" in done.stderr

    @pytest.mark.parametrize("command", ["run -m tiny --no-stdin hi", "show tiny", "history show 1", "list"])
    def test_reading_works(self, r1: Run, locked: Path, command: str) -> None:
        assert r1(*command.split(), R1_HOME=str(locked)).returncode == 0
