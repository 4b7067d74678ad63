"""`r1.history.database`: foreign files stay unchanged, and every failure is one line."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from r1.history import database
from r1.history.history import History
from r1_quantize.errors import BadFile, Busy, ChatNotFound, ExitStatus, NotEnoughSpace, UsageError
from tests.fakes.chats import TIMINGS, USAGE, asked, say
from tests.fakes.paths import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def change(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.executescript(script)


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_some(path: Path) -> None:
    with History.open(path) as history:
        say(history, None, "one")


def newer(path: Path) -> None:
    write_some(path)
    change(path, "PRAGMA user_version = 3")


def newer_in_rollback_mode(path: Path) -> None:
    newer(path)
    change(path, "PRAGMA journal_mode = DELETE")


def foreign(path: Path) -> None:
    change(path, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")


def marked_by_another(path: Path) -> None:
    change(path, "PRAGMA journal_mode = WAL; PRAGMA application_id = 252006674; CREATE TABLE theirs (x)")


def text(path: Path) -> None:
    path.write_text("Dear diary, this is not a database.\n" * 50)


def short(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(8192))


class TestRefusals:
    """A file that is not ours is refused in one line and stays unchanged, byte for byte."""

    @pytest.mark.parametrize("must_exist", [False, True])
    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (newer, r"written by a newer r1 \(format 3, this one reads 2\); update r1"),
            (newer_in_rollback_mode, "update r1"),
            (foreign, "a database of another program; move it away"),
            (marked_by_another, "a database of another program; move it away"),
            (text, "not a database; move it away"),
            (short, "not a database; move it away"),
            (zeros, "not a database; move it away"),
        ],
    )
    def test_a_foreign_file_stays_unchanged(
        self, tmp_path: Path, path: Path, make: Callable[[Path], None], says: str, must_exist: bool
    ) -> None:
        make(path)
        before = files_in(tmp_path)
        assert list(before) == [path.name]
        with pytest.raises(BadFile, match=says) as refused:
            History.open(path, must_exist=must_exist)
        assert str(path) in str(refused.value)
        assert refused.value.exit_status is ExitStatus.BAD_FILE
        assert files_in(tmp_path) == before

    def test_a_newer_version_is_seen_even_if_only_the_log_has_it(self, tmp_path: Path, path: Path) -> None:
        write_some(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as newer_r1:
            newer_r1.execute("PRAGMA user_version = 7")
            killed = tmp_path / "killed"
            killed.mkdir()
            for file in (path, path.with_name(path.name + "-wal")):
                shutil.copy(file, killed)
        before = files_in(killed)
        assert len(before) == 2
        assert before[path.name][60:64] == b"\0\0\0\2"
        with pytest.raises(BadFile, match="format 7"):
            History.open(killed / path.name)
        assert files_in(killed) == before

    def test_a_damaged_page_is_one_line(self, path: Path) -> None:
        with History.open(path) as history:
            for number in range(50):
                say(history, None, f"question {number}" * 100)
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        with pytest.raises(BadFile, match="damaged"), History.open(path) as history:
            history.sessions()

    def test_nothing_is_created_if_the_file_must_exist(self, tmp_path: Path, path: Path) -> None:
        with pytest.raises(ChatNotFound, match="no chats yet; `r1` starts one"):
            History.open(path, must_exist=True)
        assert list(tmp_path.iterdir()) == []

    def test_an_older_file_is_updated_and_keeps_its_chats(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_some(path)
        older = database.MIGRATIONS
        added = "ALTER TABLE sessions ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0; CREATE TABLE tags (tag TEXT);"
        monkeypatch.setattr(database, "MIGRATIONS", (*older, added))
        with History.open(path) as history:
            assert [session.title for session in history.sessions()] == ["one"]
        with closing(sqlite3.connect(path)) as plain:
            assert plain.execute("SELECT pinned FROM sessions").fetchall() == [(0,)]
            assert plain.execute("PRAGMA user_version").fetchone() == (3,)
        monkeypatch.setattr(database, "MIGRATIONS", older)
        with pytest.raises(BadFile, match="update r1"):
            History.open(path)

    def test_a_file_of_version_1_keeps_every_chat_and_takes_new_turns(self, path: Path) -> None:
        change(path, (ROOT / "tests" / "data" / "history-1.sql").read_text(encoding="utf-8"))
        with History.open(path) as history:
            float_, stone = history.turns(1)
            (cut_off,) = history.turns(2)
            assert (float_.answer, float_.thinking, float_.finish_reason) == ("Yes, it does.", "Hmm, wood.", "stop")
            assert (float_.trimmed, float_.asked.files[0].content) == (True, "A duck.")
            assert (stone.number, stone.asked.system, stone.finish_reason) == (2, "Be brief.", "length")
            assert (stone.usage, stone.timings, stone.load_s) == (USAGE, TIMINGS, 0.125)
            assert (cut_off.thinking, cut_off.answer, cut_off.finish_reason) == ("Wait", "It w", None)
            assert {turn.thinking_end for turn in (float_, stone, cut_off)} == {None}
            assert {turn.asked.form for turn in (float_, stone, cut_off)} == {None}
            assert (history.preference("thinking"), history.typed(1)) == ("show", ["/stats"])
            assert [hit.withdrawn for hit in history.search("oops")] == [True]
            say(history, 2, "And now?")
            assert [turn.thinking for turn in history.turns(2)] == ["Wait", "hm"]
        with History.open(path, read_only=True) as again:
            assert [turn.number for turn in again.turns(2)] == [1, 2]

    def test_a_migration_that_fails_leaves_the_older_file(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_some(path)
        monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, "CREATE TABLE tags (t); SELECT nonsense;"))
        with pytest.raises(BadFile, match="nonsense"):
            History.open(path)
        monkeypatch.undo()
        with History.open(path) as history:
            assert len(history.sessions()) == 1
            with pytest.raises(sqlite3.OperationalError, match="no such table"):
                history._db.execute("SELECT * FROM tags")


WRITING = "write = lambda: say(History.open(path), None, 'x' * 20000)\n"


def on_a_small_disk(folder: Path, size: str, before: str, program: str) -> str:
    """The output of `program` beside a database with one turn on a small disk; the error if it fails."""
    prelude = "import sys; from pathlib import Path; from r1.history.history import History\n"
    prelude += "from tests.fakes.chats import say\npath = Path(sys.argv[1])\n"
    first = f"{prelude}with History.open(path) as h: say(h, None, 'why?')"
    indented = "".join(f"    {line}\n" for line in program.splitlines())
    second = f"{prelude}try:\n{indented}except Exception as exc: print(type(exc).__name__, exc)"
    script = (
        f"mount -t tmpfs -o size={size} none {folder} || exit 99\n"
        f'"$0" -c "$1" {folder}/history.db && {before.format(folder=folder) or "true"} &&'
        f'"$0" -c "$2" {folder}/history.db'
    )
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, first, second]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    except FileNotFoundError:
        pytest.skip("cannot mount a small disk: there is no unshare")
    if done.returncode and not done.stdout and ("unshare:" in done.stderr or "mount:" in done.stderr):
        pytest.skip(f"cannot mount a small disk: {done.stderr}")
    return done.stdout + done.stderr


class TestTrouble:
    """A disk or another process that prevents writing is one line of the right kind; saved chats stay."""

    def test_a_full_disk_is_reported(self, path: Path) -> None:
        with History.open(path) as history:
            session, turn = say(history, None, "one", reason=None)
            pages = history._db.execute("PRAGMA page_count").fetchone()[0]
            history._db.execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(NotEnoughSpace, match="no space left"):
                history.add(turn, "x" * 1_000_000, "")
            history._db.execute("PRAGMA max_page_count = 100000")
            history.add(turn, "!", "")
            assert history.turns(session)[0].thinking == "hm!"

    @pytest.mark.parametrize(
        ("size", "before", "error"),
        [
            ("400k", "", "NotEnoughSpace {path}: no space left on its disk; free some, saved chats are not affected"),
            ("4m", "mount -o remount,ro {folder}", "UsageError {path}: cannot be written; check its permissions"),
        ],
        ids=["full", "read-only"],
    )
    def test_a_disk_that_cannot_be_written_is_one_line(
        self, tmp_path: Path, size: str, before: str, error: str
    ) -> None:
        printed = on_a_small_disk(tmp_path, size, before, f"{WRITING}for n in range(100): write()")
        assert printed.count("\n") == 1
        assert printed.startswith(error.format(path=tmp_path / "history.db"))

    def test_a_read_only_disk_without_a_file_is_one_line(self, tmp_path: Path) -> None:
        program = "History.open(path.with_name('other.sqlite3'))"
        printed = on_a_small_disk(tmp_path, "4m", "mount -o remount,ro {folder}", program)
        assert printed.startswith(
            f"UsageError {tmp_path}/other.sqlite3: Read-only file system; chats cannot be saved there"
        )

    def test_chats_on_a_read_only_disk_can_be_read(self, tmp_path: Path) -> None:
        program = (
            "with History.open(path, must_exist=True) as h: print(h.turns(1)[0].answer, h.search('why')[0].number)"
        )
        printed = on_a_small_disk(tmp_path, "4m", "mount -o remount,ro {folder}", program)
        assert printed == "because 1\n"

    def test_a_lock_that_is_held_too_long_is_busy(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.2)
        with History.open(path) as history, closing(sqlite3.connect(path, isolation_level=None)) as other:
            _, turn = say(history, None, "one", reason=None)
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            with pytest.raises(Busy, match="close that and try again"):
                history.add(turn, "x", "")
            assert 0.1 < time.monotonic() - began < 10
            assert history.sessions()  # reading never waits
            other.execute("ROLLBACK")
            history.add(turn, "x", "")

    def test_a_folder_in_its_place_and_a_file_in_its_folders_place(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for wrong in (tmp_path, tmp_path / "file" / "history.db"):
            with pytest.raises(UsageError, match="chats cannot be saved there") as refused:
                History.open(wrong)
            assert "\n" not in str(refused.value)


WRITER = """
import sys, time
from pathlib import Path
from r1.history.history import History
from tests.fakes.chats import asked, finished
history, session = History.open(Path(sys.argv[1])), None
print("open", flush=True)
for n in range(1000):
    session, turn = history.begin(session, asked(f"question {n}"))
    print("begun", session, turn, n, flush=True)
    for k in range(5):
        history.add(turn, f"<{n}.{k}>", f"[{n}.{k}]")
        print("added", turn, k, flush=True)
        time.sleep(0.02)
    history.finish(turn, finished(), 1.0, 0.0)
    print("finished", turn, flush=True)
