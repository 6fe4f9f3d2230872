-- Credentials end: gateway tokens, accounts that were disabled, requests of strangers that must leave no trace.

-- A gateway's token belongs to an app: the line of tokens that began with one of them and goes on by renewal. It has an
-- end and the hour of its last use; `used_ms` is in no index, so that writing it once an hour moves no index entry.
ALTER TABLE gateway_token
    ADD COLUMN app         bytea,           -- hash of the first token of the line
    ADD COLUMN name        text NOT NULL DEFAULT '',
    ADD COLUMN expires_ms  bigint,
    ADD COLUMN used_ms     bigint;
UPDATE gateway_token SET app = token_sha256, expires_ms = (extract(epoch FROM now()) * 1000)::bigint + 365 * 86400000::bigint;
ALTER TABLE gateway_token ALTER COLUMN app SET NOT NULL, ALTER COLUMN expires_ms SET NOT NULL;
ALTER TABLE gateway_token SET (fillfactor = 80);
CREATE INDEX gateway_token_by_patient ON gateway_token (patient_id);

-- What an app exchanges for its first token: shown to the patient for some minutes; a new one takes the former's place.
CREATE TABLE gateway_code (
    patient_id   uuid PRIMARY KEY,
    code_sha256  bytea NOT NULL UNIQUE,
    expires_ms   bigint NOT NULL
);

-- An account that the operator disabled: nobody logs in, no gateway writes.
ALTER TABLE patient ADD COLUMN disabled_ms bigint;

-- A refusal at the browser is recorded once per pushed request.
ALTER TABLE pushed_request ADD COLUMN refused_ms bigint;
CREATE INDEX pushed_request_open ON pushed_request (client_id, expires_ms) WHERE decided_ms IS NULL;

-- What strangers cause to be written lives for minutes: it goes into no log of the database and into no backup.
ALTER TABLE login_attempt SET UNLOGGED;
ALTER TABLE login_window SET UNLOGGED;
ALTER TABLE login_journey SET UNLOGGED;
