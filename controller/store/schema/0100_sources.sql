-- Times are Unix milliseconds.
CREATE TABLE sources (
	number        INTEGER PRIMARY KEY AUTOINCREMENT,
	id            TEXT    NOT NULL UNIQUE,
	name          TEXT    NOT NULL,
	ip            TEXT    NOT NULL,
	ipv6          TEXT    NOT NULL,
	project_id    TEXT    NOT NULL, -- migration project
	enterprise_id TEXT    NOT NULL,
	state         TEXT    NOT NULL,
	cycle         TEXT    NOT NULL,
	info          TEXT    NOT NULL, -- what its agent said of it
	checks        TEXT    NOT NULL, -- what came of the environment checks
	choices       TEXT    NOT NULL, -- what users want of its disks and volumes
	added         INTEGER NOT NULL,
	state_at      INTEGER NOT NULL, -- state changed
	cycle_at      INTEGER NOT NULL, -- cycle changed
	seen          INTEGER NOT NULL, -- last word of its agent
	since         INTEGER NOT NULL  -- first word of its agent after a silence
) STRICT;
CREATE INDEX sources_state ON sources (state, number);
CREATE INDEX sources_project ON sources (project_id, number);
CREATE INDEX sources_seen ON sources (seen);

-- Which source has a primary network interface: how one that lost its id is known again.
CREATE TABLE source_macs (
	mac       TEXT PRIMARY KEY,
	source_id TEXT NOT NULL
) STRICT;
CREATE INDEX source_macs_source ON source_macs (source_id);

CREATE TABLE projects (
	number INTEGER PRIMARY KEY AUTOINCREMENT,
	id     TEXT    NOT NULL UNIQUE,
	body   TEXT    NOT NULL
) STRICT;

CREATE TABLE templates (
	number            INTEGER PRIMARY KEY AUTOINCREMENT,
	id                TEXT    NOT NULL UNIQUE,
	name              TEXT    NOT NULL,
	availability_zone TEXT    NOT NULL,
	region            TEXT    NOT NULL,
	general           INTEGER NOT NULL, -- 0: made for one task
	body              TEXT    NOT NULL, -- without the password
	password          BLOB              -- sealed; null: none
) STRICT;

-- Single values of the whole control plane.
CREATE TABLE settings (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT;
