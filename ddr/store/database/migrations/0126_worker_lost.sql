-- Which process a worker is, and the last ones of its number that ended without having been told to, newest first:
-- {"run", "from_ms": its last word, "until_ms": when it was no more}. What they had in hand may not have been answered.
ALTER TABLE worker_report
    ADD COLUMN run uuid,
    ADD COLUMN losses jsonb NOT NULL DEFAULT '[]';
