-- The request log (HDDT operational-requirements.md, Self-Logged Monitoring): one line of JSON for each call and its answer.

-- Lines that are durable and not yet sealed: what a worker had in hand at one time is one row. `run` is one life of a
-- worker, `batch_no` counts its rows from 1, so that a missing one shows. Rows live for about a minute.
CREATE TABLE request_log_fresh (
    run       uuid NOT NULL,
    batch_no  bigint NOT NULL,
    records   bytea NOT NULL,                 -- lines, each ended by a line feed but for the last one
    PRIMARY KEY (run, batch_no)
);
ALTER TABLE request_log_fresh ALTER COLUMN records SET STORAGE EXTERNAL;

-- What is logged, what is masked and how long it is kept, each version from when on (OPS-025).
CREATE TABLE request_log_policy (
    policy_no  integer PRIMARY KEY,
    since_ms   bigint NOT NULL,
    policy     jsonb NOT NULL
);

-- The public keys that sealed; `kid` is the thumbprint (RFC 7638) of `jwk`, which outlives the private key.
CREATE TABLE request_log_key (
    kid       text PRIMARY KEY,
    jwk       jsonb NOT NULL,
    since_ms  bigint NOT NULL
);

-- A seal holds its lines packed, their digest, the link to the former seal, and a signature over both
-- (ddr/operations/request_log/chain.py). A partition is a day of sealing, and is dropped as a whole.
CREATE TABLE request_log_seal (
    day        date NOT NULL,
    seal_no    bigint NOT NULL,
    first_ms   bigint NOT NULL,               -- time of the oldest call
    last_ms    bigint NOT NULL,
    entries    integer NOT NULL,
    sealed_ms  bigint NOT NULL,
    runs       jsonb NOT NULL,                -- by run, the ranges of batch_no that are in here
    policy_no  integer NOT NULL,
    digest     bytea NOT NULL,
    former     bytea NOT NULL,
    chain      bytea NOT NULL,
    signature  text NOT NULL,
    packed     bytea NOT NULL,
    PRIMARY KEY (day, seal_no)
) PARTITION BY RANGE (day);
ALTER TABLE request_log_seal ALTER COLUMN packed SET STORAGE EXTERNAL;

-- The newest seal of what was dropped, without its lines: the chain goes on from there.
CREATE TABLE request_log_dropped (
    seal_no     bigint PRIMARY KEY,
    sealed_ms   bigint NOT NULL,
    dropped_ms  bigint NOT NULL,
    chain       bytea NOT NULL,
    signature   text NOT NULL
);

CREATE FUNCTION request_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the request log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER request_log_fresh_unchanged BEFORE UPDATE OR TRUNCATE ON request_log_fresh
    FOR EACH STATEMENT EXECUTE FUNCTION request_log_refuse();
CREATE TRIGGER request_log_policy_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON request_log_policy
    FOR EACH STATEMENT EXECUTE FUNCTION request_log_refuse();
CREATE TRIGGER request_log_key_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON request_log_key
    FOR EACH STATEMENT EXECUTE FUNCTION request_log_refuse();
CREATE TRIGGER request_log_dropped_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON request_log_dropped
    FOR EACH STATEMENT EXECUTE FUNCTION request_log_refuse();
CREATE TRIGGER request_log_seal_unchanged BEFORE UPDATE OR DELETE ON request_log_seal
    FOR EACH ROW EXECUTE FUNCTION request_log_refuse();

-- Partitions come and go by these two only; they belong to whoever migrates, so that serving needs no right to make tables.
CREATE FUNCTION request_log_open(wanted date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
DECLARE
    name text := 'request_log_seal_' || to_char(wanted, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF request_log_seal FOR VALUES FROM (%L) TO (%L)', name, wanted, wanted + 1);
        EXECUTE format('CREATE TRIGGER request_log_seal_whole BEFORE TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION request_log_refuse()', name);
    END IF;
END $$;

-- Drops the days before `before`, and never one that ended less than 30 days ago by this server's clock (OPS-019).
CREATE FUNCTION request_log_drop(before date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
DECLARE
    part text;
    dropped integer := 0;
    before_kept date := least(before, current_date - 30);
    now_ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
    INSERT INTO request_log_dropped (seal_no, sealed_ms, dropped_ms, chain, signature)
    SELECT seal_no, sealed_ms, now_ms, chain, signature FROM request_log_seal
     WHERE day < before_kept ORDER BY seal_no DESC LIMIT 1;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'request_log_seal'::regclass
           AND to_date(right(c.relname, 8), 'YYYYMMDD') < before_kept
    LOOP
        EXECUTE format('DROP TABLE %I', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
