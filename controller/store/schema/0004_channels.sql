-- What secures the data channel of a task: certificates and encrypted private keys, and the passphrase of those, sealed.
CREATE TABLE channels (
    task       INTEGER PRIMARY KEY REFERENCES tasks (number) ON DELETE CASCADE,
    keys       TEXT    NOT NULL,
    passphrase BLOB    NOT NULL,
    made       INTEGER NOT NULL -- Unix milliseconds
) STRICT;

-- The logs that agents sent here, the newest bundle of each task.
CREATE TABLE logs (
    task  INTEGER PRIMARY KEY REFERENCES tasks (number) ON DELETE CASCADE,
    taken INTEGER NOT NULL, -- Unix milliseconds
    data  BLOB    NOT NULL
) STRICT;
