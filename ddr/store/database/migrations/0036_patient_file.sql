-- A file that a patient has given on the page "Devices": kept for a day, so that it can be looked at before it is taken,
-- and taken back after that. One at a time.
CREATE TABLE patient_file (
    patient_id   uuid PRIMARY KEY,
    digest       text NOT NULL,      -- names the import: SHA-256 of zone and content, hex
    content      bytea NOT NULL,     -- gzip
    created_ms   bigint NOT NULL,
    taken_ms     bigint              -- null until its values went into the record
);
