-- A database that was restored from a backup: until when DiGA may go on with refresh tokens that it has forgotten.
CREATE TABLE restore_window (
    declared_ms  bigint PRIMARY KEY,
    until_ms     bigint NOT NULL
);

-- Which certificate got the current refresh token, and whether one was accepted after a restore: that happens once.
ALTER TABLE token_grant
    ADD COLUMN certificate_sha256  bytea,
    ADD COLUMN restored_ms         bigint;
