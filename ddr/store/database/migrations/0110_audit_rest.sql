-- As in migration 0075, otherwise: of a day whose entries lie in `audit_rest`, as after days without housekeeping, this is known
-- before its table is tried: that looks through all of `audit_rest`, each minute until midnight, and meanwhile nobody can add an entry.
CREATE OR REPLACE FUNCTION audit_open(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    part text := 'audit_' || to_char(day, 'YYYYMMDD');
    begun integer := (day - DATE '1970-01-01') * 24;
BEGIN
    PERFORM pg_advisory_xact_lock(lock_key(1145328132));  -- Lock.AUDIT
    IF to_regclass(part) IS NOT NULL
        OR (SELECT hour >= begun AND hour < begun + 24 FROM audit_rest ORDER BY audit_no DESC LIMIT 1) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE audit INCLUDING DEFAULTS)', part);
    EXECUTE format('CREATE INDEX %I ON %I (audit_no)', part || '_by_no', part);
    EXECUTE format('CREATE INDEX %I ON %I (hour, patient_id)', part || '_by_patient', part);
    EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()', part || '_unchanged', part);
    EXECUTE format('ALTER TABLE audit ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', part, begun, begun + 24);
    INSERT INTO audit_day VALUES (begun, part);
EXCEPTION WHEN check_violation THEN
    NULL;  -- entries of that day lie in audit_rest already, and more may go there
END $$;
