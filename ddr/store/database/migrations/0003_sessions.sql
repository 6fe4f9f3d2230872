-- Patients at the browser: sessions, and the throttle of the built-in login.

-- One browser that is logged in; only the SHA-256 of its cookie is kept.
CREATE TABLE browser_session (
    cookie_sha256  bytea PRIMARY KEY,
    patient_id     uuid NOT NULL,
    username       text NOT NULL,            -- shown to the patient, so that a shared phone shows whose data this is
    created_ms     bigint NOT NULL,
    seen_ms        bigint NOT NULL
);

-- A span of time in which attempts to log in are counted, with the random key that hides whose they are. Deleting the row
-- soon after makes its counts meaningless for ever: no address and no name is kept, nor can be found by trying all.
CREATE TABLE login_window (
    window_no  bigint PRIMARY KEY,
    key        bytea NOT NULL
);

CREATE TABLE login_attempt (
    window_no  bigint NOT NULL REFERENCES login_window ON DELETE CASCADE,
    subject    bytea NOT NULL,               -- HMAC-SHA256 of an account name or an address
    attempts   integer NOT NULL,
    PRIMARY KEY (window_no, subject)
);
