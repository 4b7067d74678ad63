"""The tables of the history, their versions, and the rows as dataclasses.

sessions ─┬─ turns ─┬─ files      attached to a question
          │         └─ pieces     the reply so far, until `History.finish` folds it into its turn
          └─ transcript           a view of everything, for people with the `sqlite3` program
drafts                            other text that was typed
preferences
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from r1.engine.events import Finished, FinishReason, Timings, Usage
from r1.engine.prompt import Attachment
from r1.history.search import Hit, Place, Query

APPLICATION_ID = 0x72316368  # "r1ch"

MIGRATIONS = (
    # The long texts are the last columns: to read a column behind them SQLite walks over all of their pages.
    # AUTOINCREMENT, so that the number of a deleted chat is never used again.
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        started REAL NOT NULL,                  -- seconds since 1970, like all times here
        updated REAL NOT NULL
    );
    CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        started REAL NOT NULL,
        withdrawn INTEGER NOT NULL DEFAULT 0,   -- by /undo, /retry, /edit: no longer part of the conversation
        trimmed INTEGER NOT NULL DEFAULT 0,     -- by /trim: shown, but not in the model's context
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
    CREATE TABLE drafts (                       -- typed but not asked: commands and saved drafts
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
"""Entry n updates version n to n + 1; an empty file is version 0."""

_MAX_TITLE = 60  # characters
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
"""As bytes: most turns are ruled out without being decoded."""

CUT_OFF = "SELECT DISTINCT turn FROM pieces WHERE turn IN (SELECT id FROM turns WHERE session = ?)"

TYPED = """
    SELECT text FROM (
        SELECT question AS text, started AS moment FROM turns UNION ALL SELECT text, written AS moment FROM drafts
    ) ORDER BY moment DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its files and settings. `question` is the text as typed, without the files."""

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
    """A turn in the history. `finish_reason` None: the reply was cut off, or is still being made.

    `id` is the key that the methods of `History` take, `number` its place in the conversation, from 1.
    """

    id: int
    number: int
    asked: Question
    thinking: str
    answer: str
    finish_reason: FinishReason | None
    thinking_s: float | None
    usage: Usage | None
    timings: Timings | None
    load_s: float | None
    started: float  # seconds since the epoch
    trimmed: bool  # shown, but not in the model's context


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A chat in a list. `turns` is the length of its conversation, `model` the model of its last turn."""

    id: int
    title: str
    model: str
    turns: int
    started: float
    updated: float


def clean(text: str) -> str:
    """`text` without the characters that SQLite or UTF-8 cannot store."""
    return _UNSTORABLE.sub("�", text)


def first_title(asked: Question) -> str:
    """The first line of the question, else the name of the first file."""
    lines = [" ".join(line.split()) for line in clean(asked.question).splitlines()]
    names = [clean(file.name) for file in asked.files]
    title = next(filter(None, [*lines, *names]), "untitled")
    return title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 1].rstrip()}…"


def insert_turn(db: sqlite3.Connection, session: int, started: float, asked: Question) -> int:
    """Inserts a turn and its files; returns the turn's id."""
    row = {
        "session": session,
        "started": started,
        "model": clean(asked.model),
        "system": None if asked.system is None else clean(asked.system),
        "seed": asked.seed,
        "temp": asked.temp,
        "top_p": asked.top_p,
        "max_tokens": asked.max_tokens,
        "ctx": asked.ctx,
        "question": clean(asked.question),
    }
    cursor = db.execute(
        "INSERT INTO turns (session, started, model, system, seed, temp, top_p, max_tokens, ctx, question) "
        "VALUES (:session, :started, :model, :system, :seed, :temp, :top_p, :max_tokens, :ctx, :question)",
        row,
    )
    turn = int(cursor.lastrowid or 0)
    files = ((turn, clean(file.name), clean(file.content)) for file in asked.files)
    db.executemany("INSERT INTO files (turn, name, content) VALUES (?, ?, ?)", files)
    return turn


