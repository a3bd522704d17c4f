-- What sources are asked for by their tasks.
ALTER TABLE tasks ADD COLUMN vm_id TEXT NOT NULL DEFAULT '';       -- of the target
ALTER TABLE tasks ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;  -- a verification was reported
