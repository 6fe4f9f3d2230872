-- Patients who were deleted a moment ago: of a request that was under way then a row may still come. Forgotten in minutes.
CREATE TABLE erased (
    patient_id  uuid PRIMARY KEY,
    at_ms       bigint NOT NULL
);
CREATE INDEX erased_due ON erased (at_ms);