"""

OTHER_CHAT = """
import sys
from pathlib import Path
from r1.history.history import History
from tests.fakes.chats import asked, finished
name, session = sys.argv[2], None
history = History.open(Path(sys.argv[1]))
for n in range(150):
    session, turn = history.begin(session, asked(f"{name} {n}"))
    for k in range(4):
        history.add(turn, f"<{name}.{n}.{k}>", "")
    history.finish(turn, finished(), 1.0, 0.0)
print(session)
"""


def process(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


class TestKills:
    """kill -9 loses only what was not yet passed to the history."""

    def test_what_was_acknowledged_is_there_after_twenty_kills(self, path: Path) -> None:
        chance = random.Random(20250120)
        for _ in range(20):
            writer = process(WRITER, path)
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            time.sleep(chance.uniform(0.0, 0.35))
            writer.kill()
            self.compare(path, writer.communicate()[0].splitlines(keepends=True))

    def compare(self, path: Path, said: list[str]) -> None:
        lines = [line.split() for line in said if line.endswith("\n")]
        begun = {
            int(turn): (int(session), n) for kind, *rest in lines if kind == "begun" for session, turn, n in [rest]
        }
        with History.open(path) as history:
            sessions = {session for session, _ in begun.values()}
            turns = {turn.id: turn for session in sessions for turn in history.turns(session)}
        for turn, (_, n) in begun.items():
            added = sum(line[:2] == ["added", str(turn)] for line in lines)
            assert turns[turn].asked.question == f"question {n}"
            assert turns[turn].thinking.startswith("".join(f"<{n}.{k}>" for k in range(added)))
            assert turns[turn].answer.count("[") == turns[turn].thinking.count("<") in {added, added + 1}
            if ["finished", str(turn)] in lines:
                assert turns[turn].finish_reason == "stop"

    def test_a_kill_during_the_creation_leaves_a_file_that_opens(self, path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from r1.history.history import History; print('', flush=True)\n"
        )
        chance = random.Random(7)
        for _ in range(15):
            for file in path.parent.iterdir():
                file.unlink()
            maker = process(f"{program}History.open(Path(sys.argv[1]))", path)
            assert maker.stdout is not None
            maker.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.01))
            maker.kill()
            maker.communicate()
            write_some(path)


class TestSeveralProcesses:
    """Several chats write to the same file at once, and none loses a word."""

    def test_three_processes_that_start_together_lose_nothing(self, path: Path) -> None:
        names = ("one", "two", "three")
        writers = [process(OTHER_CHAT, path, name) for name in names]
        sessions = [int(writer.communicate(timeout=120)[0]) for writer in writers]
        assert len(set(sessions)) == 3
        with History.open(path) as history:
            for name, session in zip(names, sessions, strict=True):
                turns = history.turns(session)
                assert [turn.asked.question for turn in turns] == [f"{name} {n}" for n in range(150)]
                assert [turn.thinking for turn in turns] == [
                    "".join(f"<{name}.{n}.{k}>" for k in range(4)) for n in range(150)
                ]
                assert {turn.finish_reason for turn in turns} == {"stop"}

    def test_deleting_while_another_process_writes_harms_neither(self, path: Path) -> None:
        with History.open(path) as history:
            doomed = [say(history, None, f"doomed {n}")[0] for n in range(5)]
            writer = process(OTHER_CHAT, path, "busy")
            for session in doomed:
                history.delete(session)
            session = int(writer.communicate(timeout=120)[0])
            assert len(history.turns(session)) == 150
            assert [one.id for one in history.sessions()] == [session]
            assert history._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"

    def test_a_chat_can_be_written_from_another_thread(self, path: Path) -> None:
        from threading import Thread

        with History.open(path) as history:
            session, turn = history.begin(None, asked())
            threads = [Thread(target=history.add, args=(turn, "x", "y")) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert history.turns(session)[0].thinking == "x" * 20


def test_the_header_is_read_where_sqlite_puts_it(path: Path) -> None:
    write_some(path)
    assert struct.unpack(">II", path.read_bytes()[60:64] + path.read_bytes()[68:72]) == (2, 0x72316368)
