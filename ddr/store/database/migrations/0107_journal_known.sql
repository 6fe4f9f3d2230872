-- How much of each file of the journal of ends this database knows, in bytes: a clock that is set back changes nothing of it.
-- `seen` is what the files held at `seen_ms`, and becomes known when all that was under way then is over. `at_ms` remains for
-- the version before.
ALTER TABLE journal_mark
    ADD COLUMN known    jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN seen     jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN seen_ms  bigint;
