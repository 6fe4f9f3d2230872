-- Where days of the request log are looked for, a plan may ask for the day of any table before it asks whether the table is a
-- partition of the log: a name without a day has none, and is no error. Depending on the planner's statistics no day was packed or
-- dropped any more.
CREATE FUNCTION request_log_day(partition name) RETURNS date LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN partition ~ '^request_log_[a-z]+_[0-9]{8}$' THEN to_date(right(partition, 8), 'YYYYMMDD') END
$$;

-- As in migration 0104.
CREATE OR REPLACE FUNCTION request_log_drop_days(before date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    now_ms bigint := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    old date;
    kept bigint;
    upto bigint;
    dropped integer := 0;
    days date[];
    firsts bigint[];
    lasts bigint[];
    part record;
    gone date[];
BEGIN
    PERFORM clock_look();
    old := DATE '1970-01-01'
        + (clock_counted((least(before, today - 30) - DATE '1970-01-01')::bigint * 86400000) / 86400000)::integer;
    SELECT array_agg(there.day), array_agg(n.first), array_agg(n.last) INTO days, firsts, lasts
      FROM (SELECT request_log_day(c.relname) AS day
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'request_log_seal'::regclass AND c.relkind = 'r') AS there
     CROSS JOIN LATERAL (SELECT min(seal_no) AS first, max(seal_no) AS last
                           FROM request_log_seal s WHERE s.day = there.day) AS n;
    -- A clock may be a day ahead of another one; further ahead it was wrong.
    SELECT min(first) INTO kept FROM unnest(days, firsts) AS d (day, first) WHERE day BETWEEN old AND today + 1;
    LOOP
        -- Of the newest day that is over: one that a clock behind made may be younger than it says, and waits for the next.
        SELECT max(s.seal_no) INTO upto FROM request_log_seal s
         WHERE (kept IS NULL OR s.seal_no < kept)
           AND s.day = (SELECT max(d.day) FROM unnest(days, firsts) AS d (day, first)
                         WHERE d.day < old AND (kept IS NULL AND d.first IS NOT NULL OR d.first < kept));
        SELECT min(first) INTO kept FROM unnest(firsts, lasts) AS d (first, last) WHERE first <= upto AND last > upto;
        EXIT WHEN kept IS NULL;
    END LOOP;
    SELECT coalesce(array_agg(day), '{}') INTO gone FROM unnest(days, lasts) AS d (day, last)
     WHERE last <= upto OR last IS NULL AND day < old;
    INSERT INTO request_log_dropped (seal_no, sealed_ms, dropped_ms, chain, signature, ahead_from_ms, ahead_until_ms)
    SELECT s.seal_no, s.sealed_ms, now_ms, s.chain, s.signature, a.from_ms, a.until_ms
      FROM request_log_seal s CROSS JOIN LATERAL (
        SELECT min(first_ms) AS from_ms, max(last_ms) AS until_ms
          FROM request_log_seal o WHERE o.day = ANY (gone) AND o.last_ms > s.sealed_ms) AS a
     WHERE s.day < old AND s.seal_no = upto;
    FOR part IN
        SELECT c.relname, i.inhparent = 'request_log_seal'::regclass AS counts
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         CROSS JOIN LATERAL (SELECT request_log_day(c.relname) AS day) AS d
         WHERE i.inhparent IN ('request_log_seal'::regclass, 'request_log_packed'::regclass, 'request_log_word'::regclass)
           AND c.relkind = 'r' AND (d.day = ANY (gone) OR d.day < old AND d.day <> ALL (coalesce(days, '{}')))
    LOOP
        EXECUTE format('DROP TABLE %I', part.relname);
        dropped := dropped + part.counts::integer;
    END LOOP;
    DELETE FROM request_log_pack WHERE day = ANY (gone) OR day < old AND day <> ALL (coalesce(days, '{}'));
    RETURN dropped;
END $$;

-- As in migration 0111, for the version before.
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
           AND c.relkind = 'r' AND request_log_day(c.relname) < before_kept
    LOOP
        EXECUTE format('DROP TABLE %I', part.relname);
        dropped := dropped + part.counts::integer;
    END LOOP;
    DELETE FROM request_log_pack WHERE day < before_kept;
    RETURN dropped;
END $$;
