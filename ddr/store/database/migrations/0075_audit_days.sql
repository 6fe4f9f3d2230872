-- New entries of the audit trail lie in one table per day, to which rows are only added. What has been sealed is packed
-- (0076), and then its day's table is dropped as a whole: nothing is ever deleted row by row.

ALTER TABLE audit RENAME TO audit_former;
ALTER INDEX audit_pkey RENAME TO audit_former_pkey;
ALTER INDEX audit_by_no RENAME TO audit_former_by_no;
DROP TRIGGER audit_kept ON audit_former;
DROP TRIGGER audit_unchanged ON audit_former;
DROP FUNCTION audit_keep();

-- `hour`: hours since 1970 by the database's clock, so that a day that is over gets no more entries whatever the clocks of
-- workers say. It is a place, and no part of the evidence.
CREATE TABLE audit (
    patient_id  uuid NOT NULL,               -- all zeros when no patient is known
    audit_no    bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME audit_no_seq),
    at_ms       bigint NOT NULL,
    event       text NOT NULL,               -- tag of ddr/store/audit/trail.py
    client_id   text,
    pairing_id  text,
    detail      jsonb NOT NULL DEFAULT '{}',
    hour        integer NOT NULL DEFAULT floor(date_part('epoch', now()) / 3600)::integer
) PARTITION BY RANGE (hour);
CREATE TRIGGER audit_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

SELECT setval('audit_no_seq', last_value, is_called) FROM audit_audit_no_seq;
ALTER TABLE audit_former ALTER COLUMN audit_no DROP IDENTITY;
ALTER SEQUENCE audit_no_seq RENAME TO audit_audit_no_seq;

-- The tables of days that there are; `audit_former` holds what was written before there were any.
CREATE TABLE audit_day (
    first_hour  integer PRIMARY KEY,
    name        text NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM audit_former) THEN
        CREATE TRIGGER audit_former_unchanged BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON audit_former
            FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
        ALTER TABLE audit ATTACH PARTITION audit_former FOR VALUES FROM (MINVALUE) TO (1);
        INSERT INTO audit_day VALUES (0, 'audit_former');
    ELSE
        DROP TABLE audit_former;
    END IF;
END $$;

-- What fits no day, because the table of the day is missing or the clock of the database is wrong. It is empty.
CREATE TABLE audit_rest PARTITION OF audit DEFAULT;
CREATE INDEX audit_rest_by_no ON audit_rest (audit_no);
CREATE INDEX audit_rest_by_patient ON audit_rest (patient_id, audit_no);
CREATE TRIGGER audit_rest_unchanged BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON audit_rest
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- Tables of days come and go by functions only; they belong to whoever migrates, so that serving needs no right to make
-- tables. Statements of a partition's own triggers fire for those who name the partition, never for inserts into `audit`.
--
-- The index by patient begins with the hour: all inserts of an hour go to one small corner of it, which stays warm, and
-- a patient is found by one look-up for each hour that is not packed yet.
CREATE FUNCTION audit_open(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    part text := 'audit_' || to_char(day, 'YYYYMMDD');
    begun integer := (day - DATE '1970-01-01') * 24;
BEGIN
    PERFORM pg_advisory_xact_lock(1145328132);  -- Lock.AUDIT
    IF to_regclass(part) IS NOT NULL THEN
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

SELECT audit_open((now() AT TIME ZONE 'UTC')::date + days) FROM generate_series(0, 3) AS days;
