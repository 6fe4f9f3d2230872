-- Which process a worker is, and the last one that ended without having been told to: from its last word to the first
-- one of its successor. What it had in hand then may not have been answered.
ALTER TABLE worker_report
    ADD COLUMN run uuid,
    ADD COLUMN lost_run uuid,
    ADD COLUMN lost_from_ms bigint,
    ADD COLUMN lost_until_ms bigint;
