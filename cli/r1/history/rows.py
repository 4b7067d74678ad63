"""The rows of the history as dataclasses, and the statements that read and write them."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field

from r1.engine.events import Drafted, Finished, FinishReason, ThinkingEnd, Timings, Usage
from r1.engine.prompt import Attachment

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
CUT_OFF = "SELECT DISTINCT turn FROM pieces WHERE turn IN (SELECT id FROM turns WHERE session = ?)"

TYPED = """
    SELECT text FROM (
        SELECT question AS text, started AS moment FROM turns UNION ALL SELECT text, written AS moment FROM drafts
    ) ORDER BY moment DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its files and settings. `question` is the text as typed, without the files.

    `form` describes the form that the answer had to have; None: any.
    """

    question: str
    files: tuple[Attachment, ...]
    model: str
    system: str | None
    seed: int
    temp: float
    top_p: float
    max_tokens: int
    ctx: int
    form: str | None = None


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn in the history. `finish_reason` None: the reply was cut off, or is still being generated.

    `id` is the key that the methods of `History` take, `number` its place in the conversation, from 1. `thinking_end`
    None: the thinking did not end, or an r1 answered that did not save this yet. `drafted` is not saved.
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
    thinking_end: ThinkingEnd | None = None
    drafted: Drafted | None = field(default=None, compare=False)


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
        "form": None if asked.form is None else clean(asked.form),
        "question": clean(asked.question),
    }
    cursor = db.execute(
        "INSERT INTO turns (session, started, model, system, seed, temp, top_p, max_tokens, ctx, form, question) "
        "VALUES (:session, :started, :model, :system, :seed, :temp, :top_p, :max_tokens, :ctx, :form, :question)",
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


def replace_thinking(db: sqlite3.Connection, turn: int, thinking: str) -> sqlite3.Cursor:
    """Replaces the thinking that a turn has so far."""
    fold(db, turn)
    return db.execute("UPDATE turns SET thinking = ? WHERE id = ?", (thinking, turn))


def finish_turn(
    db: sqlite3.Connection, turn: int, finished: Finished, thinking_s: float | None, load_s: float
) -> sqlite3.Cursor:
    """Stores how the turn ended and how long it took."""
    usage, timings = finished.usage, finished.timings
    row = {
        "turn": turn,
        "finish_reason": finished.reason,
        "thinking_end": finished.thinking_end,
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
        "UPDATE turns SET finish_reason = :finish_reason, thinking_end = :thinking_end, thinking_s = :thinking_s, "
        "load_s = :load_s, "
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
        thinking_end=row["thinking_end"],
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
        form=row["form"],
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
