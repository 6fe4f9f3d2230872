-- A worker of the version before marks the oldest seal, and then deletes its entries one by one. While hosts are upgraded
-- one after another, such a mark is passed over: nothing changes, so that worker has nothing to delete and no error to log.
-- Packs of old months go by audit_drop (0076) alone.
CREATE FUNCTION audit_seal_pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.purged_ms IS NULL AND NEW.purged_ms >= OLD.last_ms + 30 * 86400000::bigint
        AND to_jsonb(NEW) - 'purged_ms' = to_jsonb(OLD) - 'purged_ms'
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;

DROP TRIGGER audit_seal_final ON audit_seal;
CREATE TRIGGER audit_seal_final BEFORE UPDATE ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION audit_seal_pass();
