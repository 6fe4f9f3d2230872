-- Certificates of cloud bridges: backends of the manufacturer that send for many patients. None names a patient.
CREATE TABLE gateway_certificate (
    certificate_sha256  bytea PRIMARY KEY,
    certificate         bytea NOT NULL,      -- DER; an anchor of the gateway listener while it is not revoked
    name                text NOT NULL,       -- the operator's, for revocation
    created_ms          bigint NOT NULL,
    revoked_ms          bigint
);
CREATE UNIQUE INDEX gateway_certificate_alive ON gateway_certificate (name) WHERE revoked_ms IS NULL;
