"""The database file of the history: opening, versions, and SQLite's errors as ours.

A file that is not ours, or that a newer r1 has written, is recognized by its first hundred bytes, read as a plain file:
opening it with SQLite would already leave a -wal and a -shm beside it.

WAL mode, because two chats may write at once while a third process reads, and a commit is one append.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from r1.history.schema import APPLICATION_ID, MIGRATIONS
from r1_quantize.errors import DISK_FULL, BadFile, Busy, ChatNotFound, NotEnoughSpace, R1Error, UsageError

LOCK_TIMEOUT_S = 10.0
"""How long to wait for another process that is writing; a commit takes milliseconds."""

_MAGIC = b"SQLite format 3\0"
_HEADER, _WAL_HEADER, _FRAME_HEADER = 100, 32, 24  # bytes; https://sqlite.org/fileformat2.html


def connect(path: Path, *, must_exist: bool, read_only: bool = False) -> sqlite3.Connection:
    """Opens the database at `path` and updates it to this version.

    Raises ChatNotFound when it must exist and does not, BadFile for a foreign or newer file, which stays unchanged,
    and the errors of `translate_errors`.
    """
    with translate_errors(path):
        if must_exist and not path.exists():
            raise ChatNotFound("no chats yet; `r1` starts one")
        if not must_exist:
            _create(path)
        _refuse_foreign(path)
        read_only |= must_exist and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
        database = _open_read_only(path) if read_only else _open(path)
        try:
            _prepare(path, database, read_only=read_only)
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turns the errors of SQLite and of the operating system into R1Error."""
    try:
        yield
    except sqlite3.ProgrammingError:  # a bug of ours
        raise
    except sqlite3.Error as exc:
        raise _as_error(path, exc) from exc
    except OSError as exc:
        raise _as_file_error(path, exc) from exc


def locked_error(path: Path) -> Busy:
    return Busy(f"{path}: locked by another program for {LOCK_TIMEOUT_S:.0f} s; close that and try again")


def deleted_error() -> ChatNotFound:
    """For a missing row, or a row that refers to a missing one."""
    return ChatNotFound("another r1 has deleted this chat; start a new one")


def _as_error(path: Path, exc: sqlite3.Error) -> R1Error:
    code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return NotEnoughSpace(f"{path}: no space left on its disk; free some, saved chats are not affected")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return locked_error(path)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return UsageError(f"{path}: cannot be written; check its permissions, or set R1_HOME to another folder")
        case sqlite3.SQLITE_CONSTRAINT:
            return deleted_error()
        case sqlite3.SQLITE_IOERR:
            return R1Error(f"{path}: disk error ({exc}); earlier chats may be intact")
        case sqlite3.SQLITE_TOOBIG:
            return UsageError("a turn cannot have more than 1 GB of text")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR:
            return BadFile(f"{path}: damaged ({exc}); move it away and r1 creates a new one")
    return R1Error(f"{path}: {exc}")


def _as_file_error(path: Path, exc: OSError) -> R1Error:
    """R1_HOME cannot be used: a UsageError, as in `Store`, except where the disk is full or fails."""
    if exc.errno in DISK_FULL:
        return NotEnoughSpace(f"{path}: no space left on its disk; free some, saved chats are not affected")
    if exc.errno == errno.EIO:
        return R1Error(f"{path}: disk error ({exc.strerror}); earlier chats may be intact")
    return UsageError(f"{path}: {exc.strerror}; chats cannot be saved there, set R1_HOME to another folder")


def _create(path: Path) -> None:
    """Creates an empty file that only its owner may read. -wal and -shm get the same permissions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if not header:
        return  # just created, by us or by another process
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise BadFile(f"{path}: not a database; move it away and r1 creates a new one")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise BadFile(f"{path}: a database of another program; move it away and r1 creates a new one")
    newest = _header_in_wal(path.with_name(path.name + "-wal")) or header
    _refuse_newer(path, int.from_bytes(newest[60:64], "big"))


def _header_in_wal(wal: Path) -> bytes | None:
    """The first page as last committed, if it is still in the log and not yet in the database."""
    newest = candidate = None
    with suppress(FileNotFoundError), wal.open("rb") as file:
        start = file.read(_WAL_HEADER)
        page_size = int.from_bytes(start[8:12], "big")
        while len(frame := file.read(_FRAME_HEADER)) == _FRAME_HEADER and frame[8:16] == start[16:24]:
            page = file.read(_HEADER)
            if int.from_bytes(frame[:4], "big") == 1 and page.startswith(_MAGIC):
                candidate = page
            if frame[4:8] != b"\0\0\0\0":  # the last frame of a commit
                newest = candidate
            file.seek(page_size - _HEADER, os.SEEK_CUR)
    return newest


def _refuse_newer(path: Path, version: int) -> None:
    if version > len(MIGRATIONS):
        raise BadFile(f"{path}: written by a newer r1 (format {version}, this one reads {len(MIGRATIONS)}); update r1")


def _open(path: Path) -> sqlite3.Connection:
    # Transactions are begun explicitly; other threads may write, one at a time.
    return sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def _open_read_only(path: Path) -> sqlite3.Connection:
    """On a read-only disk SQLite cannot create its -shm file, and so reads the file as one that never changes."""
    immutable = "" if path.with_name(path.name + "-shm").exists() else "&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode=ro{immutable}"
    return sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def _prepare(path: Path, database: sqlite3.Connection, *, read_only: bool) -> None:
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("PRAGMA secure_delete = ON")
    database.execute("PRAGMA temp_store = MEMORY")  # VACUUM must not leave a copy in a shared folder
    version = _version(database)
    _refuse_newer(path, version)
    if read_only and version < len(MIGRATIONS):
        raise UsageError(
            f"{path}: written by an older r1, and cannot be updated on a read-only disk; copy it to another R1_HOME"
        )
    if read_only:
        return
    if version < len(MIGRATIONS):
        _migrate(path, database)
    _use_wal(database)


def _migrate(path: Path, database: sqlite3.Connection) -> None:
    """Updates in one transaction, so that a process that dies in the middle leaves the older version intact."""
    database.execute("BEGIN EXCLUSIVE")
    try:
        version = _version(database)  # another process may have been first
        _refuse_newer(path, version)
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a script. (`executescript` would first commit the open transaction.)"""
    statement = ""
    for part in script.split(";")[:-1]:
        statement += f"{part};"
        if sqlite3.complete_statement(statement):  # the semicolon is not in a comment
            yield statement
            statement = ""


def _use_wal(database: sqlite3.Connection) -> None:
    """Retries, because SQLite's own timeout does not apply while another process switches to WAL."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])
