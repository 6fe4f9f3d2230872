-- A request with an Idempotency-Key is worked on under a lease: when its worker dies, the repeated request takes over
-- within seconds. Bridges have keys, too, and the FHIR door answers in its own media types.
ALTER TABLE gateway_request
    ADD COLUMN content_type text,
    ADD COLUMN claim        bytea,             -- who works on it; another one after a lease ran out
    ADD COLUMN lease_ms     bigint;            -- by the database's clock

CREATE TABLE bridge_request (
    bridge_sha256   bytea NOT NULL,            -- of the bridge's certificate
    request_key     text NOT NULL,
    request_sha256  bytea NOT NULL,
    status          integer,
    content_type    text,
    answer          bytea,
    claim           bytea,
    lease_ms        bigint,
    created_ms      bigint NOT NULL,
    PRIMARY KEY (bridge_sha256, request_key)
);
CREATE INDEX bridge_request_age ON bridge_request (created_ms);
