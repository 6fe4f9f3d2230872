-- What has ended does not begin again (0025): asked after an update, and only of one that could begin it. For any trigger before
-- one the database locks the row first, and says so in its own log: each rotation of a refresh token paid for that. Where patients
-- are spread it stays as it was.
DO $$
DECLARE
    spread boolean := false;
BEGIN
    IF to_regclass('pg_dist_partition') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = ''token_grant''::regclass)' INTO spread;
    END IF;
    IF NOT spread THEN
        CREATE OR REPLACE TRIGGER token_grant_ended AFTER UPDATE OF revoked_ms, consent_nos ON token_grant FOR EACH ROW
            WHEN (OLD.revoked_ms IS NOT NULL AND NEW.revoked_ms IS DISTINCT FROM OLD.revoked_ms
                  OR NOT NEW.consent_nos <@ OLD.consent_nos) EXECUTE FUNCTION ended_for_ever();
    END IF;
END $$;
