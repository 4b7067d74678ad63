PRAGMA application_id = 1915839336;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE drafts (                       -- typed but not asked: commands and saved drafts
        id INTEGER PRIMARY KEY,
        written REAL NOT NULL,
        text TEXT NOT NULL
    );
INSERT INTO "drafts" VALUES(1,1737374400.99,'/stats');
CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        turn INTEGER NOT NULL REFERENCES turns ON DELETE CASCADE,
        name TEXT NOT NULL,
        content TEXT NOT NULL
    );
INSERT INTO "files" VALUES(1,1,'notes.txt','A duck.');
CREATE TABLE pieces (
        id INTEGER PRIMARY KEY,
        turn INTEGER NOT NULL REFERENCES turns ON DELETE CASCADE,
        thinking TEXT NOT NULL,
        answer TEXT NOT NULL
    );
INSERT INTO "pieces" VALUES(1,4,'Wait','');
INSERT INTO "pieces" VALUES(2,4,'','It w');
CREATE TABLE preferences (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "preferences" VALUES('thinking','show');
CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        started REAL NOT NULL,                  -- seconds since 1970, like all times here
        updated REAL NOT NULL
    );
INSERT INTO "sessions" VALUES(1,'Does wood float?',1737374400.02,1737374400.03);
INSERT INTO "sessions" VALUES(2,'Cut off?',1737374400.04,1737374400.05);
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
INSERT INTO "turns" VALUES(1,1,1737374400.06,0,1,'tiny:Q8_0',4294967295,0.6,0.95,512,2048,'stop',1.5,0.125,11,22,33,0.25,400.5,30.25,4.5,NULL,'Does wood float?','Yes, it does.','Hmm, wood.');
INSERT INTO "turns" VALUES(2,1,1737374400.07,0,0,'tiny:Q8_0',4294967295,0.6,0.95,512,2048,'length',1.5,0.125,11,22,33,0.25,400.5,30.25,4.5,'Be brief.','And red stone?','No.','Stone sinks.');
INSERT INTO "turns" VALUES(3,1,1737374400.08,1,0,'tiny:Q8_0',4294967295,0.6,0.95,512,2048,'stop',1.5,0.125,11,22,33,0.25,400.5,30.25,4.5,NULL,'Oops?','because','hm');
INSERT INTO "turns" VALUES(4,2,1737374400.09,0,0,'qwen-7b:Q4_K_M',4294967295,0.6,0.95,512,2048,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'Cut off?','','');
CREATE INDEX turns_of_session ON turns (session, withdrawn);
CREATE INDEX files_of_turn ON files (turn);
CREATE INDEX pieces_of_turn ON pieces (turn);
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
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sessions',2);
INSERT INTO "sqlite_sequence" VALUES('turns',4);
COMMIT;
