-- When data was last read under a pairing: admission writes the row anyway (ddr/store/authorization/access.py), and the
-- patient's pages need not look for it in the audit trail.
ALTER TABLE grace ADD COLUMN read_ms bigint;
INSERT INTO grace (patient_id, pairing_no, answered, read_ms)
SELECT d.patient_id, d.pairing_no, '{}', read.at_ms
  FROM (SELECT pairing_id, max(at_ms) AS at_ms FROM audit WHERE event = 'diga:data:read' GROUP BY pairing_id) AS read
  JOIN pairing_directory d USING (pairing_id)
    ON CONFLICT (patient_id, pairing_no) DO UPDATE SET read_ms = excluded.read_ms;

-- Sweeps look only at what has run out (ddr/store/database/sweeping.py). An index on a column that each request changes
-- would keep its updates from being heap-only (HOT), also as part of an expression: such an end is indexed by its day or
-- hour, which is a column of its own.
DROP INDEX token_grant_expiry;
ALTER TABLE token_grant ADD COLUMN expires_day integer NOT NULL
    GENERATED ALWAYS AS ((coalesce(refresh_expires_ms, created_ms) / 86400000)::integer) STORED;
CREATE INDEX token_grant_expiry ON token_grant (expires_day);
ALTER TABLE browser_session ADD COLUMN seen_hour integer NOT NULL
    GENERATED ALWAYS AS ((seen_ms / 3600000)::integer) STORED;
CREATE INDEX browser_session_age ON browser_session (seen_hour);
CREATE INDEX search_rest_expiry ON search_rest (expires_ms);
CREATE INDEX gateway_token_expiry ON gateway_token ((least(revoked_ms, expires_ms)));
CREATE INDEX gateway_code_expiry ON gateway_code (expires_ms);
CREATE INDEX login_journey_age ON login_journey (started_ms);
CREATE INDEX patient_file_age ON patient_file (created_ms);

-- Room in the page for the next version of a row. Existing pages get it as their rows move.
ALTER TABLE token_grant SET (fillfactor = 70);
ALTER TABLE grace SET (fillfactor = 70);
ALTER TABLE browser_session SET (fillfactor = 70);
ALTER TABLE device SET (fillfactor = 80);
ALTER TABLE epoch SET (fillfactor = 90);
