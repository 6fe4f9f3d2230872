-- Jobs that one worker at a time does hold a lease, not a lock of a session: poolers share sessions.
CREATE TABLE job_lease (
    job       text PRIMARY KEY,
    mark      bytea NOT NULL,      -- of the process whose turn it is
    until_ms  bigint NOT NULL      -- by the database's clock
);
