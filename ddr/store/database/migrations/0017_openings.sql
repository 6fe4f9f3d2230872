-- What a pairing was let see later than its first request, so that whoever polls by _lastUpdated finds it: to that DiGA
-- nothing of it is older than its opening (ddr/store/authorization/openings.py).
CREATE TABLE opening (
    patient_id       uuid NOT NULL,
    pairing_no       bigint NOT NULL,
    kind             text NOT NULL,            -- ValueSet canonical of a MIV, or a resource type
    opened_ms        bigint DEFAULT 0,         -- 0: seen from the start; null: with the next request that sees it
    historic_days    integer,                  -- the Historic-Data-Period last served, of a MIV
    older_ms         bigint NOT NULL DEFAULT 0,-- what ended before this instant ...
    older_opened_ms  bigint NOT NULL DEFAULT 0,-- ... was opened then, by a longer Historic-Data-Period
    PRIMARY KEY (patient_id, pairing_no, kind)
);
