-- The authorization server: pushed requests, codes, refresh token families, signing keys.

-- A pushed authorization request (RFC 9126). It belongs to no patient yet and lives for minutes; it is consumed by the
-- patient's decision, not when a page loads. Only the SHA-256 of the request_uri is kept.
CREATE TABLE pushed_request (
    request_sha256  bytea PRIMARY KEY,
    client_id       text NOT NULL,
    redirect_uri    text NOT NULL,
    state           text NOT NULL,
    scope           text NOT NULL,
    code_challenge  text NOT NULL,
    expires_ms      bigint NOT NULL,
    decided_ms      bigint
);
CREATE INDEX pushed_request_expiry ON pushed_request (expires_ms);

-- An authorization code. The DiGA that redeems it knows no patient, so the hash is the key. A redeemed code is kept for
-- a day, to recognise a replay.
CREATE TABLE authorization_code (
    code_sha256     bytea PRIMARY KEY,
    patient_id      uuid NOT NULL,
    grant_no        bigint NOT NULL,
    client_id       text NOT NULL,
    redirect_uri    text NOT NULL,
    code_challenge  text NOT NULL,
    expires_ms      bigint NOT NULL,
    redeemed_ms     bigint
);
CREATE INDEX authorization_code_expiry ON authorization_code (expires_ms);

-- A grant is a family of refresh tokens of which one is current and one was before it. Older ones need no row: they
-- carry the server's MAC and the grant's name, so a valid token that is neither of the two can only be an older one.
ALTER TABLE token_grant
    ADD COLUMN refresh_sha256      bytea,    -- null until the code is redeemed
    ADD COLUMN previous_sha256     bytea,
    ADD COLUMN rotated_ms          bigint,
    ADD COLUMN refresh_expires_ms  bigint;

CREATE INDEX token_grant_by_pairing ON token_grant (patient_id, pairing_no);
CREATE INDEX pairing_by_client ON pairing (client_id) WHERE ended_ms IS NULL;

-- Keys that sign access tokens. Private parts are encrypted by a key that is not in the database (ddr/oauth/sealing.py).
CREATE TABLE signing_key (
    kid             text PRIMARY KEY,        -- thumbprint, RFC 7638
    public_jwk      jsonb NOT NULL,
    sealed_private  bytea NOT NULL,
    signs_from_ms   bigint NOT NULL,         -- published before it signs, so that every worker knows it by then
    retires_ms      bigint                   -- when nothing signed by it is valid any more; null while it signs
);
