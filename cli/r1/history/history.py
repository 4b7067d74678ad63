"""The history: every question, trace and answer with its settings, model and timings, saved while it is generated.

The start and the end of a turn are committed with `synchronous = FULL`: they are on the disk when the call returns,
and so is everything before them, because there is one log. The pieces in between are committed with NORMAL, which does
not wait for the disk: a killed process loses none of them, only a power failure can. Each piece is a separate row, so
that its cost does not grow with the reply.

All methods raise the errors of `database.translate_errors`, and ChatNotFound when another process has deleted the
chat.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from r1.engine.events import Finished
from r1.engine.prompt import Attachment
from r1.history import database, rows
from r1.history.rows import Question, SessionInfo, StoredTurn, clean
from r1.history.search import Hit, Query, find_hits
from r1_quantize.errors import ChatNotFound, R1Error, UsageError
from r1_quantize.store.store import home

__all__ = ["History", "Hit", "Question", "SessionInfo", "StoredTurn", "location"]

_LISTING = "r1 history"  # the command that lists the chats, in a shell
_NUMBER = re.compile("#?([0-9]+)")
_MAX_NUMBER = 2**63 - 1  # of an SQLite row
_MAX_DIGITS = len(str(_MAX_NUMBER))


def location(environ: Mapping[str, str]) -> Path:
    """The database file: history.db in R1_HOME. Creates nothing."""
    return home(environ) / "history.db"


class History:
    """The chats on this machine. Several processes may have them open; threads take turns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, path: Path, *, must_exist: bool = False, read_only: bool = False, lock_timeout_s: float | None = None
    ) -> History:
        """Opens the database; creates it unless it must exist. Raises ChatNotFound, BadFile (newer, foreign, damaged).

        `read_only` creates no file, not even a log. `lock_timeout_s`: how long later calls wait for another program
        that is writing; None: the default.
        """
        connection = database.connect(path, must_exist=must_exist or read_only, read_only=read_only)
        if lock_timeout_s is not None:
            connection.execute(f"PRAGMA busy_timeout = {round(1000 * lock_timeout_s)}")
        return cls(path, connection)

    # --- the running turn ---

    def begin(self, session: int | None, asked: Question) -> tuple[int, int]:
        """Adds a turn to the session (None: a new one); returns the session and the turn's id. Durable."""
        now = round(time.time(), 6)
        with self._writing(durable=True) as db:
            if session is None:
                cursor = db.execute(
                    "INSERT INTO sessions (title, started, updated) VALUES (?, ?, ?)",
                    (rows.first_title(asked), now, now),
                )
                number = int(cursor.lastrowid or 0)
            else:
                number = session
                for turn in db.execute(rows.CUT_OFF, (number,)).fetchall():
                    rows.fold(db, *turn)
            turn = rows.insert_turn(db, number, now, asked)
            db.execute("UPDATE sessions SET updated = ? WHERE id = ?", (now, number))
        return number, turn

    def add(self, turn: int, thinking: str, answer: str) -> None:
        """Adds a piece to the reply."""
        with self._writing(durable=False) as db:
            db.execute(
                "INSERT INTO pieces (turn, thinking, answer) VALUES (?, ?, ?)", (turn, clean(thinking), clean(answer))
            )

    def replace_thinking(self, turn: int, thinking: str) -> None:
        """Replaces the thinking of a reply so far, after the model went back to an earlier place of it."""
        with self._writing(durable=False) as db:
            _require(rows.replace_thinking(db, turn, clean(thinking)))

    def finish(
        self,
        turn: int,
        finished: Finished,
        thinking_s: float | None,
        load_s: float,
        text: tuple[str, str] | None = None,
    ) -> None:
        """Ends the turn. `text` is its thinking and answer; None if no piece of them is missing."""
        with self._writing(durable=True) as db:
            rows.fold(db, turn)
            if text is not None:
                thinking, answer = map(clean, text)
                db.execute("UPDATE turns SET thinking = ?, answer = ? WHERE id = ?", (thinking, answer, turn))
            _require(rows.finish_turn(db, turn, finished, thinking_s, load_s))
            db.execute(
                "UPDATE sessions SET updated = ? WHERE id = (SELECT session FROM turns WHERE id = ?)",
                (round(time.time(), 6), turn),
            )

    # --- changes to the conversation ---

    def withdraw(self, turn: int) -> None:
        """Takes the turn out of the conversation; search still finds it."""
        with self._writing(durable=True) as db:
            _require(db.execute("UPDATE turns SET withdrawn = 1 WHERE id = ?", (turn,)))

    def discard(self, turn: int) -> None:
        """Deletes a turn that was never answered, and its chat too if it has no other turn."""
        with self._writing(durable=True) as db:
            row = db.execute("SELECT session FROM turns WHERE id = ?", (turn,)).fetchone()
            db.execute("DELETE FROM turns WHERE id = ?", (turn,))
            if row is not None:
                db.execute(
                    "DELETE FROM sessions WHERE id = ? AND NOT EXISTS (SELECT 1 FROM turns WHERE session = ?)",
                    (row[0], row[0]),
                )

    def trim(self, session: int, turns: Sequence[int]) -> None:
        """Marks turns (ids) that are still shown, but no longer in the model's context."""
        with self._writing(durable=True) as db:
            for turn in turns:
                _require(db.execute("UPDATE turns SET trimmed = 1 WHERE id = ? AND session = ?", (turn, session)))

    def title(self, session: int, title: str) -> None:
        """Names a chat. Raises UsageError for a blank title."""
        words = " ".join(clean(title).split())
        if not words:
            raise UsageError("a title cannot be blank")
        with self._writing(durable=True) as db:
            _require(db.execute("UPDATE sessions SET title = ? WHERE id = ?", (words, session)))

    def delete(self, *sessions: int) -> None:
        """Deletes chats for good: neither the file nor its log has a word of them when this returns.

        Deleting the last chat also deletes the drafts, which belong to no chat.

        `secure_delete` wipes deleted rows, but not copies in the gaps of pages that SQLite split or merged before.
        VACUUM writes a file without those, and the checkpoint empties the log.
        """
        with self._writing(durable=True) as db:
            for session in sessions:
                _require(db.execute("DELETE FROM sessions WHERE id = ?", (session,)))
            db.execute("DELETE FROM drafts WHERE NOT EXISTS (SELECT 1 FROM sessions)")
        try:
            with self._lock, database.translate_errors(self.path):
                self._db.execute("VACUUM")
                if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise database.locked_error(self.path)
        except R1Error as exc:
            raise type(exc)(f"deleted, but some of its text may still be in the file: {exc}") from exc

    # --- reading ---

    def turns(self, session: int) -> list[StoredTurn]:
        """The conversation in order, without withdrawn turns. A reply that was cut off has the text it had so far."""
        with self._reading() as db:
            files: dict[int, list[Attachment]] = {}
            for turn, name, content in db.execute(rows.FILES, (session,)):
                files.setdefault(turn, []).append(Attachment(name, content))
            turns = db.execute(rows.TURNS, (session,)).fetchall()
        return [rows.stored_turn(row, tuple(files.get(row["turn"], ()))) for row in turns]

    def sessions(self, limit: int | None = None) -> list[SessionInfo]:
        """The newest first."""
        with self._reading() as db:
            sessions = db.execute(
                f"{rows.SESSIONS} ORDER BY updated DESC, id DESC LIMIT ?", (-1 if limit is None else limit,)
            )
            return [SessionInfo(**row) for row in sessions]

    def info(self, session: int, listing: str = _LISTING) -> SessionInfo:
        """Raises ChatNotFound, which names the command that lists the chats."""
        row = None
        if session <= _MAX_NUMBER:
            with self._reading() as db:
                row = db.execute(f"{rows.SESSIONS} WHERE id = ?", (session,)).fetchone()
        if row is None:
            raise ChatNotFound(f"no chat {session}; {listing} lists the chats")
        return SessionInfo(**row)

    def latest(self) -> int | None:
        """The chat with the latest question or answer."""
        newest = self.sessions(limit=1)
        return newest[0].id if newest else None

    def find(self, reference: str, listing: str = _LISTING) -> int:
        """The session that `reference` names: 3 or #3. Raises ChatNotFound, or UsageError for another form.

        `listing` is the command that lists the chats, where this is asked.
        """
        match = _NUMBER.fullmatch(reference.strip())
        if match is None:
            raise UsageError(f"{reference!r} is not a chat number; {listing} lists the chats")
        digits = match[1].lstrip("0") or "0"
        if len(digits) > _MAX_DIGITS:  # int() refuses thousands of digits
            raise ChatNotFound(f"no chat {digits[:_MAX_DIGITS]}…; {listing} lists the chats")
        return self.info(int(digits), listing).id

    def search(self, words: str, limit: int = 50) -> list[Hit]:
        """Turns that have every term, newest first; before them chats that have them only in their title."""
        query = Query.parse(clean(words))
        with self._reading() as db:
            return find_hits(db, query, limit)

    # --- drafts and preferences ---

    def typed(self, limit: int) -> list[str]:
        """Earlier input, the newest first: questions, commands and saved drafts."""
        with self._reading() as db:
            return [text for (text,) in db.execute(rows.TYPED, (limit,))]

    def add_draft(self, text: str) -> None:
        """Saves a command or a draft for `typed`."""
        with self._writing(durable=False) as db:
            db.execute("INSERT INTO drafts (written, text) VALUES (?, ?)", (round(time.time(), 6), clean(text)))

    def preference(self, name: str) -> str | None:
        with self._reading() as db:
            row = db.execute("SELECT value FROM preferences WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set_preference(self, name: str, value: str) -> None:
        with self._writing(durable=False) as db:
            db.execute("INSERT OR REPLACE INTO preferences (name, value) VALUES (?, ?)", (name, clean(value)))

    def close(self) -> None:
        """May be called twice."""
        with database.translate_errors(self.path):
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction, all or nothing. Waits for other writers."""
        with self._lock, database.translate_errors(self.path):
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with _transaction(self._db, "BEGIN IMMEDIATE"):
                yield self._db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Statements that all see the same state, even if other processes write in the meantime."""
        with self._lock, database.translate_errors(self.path), _transaction(self._db, "BEGIN"):
            yield self._db


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:  # KeyboardInterrupt too
        if db.in_transaction:  # SQLite itself rolls back on a full disk
            db.execute("ROLLBACK")
        raise


def _require(changed: sqlite3.Cursor) -> None:
    """Raises ChatNotFound when no row was changed."""
    if changed.rowcount == 0:
        raise database.deleted_error()
