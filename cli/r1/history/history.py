"""What was said, kept as it is said: every question, trace and answer with its settings, model and timings.

What begins and ends a turn is committed with `synchronous = FULL`: it has reached the disk when the call returns, and
everything before it too, because there is one log. The pieces between are committed with NORMAL: a process that is
killed loses none of them, only a machine that loses its power does, and twice a second no disk has to be waited for.
A piece is a row of its own, so that what it costs does not depend on how long the reply is by then.

Every method raises what `database.translated` makes of a disk or a file that fails, and UsageError when its chat was
deleted meanwhile.

Knows: sessions, turns, what a conversation is made of. Does not know: terminals, models, how a turn is made.
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
from r1.history import database, schema
from r1.history.schema import Asked, SessionInfo, StoredTurn, clean
from r1.history.search import Hit, Words
from r1_quantize.errors import R1Error, UsageError
from r1_quantize.store.store import home

__all__ = ["Asked", "History", "Hit", "SessionInfo", "StoredTurn", "location"]

_NUMBER = re.compile("#?([0-9]{1,18})")


def location(environ: Mapping[str, str]) -> Path:
    """Where the chats are kept: history.db in R1_HOME. Nothing is created."""
    return home(environ) / "history.db"


class History:
    """The chats on this machine. Several processes may have it open; threads take turns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, must_exist: bool = False, patience: float | None = None) -> History:
        """Creates what is missing, unless it must be there. Raises UsageError, BadFile (newer, foreign, damaged).

        `patience`: seconds to wait, once it is open, for another program that writes; None: as long as it takes.
        """
        connection = database.connect(path, must_exist=must_exist)
        if patience is not None:
            connection.execute(f"PRAGMA busy_timeout = {round(1000 * patience)}")
        return cls(path, connection)

    # A turn, as it happens.

    def begin(self, session: int | None, asked: Asked) -> tuple[int, int]:
        """The session (a new one for None) and the new turn's id; both are on the disk when this returns."""
        now = round(time.time(), 6)
        with self._writing(durable=True) as db:
            if session is None:
                cursor = db.execute(
                    "INSERT INTO sessions (title, started, updated) VALUES (?, ?, ?)",
                    (schema.first_title(asked), now, now),
                )
                number = int(cursor.lastrowid or 0)
            else:
                number = session
                for turn in db.execute(schema.CUT_OFF, (number,)).fetchall():
                    schema.fold(db, *turn)
            turn = schema.insert_turn(db, number, now, asked)
            db.execute("UPDATE sessions SET updated = ? WHERE id = ?", (now, number))
        return number, turn

    def add(self, turn: int, thinking: str, answer: str) -> None:
        """More of the reply. Nothing that is there already is touched."""
        with self._writing(durable=False) as db:
            db.execute(
                "INSERT INTO pieces (turn, thinking, answer) VALUES (?, ?, ?)", (turn, clean(thinking), clean(answer))
            )

    def finish(
        self,
        turn: int,
        finished: Finished,
        thinking_s: float | None,
        load_s: float,
        said: tuple[str, str] | None = None,
    ) -> None:
        """The turn is over; its pieces become its thinking and its answer, or `said` does: a piece may be missing."""
        with self._writing(durable=True) as db:
            schema.fold(db, turn)
            if said is not None:
                db.execute("UPDATE turns SET thinking = ?, answer = ? WHERE id = ?", (*map(clean, said), turn))
            _require(schema.finish_turn(db, turn, finished, thinking_s, load_s))
            db.execute(
                "UPDATE sessions SET updated = ? WHERE id = (SELECT session FROM turns WHERE id = ?)",
                (round(time.time(), 6), turn),
            )

    # The conversation, changed by its commands.

    def withdraw(self, turn: int) -> None:
        """The turn no longer belongs to the conversation; it stays here and is still found."""
        with self._writing(durable=True) as db:
            _require(db.execute("UPDATE turns SET withdrawn = 1 WHERE id = ?", (turn,)))

    def discard(self, turn: int) -> None:
        """A turn that was never begun is gone, and its chat too when nothing else was said in it."""
        with self._writing(durable=True) as db:
            row = db.execute("SELECT session FROM turns WHERE id = ?", (turn,)).fetchone()
            db.execute("DELETE FROM turns WHERE id = ?", (turn,))
            if row is not None:
                db.execute(
                    "DELETE FROM sessions WHERE id = ? AND NOT EXISTS (SELECT 1 FROM turns WHERE session = ?)",
                    (row[0], row[0]),
                )

    def trim(self, session: int, turns: Sequence[int]) -> None:
        """These turns (ids) are still shown, but the model no longer gets them."""
        with self._writing(durable=True) as db:
            for turn in turns:
                _require(db.execute("UPDATE turns SET trimmed = 1 WHERE id = ? AND session = ?", (turn, session)))

    def title(self, session: int, title: str) -> None:
        """Raises UsageError for a title without a word."""
        words = " ".join(clean(title).split())
        if not words:
            raise UsageError("a title needs a word")
        with self._writing(durable=True) as db:
            _require(db.execute("UPDATE sessions SET title = ? WHERE id = ?", (words, session)))

    def delete(self, *sessions: int) -> None:
        """Chats that are gone for good: neither the file nor its log has a word of them when this returns.

        With the last chat go the drafts, which belong to none.

        `secure_delete` wipes what is deleted, but not the copies that lie in the gaps of pages which SQLite has
        divided or merged before; VACUUM leaves those behind, and the last checkpoint empties the log.
        """
        with self._writing(durable=True) as db:
            for session in sessions:
                _require(db.execute("DELETE FROM sessions WHERE id = ?", (session,)))
            db.execute("DELETE FROM drafts WHERE NOT EXISTS (SELECT 1 FROM sessions)")
        try:
            with self._lock, database.translated(self.path):
                self._db.execute("VACUUM")
                if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise database.busy(self.path)
        except R1Error as exc:
            raise type(exc)(f"deleted, but some of its words may still stand in the file: {exc}") from exc

    # Reading.

    def turns(self, session: int) -> list[StoredTurn]:
        """The conversation in order, without what was withdrawn; with what was cut off, as far as it came."""
        with self._reading() as db:
            files: dict[int, list[Attachment]] = {}
            for turn, name, content in db.execute(schema.FILES, (session,)):
                files.setdefault(turn, []).append(Attachment(name, content))
            rows = db.execute(schema.TURNS, (session,)).fetchall()
        return [schema.stored_turn(row, tuple(files.get(row["turn"], ()))) for row in rows]

    def sessions(self, limit: int | None = None) -> list[SessionInfo]:
        """The newest first."""
        with self._reading() as db:
            rows = db.execute(
                f"{schema.SESSIONS} ORDER BY updated DESC, id DESC LIMIT ?", (-1 if limit is None else limit,)
            )
            return [SessionInfo(**row) for row in rows]

    def info(self, session: int) -> SessionInfo:
        """Raises UsageError when there is none."""
        with self._reading() as db:
            row = db.execute(f"{schema.SESSIONS} WHERE id = ?", (session,)).fetchone()
        if row is None:
            raise UsageError(f"there is no chat {session}; r1 history lists them")
        return SessionInfo(**row)

    def latest(self) -> int | None:
        """The chat in which something was said last."""
        newest = self.sessions(limit=1)
        return newest[0].id if newest else None

    def find(self, reference: str) -> int:
        """The session that is meant by 3 or #3. Raises UsageError when there is none."""
        match = _NUMBER.fullmatch(reference.strip())
        if match is None:
            raise UsageError(f"{reference!r} is no number of a chat; r1 history lists them")
        return self.info(int(match[1])).id

    def search(self, words: str, limit: int = 50) -> list[Hit]:
        """Turns that have every word, newest first; before them chats that have them only in their title."""
        wanted = Words.of(clean(words))
        with self._reading() as db:
            hits: list[Hit] = []
            for turn, *raw in db.execute(schema.TEXTS):
                if wanted.may_be_in(raw) and (hit := schema.hit(db, wanted, turn, tuple(raw))):
                    hits.append(hit)
                if len(hits) == limit:
                    break
            return [*schema.title_hits(db, wanted, {hit.session for hit in hits}), *hits][:limit]

    # What is remembered between runs.

    def typed(self, limit: int) -> list[str]:
        """What was typed, the newest first: questions, commands, and drafts that were put away."""
        with self._reading() as db:
            return [text for (text,) in db.execute(schema.TYPED, (limit,))]

    def remember(self, text: str) -> None:
        """Something that was typed and is no question."""
        with self._writing(durable=False) as db:
            db.execute("INSERT INTO drafts (written, text) VALUES (?, ?)", (round(time.time(), 6), clean(text)))

    def preference(self, name: str) -> str | None:
        with self._reading() as db:
            row = db.execute("SELECT value FROM preferences WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def prefer(self, name: str, value: str) -> None:
        with self._writing(durable=False) as db:
            db.execute("INSERT OR REPLACE INTO preferences (name, value) VALUES (?, ?)", (name, clean(value)))

    def close(self) -> None:
        """Closing twice is closing once."""
        with database.translated(self.path):
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction, all of it or nothing; it waits for others that write."""
        with self._lock, database.translated(self.path):
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with _transaction(self._db, "BEGIN IMMEDIATE"):
                yield self._db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Several statements that see the same moment, whatever others write meanwhile."""
        with self._lock, database.translated(self.path), _transaction(self._db, "BEGIN"):
            yield self._db


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:  # Ctrl-C too
        if db.in_transaction:  # a full disk has already rolled back
            db.execute("ROLLBACK")
        raise


def _require(changed: sqlite3.Cursor) -> None:
    """Raises UsageError when there was nothing to change."""
    if changed.rowcount == 0:
        raise database.gone()
