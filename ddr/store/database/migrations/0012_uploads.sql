-- Uploads of readings that the gateway gave a key, so that it can take them back. What counts is stored in the chunks.
CREATE TABLE upload (
    patient_id  uuid NOT NULL,
    sensor_no   bigint NOT NULL,
    upload_key  text NOT NULL,
    times       bigint[] NOT NULL,      -- of its readings
    vals        smallint[] NOT NULL,    -- raw values, see ddr/series/packing.py
    created_ms  bigint NOT NULL,
    deleted_ms  bigint,
    PRIMARY KEY (patient_id, sensor_no, upload_key)
);

-- Answers to requests with an Idempotency-Key, for a day. answer is null while the first one is being worked on.
CREATE TABLE gateway_request (
    patient_id      uuid NOT NULL,
    request_key     text NOT NULL,
    request_sha256  bytea NOT NULL,
    status          integer,
    answer          bytea,
    created_ms      bigint NOT NULL,
    PRIMARY KEY (patient_id, request_key)
);
