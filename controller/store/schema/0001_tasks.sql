-- IF NOT EXISTS: databases of the first ferry have these tables, and no list of steps yet.
-- Times are Unix milliseconds, null until known. Sizes are bytes.
CREATE TABLE IF NOT EXISTS tasks (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT    NOT NULL UNIQUE,
    name              TEXT    NOT NULL,
    state             TEXT    NOT NULL,
    source_id         TEXT    NOT NULL,
    enterprise_id     TEXT    NOT NULL,
    request           TEXT    NOT NULL, -- the body it was created with
    target_id         TEXT    NOT NULL,
    created           INTEGER NOT NULL,
    started           INTEGER,
    finished          INTEGER,
    reported          INTEGER,          -- last word of the agent
    speed             REAL    NOT NULL DEFAULT 0, -- Mbit/s
    compress_rate     REAL    NOT NULL DEFAULT 0,
    replicated        INTEGER NOT NULL DEFAULT 0,
    total             INTEGER NOT NULL DEFAULT 0,
    remain_seconds    INTEGER,
    error_json        TEXT    NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX IF NOT EXISTS tasks_source ON tasks (source_id, number);
CREATE INDEX IF NOT EXISTS tasks_state ON tasks (state, number);

CREATE TABLE IF NOT EXISTS subtasks (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    task          INTEGER NOT NULL REFERENCES tasks (number) ON DELETE CASCADE,
    name          TEXT    NOT NULL,
    user_op       TEXT    NOT NULL,
    progress      INTEGER NOT NULL DEFAULT 0,
    started       INTEGER,
    ended         INTEGER,
    speed         REAL    NOT NULL DEFAULT 0, -- Mbit/s
    trace         TEXT,
    UNIQUE (task, name)
) STRICT;
