-- The audit trail cannot be changed: triggers refuse it to every role, and a chain of seals shows it when somebody went
-- around them.

ALTER TABLE audit ALTER COLUMN audit_no SET GENERATED ALWAYS;
CREATE INDEX audit_by_no ON audit (audit_no);

-- A seal closes the entries between the former seal and `upto_no`. It holds their digest and is chained to the former
-- seal, so that no entry and no seal can be changed, added or removed unseen (ddr/operations/audit_chain.py).
CREATE TABLE audit_seal (
    seal_no    bigint PRIMARY KEY,
    upto_no    bigint NOT NULL,
    entries    integer NOT NULL,
    last_ms    bigint NOT NULL,              -- time of the newest entry
    sealed_ms  bigint NOT NULL,
    digest     bytea NOT NULL,
    chain      bytea NOT NULL,
    purged_ms  bigint                        -- its entries have been kept long enough and are deleted
);
CREATE INDEX audit_seal_kept ON audit_seal (seal_no) WHERE purged_ms IS NULL;

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_unchanged BEFORE UPDATE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_seal_unchanged BEFORE DELETE OR TRUNCATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- Entries go when their seal says so, and not before.
CREATE FUNCTION audit_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged bigint := (SELECT coalesce(max(upto_no), 0) FROM audit_seal WHERE purged_ms IS NOT NULL);
BEGIN
    IF EXISTS (SELECT FROM gone WHERE audit_no > purged) THEN
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER audit_kept AFTER DELETE ON audit
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION audit_keep();

-- A seal says so once, 30 days after its newest entry at the earliest (AUD-002); nothing else of it ever changes.
CREATE FUNCTION audit_seal_purge_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.purged_ms IS NOT NULL
        OR NEW.purged_ms IS NULL
        OR NEW.purged_ms < OLD.last_ms + 30 * 86400000::bigint
        OR to_jsonb(NEW) - 'purged_ms' <> to_jsonb(OLD) - 'purged_ms'
    THEN
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_seal_purged BEFORE UPDATE ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION audit_seal_purge_only();
