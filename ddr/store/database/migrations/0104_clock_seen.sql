-- What a clock that is wrong for a while must not do: let the request log and the audit trail go before their time, or
-- leave a day behind that the chain of seals is cut at (docs/request-log.md).

-- The clock of the database as it was last looked at, once a minute.
CREATE TABLE clock_seen (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    at_ms  bigint NOT NULL
);

-- Where it went on by more than a day at once: it was set, or no recorder ran. Nobody can tell these apart, so this time
-- counts for no retention.
CREATE TABLE clock_gap (
    from_ms   bigint NOT NULL,
    until_ms  bigint NOT NULL
);

-- Looks at the clock; by how much it is ahead of what the last look lets expect (beyond a day), or was set back; else 0. A
-- clock that is set back takes back the gaps that it jumped over: what is left of them is how far it still is ahead.
CREATE FUNCTION clock_look() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    day_ms CONSTANT bigint := 86400000;
    now_ms bigint := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    seen_ms bigint;
    taken_back bigint;
    moved bigint;
BEGIN
    INSERT INTO clock_seen (at_ms) VALUES (now_ms) ON CONFLICT DO NOTHING;
    SELECT at_ms INTO seen_ms FROM clock_seen FOR UPDATE;
    now_ms := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;  -- it may have waited for another look
    UPDATE clock_seen SET at_ms = now_ms;
    moved := now_ms - seen_ms;
    IF moved > day_ms THEN
        INSERT INTO clock_gap (from_ms, until_ms) VALUES (seen_ms, now_ms);
        RETURN moved;
    ELSIF moved > -1000 THEN
        RETURN 0;
    END IF;
    WITH back AS (DELETE FROM clock_gap WHERE until_ms > now_ms RETURNING until_ms - from_ms AS gap_ms)
    SELECT coalesce(sum(gap_ms), 0) INTO taken_back FROM back;
    IF moved + taken_back > day_ms THEN
        INSERT INTO clock_gap (from_ms, until_ms) VALUES (now_ms - moved - taken_back, now_ms);
    END IF;
    RETURN moved;
END $$;

-- What is older than `before_ms` when gaps do not count is older than this.
CREATE FUNCTION clock_counted(before_ms bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    gap record;
BEGIN
    FOR gap IN SELECT from_ms, until_ms FROM clock_gap ORDER BY until_ms DESC LOOP
        EXIT WHEN before_ms >= gap.until_ms;
        before_ms := before_ms - (gap.until_ms - gap.from_ms);
    END LOOP;
    RETURN before_ms;
END $$;

-- What went with records that were later than their seal: which period the log cannot be asked about any more.
ALTER TABLE request_log_dropped ADD COLUMN ahead_from_ms bigint, ADD COLUMN ahead_until_ms bigint;

-- In the place of request_log_drop (0111), which the version before calls: drops the days before `before`, gaps not counted, and
-- never one that ended less than 30 days ago (OPS-019). What goes is the beginning of the chain, whole days of it: seals of days
-- that are still to come, made by a clock that was ahead, go with those that follow them; a day of which a later part has to
-- stay stays.
CREATE FUNCTION request_log_drop_days(before date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
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
      FROM (SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
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
         CROSS JOIN LATERAL (SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day) AS d
         WHERE i.inhparent IN ('request_log_seal'::regclass, 'request_log_packed'::regclass, 'request_log_word'::regclass)
           AND c.relkind = 'r' AND (d.day = ANY (gone) OR d.day < old AND d.day <> ALL (coalesce(days, '{}')))
    LOOP
        EXECUTE format('DROP TABLE %I', part.relname);
        dropped := dropped + part.counts::integer;
    END LOOP;
    DELETE FROM request_log_pack WHERE day = ANY (gone) OR day < old AND day <> ALL (coalesce(days, '{}'));
    RETURN dropped;
END $$;
