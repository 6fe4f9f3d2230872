-- Of each day of the request log that has a table its first and last number; null where the day has no seal. Asked day by day
-- with a plan of its own: one plan for all days is gone through as a whole for each of them, which took the longer by the square of
-- the days that are kept.
CREATE FUNCTION request_log_numbers() RETURNS TABLE (day date, first bigint, last bigint) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
DECLARE
    part record;
BEGIN
    LOCK TABLE ONLY request_log_seal IN ACCESS SHARE MODE;  -- so that no day is dropped meanwhile
    FOR part IN
        SELECT c.relname, request_log_day(c.relname) AS of_day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'request_log_seal'::regclass AND c.relkind = 'r'
    LOOP
        day := part.of_day;
        EXECUTE format('SELECT min(seal_no), max(seal_no) FROM %I WHERE day = %L', part.relname, day) INTO first, last;
        RETURN NEXT;
    END LOOP;
END $$;

-- As in migration 0125, otherwise: the numbers by this function, and plans for the days that are meant and no others.
CREATE OR REPLACE FUNCTION request_log_drop_days(before date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    now_ms bigint := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    old date;
    kept bigint;
    newest date;
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
    SELECT array_agg(n.day), array_agg(n.first), array_agg(n.last) INTO days, firsts, lasts FROM request_log_numbers() AS n;
    -- A clock may be a day ahead of another one; further ahead it was wrong.
    SELECT min(first) INTO kept FROM unnest(days, firsts) AS d (day, first) WHERE day BETWEEN old AND today + 1;
    LOOP
        -- Of the newest day that is over: one that a clock behind made may be younger than it says, and waits for the next.
        SELECT max(d.day) INTO newest FROM unnest(days, firsts) AS d (day, first)
         WHERE d.day < old AND (kept IS NULL AND d.first IS NOT NULL OR d.first < kept);
        EXECUTE format('SELECT max(seal_no) FROM request_log_seal WHERE day = %L AND ($1 IS NULL OR seal_no < $1)', newest)
           INTO upto USING kept;
        SELECT min(first) INTO kept FROM unnest(firsts, lasts) AS d (first, last) WHERE first <= upto AND last > upto;
        EXIT WHEN kept IS NULL;
    END LOOP;
    SELECT coalesce(array_agg(day), '{}') INTO gone FROM unnest(days, lasts) AS d (day, last)
     WHERE last <= upto OR last IS NULL AND day < old;
    EXECUTE format('
        INSERT INTO request_log_dropped (seal_no, sealed_ms, dropped_ms, chain, signature, ahead_from_ms, ahead_until_ms)
        SELECT s.seal_no, s.sealed_ms, $1, s.chain, s.signature, a.from_ms, a.until_ms
          FROM request_log_seal s CROSS JOIN LATERAL (
            SELECT min(first_ms) AS from_ms, max(last_ms) AS until_ms
              FROM request_log_seal o WHERE o.day = ANY ($2) AND o.last_ms > s.sealed_ms) AS a
         WHERE s.day = %L AND s.seal_no = $3', newest) USING now_ms, gone, upto;
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
