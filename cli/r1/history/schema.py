"""The tables of the history, and their versions.

sessions ─┬─ turns ─┬─ files      attached to a question
          │         └─ pieces     the reply so far, until `History.finish` folds it into its turn
          └─ transcript           a view of everything, for people with the `sqlite3` program
drafts                            other text that was typed
preferences
"""

from __future__ import annotations

APPLICATION_ID = 0x72316368  # "r1ch"

MIGRATIONS = (
    # The long texts are the last columns, because SQLite reads all of their pages to get to a column after them.
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
        finish_reason TEXT,                     -- stop, length, context, loop, interrupted; NULL: cut off
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
    # The new columns come after the long texts; only what reads these texts too reads them.
    """
    ALTER TABLE turns ADD COLUMN form TEXT          /* that the answer had to have, in words; NULL: any */;
    ALTER TABLE turns ADD COLUMN thinking_end TEXT  /* natural, budget, loop, user, eos, limit; NULL: not known */;
    DROP VIEW transcript;
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
            turns.finish_reason, turns.thinking_end, turns.withdrawn, turns.trimmed,
            turns.model, turns.system, turns.seed, turns.temp, turns.top_p, turns.max_tokens, turns.ctx, turns.form,
            turns.thinking_s, turns.load_s, turns.prompt_tokens, turns.thinking_tokens, turns.answer_tokens,
            turns.ttft_s, turns.prefill_tps, turns.decode_tps, turns.total_s, turns.started, turns.id AS turn
        FROM turns JOIN sessions ON sessions.id = turns.session
        ORDER BY turns.session, turns.id;
    """,
)
"""Entry n updates version n to n + 1; an empty file is version 0."""
