"""The tables that chats are kept in, and their versions.

    sessions ─┬─ turns ─┬─ files      what went along with a question
              │         └─ pieces     the reply so far, until `History.finish` folds it into its turn
              └─ transcript           a view of it all, for people with the `sqlite3` program
    drafts                            what else was typed
    preferences

Knows: names and types. Does not know: how the file is opened, or what a turn is for.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from r1.engine.events import Finished, Timings, Usage
from r1.engine.prompt import Attachment
from r1.history.search import Hit, Where, Words

APPLICATION_ID = 0x72316368  # "r1ch"

MIGRATIONS = (
    # The long texts stand last in their row: whatever stands behind them costs a walk over all of their pages.
    # AUTOINCREMENT, so that the number of a chat that was deleted never comes to mean another one.
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        started REAL NOT NULL,                  -- seconds since 1970, as all times here
        updated REAL NOT NULL
    );
    CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        started REAL NOT NULL,
        withdrawn INTEGER NOT NULL DEFAULT 0,   -- by /undo, /retry, /edit: no longer part of the conversation
        trimmed INTEGER NOT NULL DEFAULT 0,     -- by /trim: shown, but no longer in the model's context
        model TEXT NOT NULL,
        seed INTEGER NOT NULL,
        temp REAL NOT NULL,
        top_p REAL NOT NULL,
        max_tokens INTEGER NOT NULL,
        ctx INTEGER NOT NULL,
        finish_reason TEXT,                     -- stop, length, context, interrupted; NULL: cut off in the middle
        thinking_s REAL,
        load_s REAL,
        prompt_tokens INTEGER,
        thinking_tokens INTEGER,
        answer_tokens INTEGER,
        ttft_s REAL,
        prefill_tps REAL,
        decode_tps REAL,
        total_s REAL,
        system TEXT,
        question TEXT NOT NULL,
        answer TEXT NOT NULL DEFAULT '',
        thinking TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX turns_of_session ON turns (session, withdrawn);
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        turn INTEGER NOT NULL REFERENCES turns ON DELETE CASCADE,
        name TEXT NOT NULL,
        content TEXT NOT NULL
    );
    CREATE INDEX files_of_turn ON files (turn);
    CREATE TABLE pieces (
        id INTEGER PRIMARY KEY,
        turn INTEGER NOT NULL REFERENCES turns ON DELETE CASCADE,
        thinking TEXT NOT NULL,
        answer TEXT NOT NULL
    );
    CREATE INDEX pieces_of_turn ON pieces (turn);
    CREATE TABLE drafts (                       -- typed, but in no turn: commands, and what was put away
        id INTEGER PRIMARY KEY,
        written REAL NOT NULL,
        text TEXT NOT NULL
    );
    CREATE TABLE preferences (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE VIEW transcript AS
        SELECT
            turns.session,
            sessions.title,
            1 + (
                SELECT count(*) FROM turns AS earlier
                WHERE earlier.session = turns.session AND earlier.id < turns.id AND NOT earlier.withdrawn
            ) AS number,
            datetime(turns.started, 'unixepoch', 'localtime') AS time,
            turns.question,
            (SELECT group_concat(name, ', ') FROM (SELECT name FROM files WHERE turn = turns.id ORDER BY id)) AS files,
            turns.thinking || coalesce(
                (SELECT group_concat(thinking, '') FROM
                    (SELECT thinking FROM pieces WHERE turn = turns.id ORDER BY id)), ''
            ) AS thinking,
            turns.answer || coalesce(
                (SELECT group_concat(answer, '') FROM
                    (SELECT answer FROM pieces WHERE turn = turns.id ORDER BY id)), ''
            ) AS answer,
            turns.finish_reason, turns.withdrawn, turns.trimmed,
            turns.model, turns.system, turns.seed, turns.temp, turns.top_p, turns.max_tokens, turns.ctx,
            turns.thinking_s, turns.load_s, turns.prompt_tokens, turns.thinking_tokens, turns.answer_tokens,
            turns.ttft_s, turns.prefill_tps, turns.decode_tps, turns.total_s, turns.started, turns.id AS turn
        FROM turns JOIN sessions ON sessions.id = turns.session
        ORDER BY turns.session, turns.id;
    """,
)
"""Entry n takes version n to n + 1; an empty file is version 0."""


