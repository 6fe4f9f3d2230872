-- Days of the request log that are over, packed (ddr/operations/request_log/packing.py). The seals stay what they are: only
-- the form of the lines that they hold changes, and a day's table is replaced as a whole by one with the same seals.
ALTER TABLE request_log_seal ADD COLUMN form smallint NOT NULL DEFAULT 1;  -- of `packed`: 1 lines, 2 columns

-- Where a day is being packed: what has been done is here, so that the work goes on where it stopped.
CREATE TABLE request_log_packed (LIKE request_log_seal INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING INDEXES)
    PARTITION BY RANGE (day);

-- What the lines of a day say again and again: texts and Pairing IDs, numbered in the order of parts.
CREATE TABLE request_log_word (
    day   date NOT NULL,
    part  integer NOT NULL,
    body  bytea NOT NULL,
    PRIMARY KEY (day, part)
) PARTITION BY RANGE (day);
ALTER TABLE request_log_word ALTER COLUMN body SET STORAGE EXTERNAL;

-- Which days are packed; null: being packed.
CREATE TABLE request_log_pack (
    day        date PRIMARY KEY,
    packed_ms  bigint
);

CREATE TRIGGER request_log_packed_unchanged BEFORE UPDATE OR DELETE ON request_log_packed
    FOR EACH ROW EXECUTE FUNCTION request_log_refuse();
CREATE TRIGGER request_log_word_unchanged BEFORE UPDATE OR DELETE ON request_log_word
    FOR EACH ROW EXECUTE FUNCTION request_log_refuse();

-- These belong to whoever migrates, like those of migration 0040.
CREATE FUNCTION request_log_pack_open(wanted date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    parent text;
    name text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['request_log_packed', 'request_log_word'] LOOP
        name := parent || '_' || to_char(wanted, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent, wanted, wanted + 1);
        EXECUTE format('CREATE TRIGGER request_log_whole BEFORE TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION request_log_refuse()', name);
    END LOOP;
    INSERT INTO request_log_pack (day) VALUES (wanted) ON CONFLICT DO NOTHING;
END $$;

-- Puts what was packed of a day in the place of what was not; false when that is not the same seals, one for one. Who seals
-- waits meanwhile, a tenth of a second at most: a backup or a proof that runs holds the tables, and then another round will do.
CREATE FUNCTION request_log_pack_close(wanted date, now_ms bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    name text := 'request_log_seal_' || to_char(wanted, 'YYYYMMDD');
    packed text := 'request_log_packed_' || to_char(wanted, 'YYYYMMDD');
    seals text := 'SELECT day, seal_no, first_ms, last_ms, entries, sealed_ms, runs, policy_no, digest, former, chain, signature FROM %I';
    differ boolean;
BEGIN
    IF to_regclass(name) IS NULL OR to_regclass(packed) IS NULL THEN
        RETURN false;
    END IF;
    LOCK TABLE request_log_seal IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('SELECT EXISTS (' || seals || ' EXCEPT ALL ' || seals || ') OR EXISTS (' || seals || ' EXCEPT ALL ' || seals || ')',
                   name, packed, packed, name) INTO differ;
    IF differ THEN
        RETURN false;  -- somebody was late
    END IF;
    EXECUTE format('ALTER TABLE request_log_packed DETACH PARTITION %I', packed);
    EXECUTE format('DROP TABLE %I', name);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', packed, name);
    EXECUTE format('ALTER TABLE request_log_seal ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, wanted, wanted + 1);
    UPDATE request_log_pack SET packed_ms = now_ms WHERE day = wanted;
    RETURN true;
END $$;

-- As in migration 0040, and with a day go its words, and what was packed of it so far. A backup or a proof that holds the
-- tables is not waited for: who seals would have to wait behind.
CREATE OR REPLACE FUNCTION request_log_drop(before date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    part record;
    dropped integer := 0;
    before_kept date := least(before, current_date - 30);
    now_ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
    INSERT INTO request_log_dropped (seal_no, sealed_ms, dropped_ms, chain, signature)
    SELECT seal_no, sealed_ms, now_ms, chain, signature FROM request_log_seal
     WHERE day < before_kept ORDER BY seal_no DESC LIMIT 1;
    FOR part IN
        SELECT c.relname, i.inhparent = 'request_log_seal'::regclass AS counts
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent IN ('request_log_seal'::regclass, 'request_log_packed'::regclass, 'request_log_word'::regclass)
           AND c.relkind = 'r' AND to_date(right(c.relname, 8), 'YYYYMMDD') < before_kept
    LOOP
        EXECUTE format('DROP TABLE %I', part.relname);
        dropped := dropped + part.counts::integer;
    END LOOP;
    DELETE FROM request_log_pack WHERE day < before_kept;
    RETURN dropped;
END $$;
