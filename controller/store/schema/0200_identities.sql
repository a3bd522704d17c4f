-- Who may call. An access key's secret is sealed, a password and a token are kept as hashes only.
CREATE TABLE users (
	id       TEXT PRIMARY KEY,
	name     TEXT NOT NULL UNIQUE,
	role     TEXT NOT NULL,
	password TEXT NOT NULL, -- its hash; empty: no password
	created  INTEGER NOT NULL
) STRICT;

CREATE TABLE access_keys (
	access_key TEXT PRIMARY KEY,
	user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	secret     BLOB NOT NULL, -- sealed
	created    INTEGER NOT NULL
) STRICT;
CREATE INDEX access_keys_user ON access_keys (user_id);

CREATE TABLE tokens (
	digest  BLOB PRIMARY KEY, -- SHA-256 of the token
	user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	expires INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_user ON tokens (user_id, expires);
CREATE INDEX tokens_expires ON tokens (expires);

-- Secrets of the control plane itself, sealed.
CREATE TABLE secrets (
	name   TEXT PRIMARY KEY,
	sealed BLOB NOT NULL
) STRICT;

-- Which user's agent registered a source.
CREATE TABLE source_owners (
	source_id TEXT PRIMARY KEY,
	user_id   TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX source_owners_user ON source_owners (user_id);
