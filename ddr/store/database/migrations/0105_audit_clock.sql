-- The audit trail beside days of a clock that was wrong (0104): packs are dropped by times that can be right, and tables of
-- days that are still to come do not stay.

-- The time of a pack's newest entry, for somebody whose clock shows `at_ms`. One that is more than a day ahead of that was told by
-- a wrong clock: such a pack is older than the next one; null while there is none.
CREATE FUNCTION audit_pack_told(one audit_pack, at_ms bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN one.last_ms <= at_ms + 86400000 THEN one.last_ms ELSE (
        SELECT last_ms FROM audit_pack WHERE pack_no > one.pack_no AND last_ms <= at_ms + 86400000
         ORDER BY pack_no LIMIT 1) END
$$;

-- As in migration 0076, otherwise: dropped 30 days after its newest entry, as far as that is known (AUD-002).
CREATE OR REPLACE FUNCTION audit_pack_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - '{reached,entries,packed_ms,dropped_ms}'::text[]
        <> to_jsonb(OLD) - '{reached,entries,packed_ms,dropped_ms}'::text[]
        OR OLD.dropped_ms IS NOT NULL
        OR OLD.packed_ms IS NOT NULL AND (NEW.reached, NEW.entries, NEW.packed_ms)
            IS DISTINCT FROM (OLD.reached, OLD.entries, OLD.packed_ms)
        OR NEW.dropped_ms IS NOT NULL AND (NEW.packed_ms IS NULL OR
            NEW.dropped_ms >= audit_pack_told(NEW, NEW.dropped_ms) + 30 * 86400000::bigint IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

-- As in migration 0076, otherwise: a month also is over when a later one has packs, which it is while a clock was ahead when
-- days were packed; gaps of the clock do not count.
CREATE OR REPLACE FUNCTION audit_drop(before_ms bigint, now_ms bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    begun date := (SELECT date_trunc('month', DATE '1970-01-01' + day) FROM audit_pack
                    WHERE dropped_ms IS NULL ORDER BY pack_no LIMIT 1);
    until date := begun + interval '1 month';
    old_ms bigint;
    gone bigint;
BEGIN
    PERFORM clock_look();
    old_ms := clock_counted(least(before_ms, now_ms - 30 * 86400000::bigint));
    IF begun IS NULL
        OR until > (to_timestamp(now_ms / 1000) AT TIME ZONE 'UTC')::date
            AND NOT EXISTS (SELECT FROM audit_pack WHERE DATE '1970-01-01' + day >= until)
        OR EXISTS (SELECT FROM audit_pack p WHERE DATE '1970-01-01' + day < until AND dropped_ms IS NULL
                      AND (packed_ms IS NULL OR audit_pack_told(p, now_ms) < old_ms IS NOT TRUE)) THEN
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

-- As in migration 0076, otherwise: also the table of a day further ahead than such tables are made (ddr/store/audit/days.py).
CREATE OR REPLACE FUNCTION audit_clear() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    packed bigint := audit_packed_upto();
    hour integer := floor(date_part('epoch', now()) / 3600)::integer;
    part text;
    newest bigint;
BEGIN
    FOREACH part IN ARRAY ARRAY(
        SELECT name FROM audit_day WHERE first_hour + 24 <= hour OR first_hour > hour + 5 * 24
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
