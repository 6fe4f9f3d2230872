-- Login at the manufacturer's OpenID provider, re-authentication, and forms that are sent twice.

-- Whom the provider's users are here. No name, no address: only the provider's own opaque subject.
CREATE TABLE login_identity (
    issuer      text NOT NULL,
    subject     text NOT NULL,
    patient_id  uuid NOT NULL,
    created_ms  bigint NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX login_identity_by_patient ON login_identity (patient_id);

-- A browser that was sent to the provider and is not back yet. It lives for minutes and is used up by the return.
CREATE TABLE login_journey (
    state_sha256   bytea PRIMARY KEY,
    cookie_sha256  bytea NOT NULL,           -- only the browser that set out may return
    nonce          text NOT NULL,
    verifier       text NOT NULL,            -- PKCE, RFC 7636
    request_uri    text NOT NULL,            -- of the DiGA that waits; empty when there is none
    confirms       boolean NOT NULL,         -- a patient who is logged in has to log in again
    started_ms     bigint NOT NULL
);

-- When the patient last proved again who it is, within this session.
ALTER TABLE browser_session ADD COLUMN confirmed_ms bigint;

-- Who decided a request, so that a form that was sent twice is answered twice, to the same browser only.
ALTER TABLE pushed_request ADD COLUMN patient_id uuid;
