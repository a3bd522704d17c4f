-- What a task knows that nobody filters by.
ALTER TABLE tasks ADD COLUMN detail TEXT NOT NULL DEFAULT '{}';