def fold(db: sqlite3.Connection, turn: int) -> None:
    """Moves the pieces of a turn into its row. Harmless while another process still adds pieces."""
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
    """Stores how the turn ended and how long it took."""
    usage, timings = finished.usage, finished.timings
    row = {
        "turn": turn,
        "finish_reason": finished.reason,
        "thinking_s": thinking_s,
        "load_s": load_s,
        "prompt_tokens": usage.prompt_tokens,
        "thinking_tokens": usage.thinking_tokens,
        "answer_tokens": usage.answer_tokens,
        "ttft_s": timings.ttft_s,
        "prefill_tps": timings.prefill_tps,
        "decode_tps": timings.decode_tps,
        "total_s": timings.total_s,
    }
    return db.execute(
        "UPDATE turns SET finish_reason = :finish_reason, thinking_s = :thinking_s, load_s = :load_s, "
        "prompt_tokens = :prompt_tokens, thinking_tokens = :thinking_tokens, answer_tokens = :answer_tokens, "
        "ttft_s = :ttft_s, prefill_tps = :prefill_tps, decode_tps = :decode_tps, total_s = :total_s WHERE id = :turn",
        row,
    )


def stored_turn(row: sqlite3.Row, files: tuple[Attachment, ...]) -> StoredTurn:
    """A turn from a row of `TURNS`."""
    is_over = row["finish_reason"] is not None
    return StoredTurn(
        id=row["turn"],
        number=row["number"],
        asked=_question(row, files),
        thinking=row["thinking"],
        answer=row["answer"],
        finish_reason=row["finish_reason"],
        thinking_s=row["thinking_s"],
        usage=_usage(row) if is_over else None,
        timings=_timings(row) if is_over else None,
        load_s=row["load_s"],
        started=row["started"],
        trimmed=bool(row["trimmed"]),
    )


def _question(row: sqlite3.Row, files: tuple[Attachment, ...]) -> Question:
    return Question(
        question=row["question"],
        files=files,
        model=row["model"],
        system=row["system"],
        seed=row["seed"],
        temp=row["temp"],
        top_p=row["top_p"],
        max_tokens=row["max_tokens"],
        ctx=row["ctx"],
    )


def _usage(row: sqlite3.Row) -> Usage:
    return Usage(
        prompt_tokens=row["prompt_tokens"],
        thinking_tokens=row["thinking_tokens"],
        answer_tokens=row["answer_tokens"],
    )


def _timings(row: sqlite3.Row) -> Timings:
    return Timings(
        ttft_s=row["ttft_s"],
        prefill_tps=row["prefill_tps"],
        decode_tps=row["decode_tps"],
        total_s=row["total_s"],
    )


def turn_hit(db: sqlite3.Connection, query: Query, turn: int, raw: tuple[bytes, ...]) -> Hit | None:
    """The turn of a row of `TEXTS`, if it has every term."""
    places: tuple[Place, ...] = ("question", "answer", "thinking", "file")
    texts = {place: text.decode("utf-8", "replace") for place, text in zip(places, raw, strict=True)}
    place = query.best_place(texts)
    if place is None:
        return None
    row = db.execute("SELECT session, title, number, withdrawn FROM transcript WHERE turn = ?", (turn,)).fetchone()
    excerpt, spans = query.excerpt(texts[place])
    return Hit(
        session=row["session"],
        title=row["title"],
        number=row["number"],
        where=place,
        excerpt=excerpt,
        spans=spans,
        withdrawn=bool(row["withdrawn"]),
    )


def title_hits(db: sqlite3.Connection, query: Query, found: set[int]) -> Iterator[Hit]:
    """Titles that have every term, newest first.

    Sessions in `found` are left out, and titles that only repeat the start of the first question.
    """
    titles = db.execute("SELECT id, title FROM sessions ORDER BY updated DESC, id DESC").fetchall()
    for session, title in titles:
        if session in found or not query.best_place({"title": title}):
            continue
        question = db.execute("SELECT question FROM turns WHERE session = ? ORDER BY id LIMIT 1", (session,)).fetchone()
        if title.removesuffix("…") not in " ".join(question[0].split()):
            excerpt, spans = query.excerpt(title)
            yield Hit(session=session, title=title, number=0, where="title", excerpt=excerpt, spans=spans)
