-- Sealed entries of the audit trail, packed: one row for each pairing and day (ddr/store/audit/packing.py). The seals are
-- those made over the entries; their digest does not depend on the order, so that it can be computed from either form.
ALTER TABLE audit_seal ADD COLUMN form smallint NOT NULL DEFAULT 1;  -- of the digest: 1 in order, 2 as a sum
CREATE INDEX audit_seal_by_upto ON audit_seal (upto_no);

DROP TRIGGER audit_seal_purged ON audit_seal;
DROP FUNCTION audit_seal_purge_only();
CREATE TRIGGER audit_seal_final BEFORE UPDATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- What is packed: whole seals, one pack after another. Entries with numbers up to the newest pack's `upto_no` are read from
-- what is packed, all others from `audit`. `reached`: up to where the work has come; a pack counts when it has `packed_ms`.
CREATE TABLE audit_pack (
    pack_no     integer PRIMARY KEY,
    day         integer NOT NULL,            -- days since 1970
    first_part  integer NOT NULL,            -- its rows have parts from here on
    after_no    bigint NOT NULL,
    upto_no     bigint NOT NULL,
    last_ms     bigint NOT NULL,             -- time of the newest entry
    reached     uuid,
    entries     bigint NOT NULL DEFAULT 0,
    packed_ms   bigint,
    dropped_ms  bigint
);

CREATE TABLE audit_packed (
    patient_id  uuid NOT NULL,
    day         integer NOT NULL,
    part        integer NOT NULL,
    pairing     bytea,                       -- 32 bytes of a Pairing ID, or "=" and a text
    body        bytea NOT NULL,
    PRIMARY KEY (patient_id, day, part)
) PARTITION BY RANGE (day);
ALTER TABLE audit_packed ALTER COLUMN body SET STORAGE EXTERNAL;

-- What entries say, each text once a month: [event, client_id, detail] as jsonb writes it.
CREATE TABLE audit_word (
    month    integer NOT NULL,               -- 202611
    word_no  integer NOT NULL,
    content  text NOT NULL,
    PRIMARY KEY (month, word_no)
) PARTITION BY LIST (month);

CREATE TRIGGER audit_packed_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_packed
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_word_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_word
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_pack_unchanged BEFORE DELETE OR TRUNCATE ON audit_pack
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- Of a pack changes how far the work has come, until it is packed; and once, that it is dropped, 30 days after its newest
-- entry at the earliest (AUD-002).
CREATE FUNCTION audit_pack_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - '{reached,entries,packed_ms,dropped_ms}'::text[]
        <> to_jsonb(OLD) - '{reached,entries,packed_ms,dropped_ms}'::text[]
        OR OLD.dropped_ms IS NOT NULL
        OR OLD.packed_ms IS NOT NULL AND (NEW.reached, NEW.entries, NEW.packed_ms)
            IS DISTINCT FROM (OLD.reached, OLD.entries, OLD.packed_ms)
        OR NEW.dropped_ms IS NOT NULL AND (NEW.packed_ms IS NULL OR NEW.dropped_ms < NEW.last_ms + 30 * 86400000::bigint)
    THEN
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_pack_forward BEFORE UPDATE ON audit_pack
    FOR EACH ROW EXECUTE FUNCTION audit_pack_only();

-- What is packed of a month lies in tables of its own, and goes with them.
CREATE FUNCTION audit_open_month(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
    begun date := date_trunc('month', day);
    packed text := 'audit_packed_' || to_char(day, 'YYYYMM');
    word text := 'audit_word_' || to_char(day, 'YYYYMM');
BEGIN
    PERFORM pg_advisory_xact_lock(1145328132);  -- Lock.AUDIT
    IF to_regclass(packed) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE audit_packed INCLUDING STORAGE)', packed);
    EXECUTE format('CREATE INDEX %I ON %I USING brin (day) WITH (autosummarize = on)', packed || '_by_day', packed);
    EXECUTE format('ALTER TABLE audit_packed ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', packed,
                   begun - DATE '1970-01-01', (begun + interval '1 month')::date - DATE '1970-01-01');
    EXECUTE format('CREATE TABLE %I (LIKE audit_word)', word);
    EXECUTE format('ALTER TABLE audit_word ATTACH PARTITION %I FOR VALUES IN (%s)', word, to_char(day, 'YYYYMM'));
    EXECUTE format('CREATE TRIGGER audit_unchanged BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()', packed);
    EXECUTE format('CREATE TRIGGER audit_unchanged BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I
                    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()', word);
END $$;

-- Up to which number entries are packed; 0: none are.
CREATE FUNCTION audit_packed_upto() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT upto_no FROM audit_pack WHERE packed_ms IS NOT NULL ORDER BY pack_no DESC LIMIT 1), 0)
$$;

-- Drops the table of one day that is over if all its entries are packed; its name, or null when there is none. Who inserts
-- waits meanwhile, a tenth of a second at most: a backup that runs holds the tables, and then another round will do.
CREATE FUNCTION audit_clear() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    packed bigint := audit_packed_upto();
    part text;
    newest bigint;
BEGIN
    FOREACH part IN ARRAY ARRAY(
        SELECT name FROM audit_day WHERE first_hour + 24 <= floor(date_part('epoch', now()) / 3600)
        UNION ALL SELECT 'audit_rest' WHERE EXISTS (SELECT FROM audit_rest))
    LOOP
        EXECUTE format('SELECT max(audit_no) FROM %I', part) INTO newest;
        CONTINUE WHEN newest > packed;
        LOCK TABLE audit IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('SELECT max(audit_no) FROM %I', part) INTO newest;
        EXIT WHEN newest > packed;  -- somebody was late
        EXECUTE format('DROP TABLE %I', part);
        DELETE FROM audit_day WHERE name = part;
        IF part = 'audit_rest' THEN
            CREATE TABLE audit_rest PARTITION OF audit DEFAULT;
            CREATE INDEX audit_rest_by_no ON audit_rest (audit_no);
            CREATE INDEX audit_rest_by_patient ON audit_rest (patient_id, audit_no);
            CREATE TRIGGER audit_rest_unchanged BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON audit_rest
                FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
        END IF;
        RETURN part;
    END LOOP;
    RETURN NULL;
END $$;

-- Drops the oldest month if it is over and all its entries are older than `before_ms`; how many entries went, null: none.
CREATE FUNCTION audit_drop(before_ms bigint, now_ms bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    begun date := (SELECT date_trunc('month', DATE '1970-01-01' + day) FROM audit_pack
                    WHERE dropped_ms IS NULL ORDER BY pack_no LIMIT 1);
    until date := begun + interval '1 month';
    gone bigint;
BEGIN
    IF begun IS NULL OR until > (to_timestamp(now_ms / 1000) AT TIME ZONE 'UTC')::date
        OR EXISTS (SELECT FROM audit_pack WHERE DATE '1970-01-01' + day < until AND dropped_ms IS NULL
                      AND (packed_ms IS NULL OR last_ms >= least(before_ms, now_ms - 30 * 86400000::bigint))) THEN
        RETURN NULL;
    END IF;
    EXECUTE format('DROP TABLE %I', 'audit_packed_' || to_char(begun, 'YYYYMM'));
    EXECUTE format('DROP TABLE %I', 'audit_word_' || to_char(begun, 'YYYYMM'));
    WITH dropped AS (
        UPDATE audit_pack SET dropped_ms = now_ms
         WHERE DATE '1970-01-01' + day < until AND dropped_ms IS NULL RETURNING entries)
    SELECT sum(entries) INTO gone FROM dropped;
    RETURN gone;
END $$;
