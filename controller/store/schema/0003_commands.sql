-- Orders to the agents, by source in the order of their numbers. Times are Unix milliseconds.
CREATE TABLE commands (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    source_id TEXT    NOT NULL,
    task_id   TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    param     TEXT    NOT NULL,
    queued    INTEGER NOT NULL,
    delivered INTEGER,          -- told to the agent first; null until then
    answered  INTEGER,          -- null until the agent answered; of a source only the last answered one is kept
    result    TEXT,             -- the agent's answer
    detail    TEXT
) STRICT;

CREATE INDEX commands_source ON commands (source_id, number);
CREATE INDEX commands_task ON commands (task_id);
