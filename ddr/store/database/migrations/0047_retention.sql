-- How far the work of retention has come: it goes through all patients once a day, some at a time, in order of their ids.
CREATE TABLE retention_round (
    job      text PRIMARY KEY,
    after    uuid NOT NULL,        -- the last patient that was looked at
    done_ms  bigint                -- when all had been looked at; null while they are
);

-- The proof of a consent may also go when it has been kept for three years after its end, and with the consent.
CREATE OR REPLACE FUNCTION consent_record_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_ms CONSTANT bigint := extract(epoch FROM clock_timestamp())::bigint * 1000 - 1096 * 86400000::bigint;
BEGIN
    IF EXISTS (SELECT FROM gone JOIN patient USING (patient_id)
                WHERE gone.at_ms > old_ms OR EXISTS (SELECT FROM consent c WHERE c.patient_id = gone.patient_id
                                                        AND c.consent_no = gone.consent_no)) THEN
        RAISE EXCEPTION 'consent_record is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