_TITLE = 60  # characters
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

SESSIONS = """
    SELECT id, title, started, updated,
        (SELECT model FROM turns WHERE session = sessions.id ORDER BY id DESC LIMIT 1) AS model,
        (SELECT count(*) FROM turns WHERE session = sessions.id AND NOT withdrawn) AS turns
    FROM sessions
"""
TURNS = "SELECT * FROM transcript WHERE session = ? AND NOT withdrawn ORDER BY turn"
FILES = """
    SELECT turn, name, content FROM files
    WHERE turn IN (SELECT id FROM turns WHERE session = ? AND NOT withdrawn) ORDER BY id
"""
TEXTS = """
    SELECT turn, CAST(question AS BLOB), CAST(answer AS BLOB), CAST(thinking AS BLOB), CAST(coalesce(
        (SELECT group_concat(name || char(10) || content, char(10)) FROM files WHERE turn = transcript.turn), ''
    ) AS BLOB)
    FROM transcript ORDER BY turn DESC
"""
"""As bytes, because most are dismissed as such."""

CUT_OFF = "SELECT DISTINCT turn FROM pieces WHERE turn IN (SELECT id FROM turns WHERE session = ?)"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a turn is asked with. `question` is as typed, without the files."""

    question: str
    files: tuple[Attachment, ...]
    model: str
    system: str | None
    seed: int
    temp: float
    top_p: float
    max_tokens: int
    ctx: int


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as it is kept. `finish_reason` None: it was cut off in the middle, or is still being made.

    `id` is what the methods of `History` take, `number` its place in the conversation, from 1.
    """

    id: int
    number: int
    asked: Asked
    thinking: str
    answer: str
    finish_reason: str | None
    thinking_s: float | None
    usage: Usage | None
    timings: Timings | None
    load_s: float | None
    started: float  # seconds since the epoch
    trimmed: bool  # shown, but left out of the context


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A chat in a list. `turns` counts those of the conversation, `model` is the last one's."""

    id: int
    title: str
    model: str
    turns: int
    started: float
    updated: float


def clean(text: str) -> str:
    """`text` as it can be kept."""
    return _UNSTORABLE.sub("�", text)


def first_title(asked: Asked) -> str:
    """The first line of what was asked, or else the name of what was attached."""
    lines = [" ".join(line.split()) for line in clean(asked.question).splitlines()]
    names = [clean(file.name) for file in asked.files]
    title = next(filter(None, [*lines, *names]), "nothing asked")
    return title if len(title) <= _TITLE else f"{title[: _TITLE - 1].rstrip()}…"


TYPED = """
    SELECT text FROM (
        SELECT question AS text, started AS moment FROM turns UNION ALL SELECT text, written AS moment FROM drafts
    ) ORDER BY moment DESC LIMIT ?
"""


def insert_turn(db: sqlite3.Connection, session: int, started: float, asked: Asked) -> int:
    """The new turn's id, with its files."""
    cursor = db.execute(
        "INSERT INTO turns (session, started, model, system, seed, temp, top_p, max_tokens, ctx, question) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(session, started, clean(asked.model), None if asked.system is None else clean(asked.system)),
            *(asked.seed, asked.temp, asked.top_p, asked.max_tokens, asked.ctx, clean(asked.question)),
        ),
    )
    turn = int(cursor.lastrowid or 0)
    files = ((turn, clean(file.name), clean(file.content)) for file in asked.files)
    db.executemany("INSERT INTO files (turn, name, content) VALUES (?, ?, ?)", files)
    return turn


