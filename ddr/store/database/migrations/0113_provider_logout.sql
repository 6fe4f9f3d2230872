-- The OpenID provider ends sessions itself (OpenID Connect Back-Channel Logout 1.0; ddr/store/patients/logouts.py).

-- A logout token that came: it counts once, and a login that was under way meanwhile finds it. Digests only.
CREATE TABLE provider_logout (
    token_sha256    bytea PRIMARY KEY,       -- issuer and jti
    subject_sha256  bytea,                   -- issuer and sub; null: the token names a session only
    sid_sha256      bytea,                   -- issuer and sid; null: the token is about all sessions of the subject
    issued_ms       bigint NOT NULL,
    expires_ms      bigint NOT NULL,
    done_ms         bigint                   -- when the sessions had ended; null: the provider may send it again
);
CREATE INDEX provider_logout_expiry ON provider_logout (expires_ms);
CREATE INDEX provider_logout_of ON provider_logout ((coalesce(sid_sha256, subject_sha256)));

-- The session at the provider in which the patient logged in: issuer and sid of the ID token. Null: it names none.
ALTER TABLE browser_session ADD COLUMN provider_sid_sha256 bytea;
CREATE INDEX browser_session_of_login ON browser_session ((coalesce(login_id, patient_id)));
CREATE INDEX browser_session_of_provider ON browser_session (provider_sid_sha256) WHERE provider_sid_sha256 IS NOT NULL;
