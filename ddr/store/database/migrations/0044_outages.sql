-- Maintenance and disruptions as operators tell them: in force on every worker within seconds, and kept, so that the
-- availability of a month can be computed from them (HDDT operational-requirements.md).
CREATE TABLE outage_notice (
    notice         text PRIMARY KEY,       -- a short random name, for commands and the feed
    planned        boolean NOT NULL,       -- maintenance; false: a disruption
    state          text NOT NULL CHECK (state IN ('demoted', 'unavailable')),
    functions      text[] NOT NULL,
    from_ms        bigint NOT NULL,
    until_ms       bigint CHECK (until_ms > from_ms),
    cause          text NOT NULL,
    cause_de       text NOT NULL DEFAULT '',
    impact         text NOT NULL DEFAULT '',
    impact_de      text NOT NULL DEFAULT '',
    contact        text NOT NULL DEFAULT '',
    urgent_reason  text,                   -- why it was not announced five business days ahead
    announced_ms   bigint NOT NULL,
    changed_ms     bigint NOT NULL,
    ended_ms       bigint,                 -- by an operator, before until_ms
    cancelled_ms   bigint,                 -- it did not take place
    CHECK (until_ms IS NOT NULL OR NOT planned)
);
CREATE INDEX outage_notice_until ON outage_notice (until_ms);

-- What the workers' own checks found, from its begin to its end.
CREATE TABLE outage_event (
    event      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        text NOT NULL,
    state      text NOT NULL CHECK (state IN ('demoted', 'unavailable')),
    functions  text[] NOT NULL,
    cause      text NOT NULL,
    cause_de   text NOT NULL,
    from_ms    bigint NOT NULL,
    until_ms   bigint
);
CREATE UNIQUE INDEX outage_event_open ON outage_event (key) WHERE until_ms IS NULL;
CREATE INDEX outage_event_until ON outage_event (until_ms) WHERE until_ms IS NOT NULL;

-- The present view of each worker of each host.
CREATE TABLE worker_report (
    host      text NOT NULL,
    worker    integer NOT NULL,
    seen_ms   bigint NOT NULL,
    gone      boolean NOT NULL DEFAULT false,   -- it was told to end
    troubles  jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (host, worker)
) WITH (fillfactor = 50);