def fold(db: sqlite3.Connection, turn: int) -> None:
    """Moves the pieces that are there into their turn. While it is still being written that does no harm either."""
    pieces = db.execute("SELECT thinking, answer FROM pieces WHERE turn = ? ORDER BY id", (turn,)).fetchall()
    if pieces:
        thinking, answer = ("".join(texts) for texts in zip(*pieces, strict=True))
        db.execute(
            "UPDATE turns SET thinking = thinking || ?, answer = answer || ? WHERE id = ?", (thinking, answer, turn)
        )
        db.execute("DELETE FROM pieces WHERE turn = ?", (turn,))


def finish_turn(
    db: sqlite3.Connection, turn: int, finished: Finished, thinking_s: float | None, load_s: float
) -> sqlite3.Cursor:
    """How it ended, and what it took."""
    usage, timings = finished.usage, finished.timings
    return db.execute(
        "UPDATE turns SET finish_reason = ?, thinking_s = ?, load_s = ?, prompt_tokens = ?, thinking_tokens = ?, "
        "answer_tokens = ?, ttft_s = ?, prefill_tps = ?, decode_tps = ?, total_s = ? WHERE id = ?",
        (
            *(finished.reason, thinking_s, load_s, usage.prompt_tokens, usage.thinking_tokens, usage.answer_tokens),
            *(timings.ttft_s, timings.prefill_tps, timings.decode_tps, timings.total_s, turn),
        ),
    )


def stored_turn(row: sqlite3.Row, files: tuple[Attachment, ...]) -> StoredTurn:
    """From a row of `TURNS`."""
    ended = row["finish_reason"] is not None
    return StoredTurn(
        id=row["turn"],
        number=row["number"],
        asked=Asked(
            *(row["question"], files, row["model"], row["system"], row["seed"]),
            *(row["temp"], row["top_p"], row["max_tokens"], row["ctx"]),
        ),
        thinking=row["thinking"],
        answer=row["answer"],
        finish_reason=row["finish_reason"],
        thinking_s=row["thinking_s"],
        usage=Usage(row["prompt_tokens"], row["thinking_tokens"], row["answer_tokens"]) if ended else None,
        timings=Timings(row["ttft_s"], row["prefill_tps"], row["decode_tps"], row["total_s"]) if ended else None,
        load_s=row["load_s"],
        started=row["started"],
        trimmed=bool(row["trimmed"]),
    )


def hit(db: sqlite3.Connection, wanted: Words, turn: int, raw: tuple[bytes, ...]) -> Hit | None:
    """The turn of a row of `TEXTS`, if it has every word."""
    places: tuple[Where, ...] = ("question", "answer", "thinking", "file")
    texts = {where: text.decode("utf-8", "replace") for where, text in zip(places, raw, strict=True)}
    where = wanted.best_of(texts)
    if where is None:
        return None
    session, title, number, withdrawn = db.execute(
        "SELECT session, title, number, withdrawn FROM transcript WHERE turn = ?", (turn,)
    ).fetchone()
    return Hit(session, title, number, where, *wanted.excerpt(texts[where]), withdrawn=bool(withdrawn))


def title_hits(db: sqlite3.Connection, wanted: Words, within: set[int]) -> Iterator[Hit]:
    """The newest first; not those that were found by their turns, or whose title is only their question's beginning."""
    titles = db.execute("SELECT id, title FROM sessions ORDER BY updated DESC, id DESC").fetchall()
    for session, title in titles:
        if session in within or not wanted.best_of({"title": title}):
            continue
        question = db.execute("SELECT question FROM turns WHERE session = ? ORDER BY id LIMIT 1", (session,)).fetchone()
        if title.removesuffix("…") not in " ".join(question[0].split()):
            yield Hit(session, title, 0, "title", *wanted.excerpt(title))
