-- Migrations of Redis: the tasks of the DCS API. Times are Unix milliseconds.
CREATE TABLE migrations (
	number    INTEGER PRIMARY KEY AUTOINCREMENT,
	id        TEXT    NOT NULL UNIQUE,
	name      TEXT    NOT NULL,
	status    TEXT    NOT NULL,
	machine   TEXT    NOT NULL, -- id of the source whose agent runs it; empty: none yet
	plan      TEXT    NOT NULL, -- what users asked for, without passwords
	passwords BLOB,             -- sealed; null: none
	progress  TEXT    NOT NULL, -- what its machine said last
	created   INTEGER NOT NULL,
	updated   INTEGER,          -- status changed
	released  INTEGER           -- its machine is gone
) STRICT;
CREATE INDEX migrations_machine ON migrations (machine, number);
CREATE INDEX migrations_status ON migrations (status, number);

CREATE TABLE migration_logs (
	number    INTEGER PRIMARY KEY AUTOINCREMENT,
	migration INTEGER NOT NULL REFERENCES migrations (number) ON DELETE CASCADE,
	at        INTEGER NOT NULL, -- Unix nanoseconds
	level     TEXT    NOT NULL,
	message   TEXT    NOT NULL,
	code      TEXT    NOT NULL,
	UNIQUE (migration, at)
) STRICT;
