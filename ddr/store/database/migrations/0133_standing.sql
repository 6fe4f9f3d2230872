-- What decides about the requests of a pairing, in one row: gathered from pairing, its directory, token_grant, consent and
-- opening, and nothing that they do not say (ddr.store.authorization.standings). The last deed of each transaction that changes them
-- is to gather it anew.
CREATE TABLE standing (
    patient_id  uuid NOT NULL,
    pairing_no  bigint NOT NULL,
    pairing_id  text,                        -- null, as client_id, only until the first look of gather_standing
    client_id   text,
    grants      jsonb NOT NULL DEFAULT '{}', -- grant_no -> {ValueSet canonical -> end in ms} of consents not withdrawn;
                                             -- of no grant that has ended, or whose pairing has
    ends_ms     bigint,                      -- when the first of these consents ends
    openings    jsonb NOT NULL DEFAULT '{}', -- kind -> columns of table opening
    PRIMARY KEY (patient_id, pairing_no)
);
CREATE UNIQUE INDEX standing_pairing_id ON standing (pairing_id);

CREATE FUNCTION standing_of(whose uuid, which bigint)
    RETURNS TABLE (pairing_id text, client_id text, grants jsonb, ends_ms bigint, openings jsonb) LANGUAGE sql STABLE AS $$
    SELECT p.pairing_id, p.client_id, g.grants, g.ends_ms, o.openings
      FROM pairing p
      JOIN pairing_directory d ON d.pairing_id = p.pairing_id AND d.patient_id = whose AND d.pairing_no = which
     CROSS JOIN LATERAL (
           SELECT coalesce(jsonb_object_agg(g.grant_no, c.consents), '{}') AS grants, min(c.ends_ms) AS ends_ms
             FROM token_grant g
            CROSS JOIN LATERAL (
                  SELECT coalesce(jsonb_object_agg(miv_url, until_ms), '{}') AS consents, min(until_ms) AS ends_ms
                    FROM (SELECT miv_url, max(until_ms) AS until_ms FROM consent
                           WHERE patient_id = whose AND consent_no = ANY (g.consent_nos) AND withdrawn_ms IS NULL
                           GROUP BY miv_url) AS given) c
            WHERE g.patient_id = whose AND g.pairing_no = which AND g.revoked_ms IS NULL AND p.ended_ms IS NULL) g
     CROSS JOIN LATERAL (
           SELECT coalesce(jsonb_object_agg(kind, jsonb_build_array(opened_ms, historic_days, older_ms,
                                                                    older_opened_ms, delay_ms)), '{}') AS openings
             FROM opening WHERE patient_id = whose AND pairing_no = which) o
     WHERE p.patient_id = whose AND p.pairing_no = which
$$;

-- First the lock, for which a row is made where there is none, then a look of its own: of two transactions the later one
-- sees what both did. Without `making` what was not there is not there afterwards.
CREATE FUNCTION gather_standing(whose uuid, which bigint, making boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    made boolean := false;
BEGIN
    LOOP
        PERFORM FROM standing WHERE patient_id = whose AND pairing_no = which FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO standing (patient_id, pairing_no) VALUES (whose, which)
            ON CONFLICT (patient_id, pairing_no) DO NOTHING;
        made := FOUND;
    END LOOP;
    IF made AND NOT making THEN
        DELETE FROM standing WHERE patient_id = whose AND pairing_no = which;
        RETURN;
    END IF;
    UPDATE standing s
       SET (pairing_id, client_id, grants, ends_ms, openings) = (n.pairing_id, n.client_id, n.grants, n.ends_ms, n.openings)
      FROM standing_of(whose, which) n WHERE s.patient_id = whose AND s.pairing_no = which
       AND (s.pairing_id, s.client_id, s.grants, s.ends_ms, s.openings)
           IS DISTINCT FROM (n.pairing_id, n.client_id, n.grants, n.ends_ms, n.openings);
    IF NOT FOUND THEN
        DELETE FROM standing WHERE patient_id = whose AND pairing_no = which
           AND NOT EXISTS (SELECT FROM standing_of(whose, which));
    END IF;
END $$;

-- Once for all that a transaction changes of a pairing: each gathering looks at all of its consents. Which were gathered
-- since the last change stands in a setting of the transaction; each change empties it (WHEN, below). Of what a logical
-- replication writes no row is made here: it brings the rows, too.
CREATE FUNCTION standing_gathered() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    gathered CONSTANT text := coalesce(current_setting('ddr.gathered', true), '');
    changed record;
    named text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := OLD;
    ELSE
        changed := NEW;
    END IF;
    named := format('%s/%s ', changed.patient_id, changed.pairing_no);
    IF strpos(gathered, named) = 0 THEN
        PERFORM gather_standing(changed.patient_id, changed.pairing_no,
                                making => current_setting('session_replication_role') <> 'replica');
        PERFORM set_config('ddr.gathered', gathered || named, true);
    END IF;
    RETURN NULL;
END $$;

-- At the end of a transaction, so that nobody who holds a standing waits for anything else; always, so that no setting of
-- a role (session_replication_role) keeps a withdrawal from it. Where patients are spread nothing is gathered
-- (ddr.store.database.distribute).
DO $$
DECLARE
    spread boolean := false;
BEGIN
    IF to_regclass('pg_dist_partition') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = ''consent''::regclass)' INTO spread;
    END IF;
    IF NOT spread THEN
        CREATE CONSTRAINT TRIGGER standing_pairing AFTER INSERT OR DELETE OR UPDATE OF ended_ms ON pairing
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (set_config('ddr.gathered', '', true) = '')
            EXECUTE FUNCTION standing_gathered();
        CREATE CONSTRAINT TRIGGER standing_directory AFTER INSERT OR DELETE ON pairing_directory
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (set_config('ddr.gathered', '', true) = '')
            EXECUTE FUNCTION standing_gathered();
        CREATE CONSTRAINT TRIGGER standing_opening AFTER INSERT OR DELETE OR UPDATE ON opening
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (set_config('ddr.gathered', '', true) = '')
            EXECUTE FUNCTION standing_gathered();
        CREATE CONSTRAINT TRIGGER standing_consent AFTER INSERT OR DELETE OR UPDATE OF until_ms, withdrawn_ms ON consent
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (set_config('ddr.gathered', '', true) = '')
            EXECUTE FUNCTION standing_gathered();
        CREATE CONSTRAINT TRIGGER standing_grant AFTER INSERT OR DELETE OR UPDATE OF revoked_ms, consent_nos ON token_grant
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (set_config('ddr.gathered', '', true) = '')
            EXECUTE FUNCTION standing_gathered();
        ALTER TABLE pairing ENABLE ALWAYS TRIGGER standing_pairing;
        ALTER TABLE pairing_directory ENABLE ALWAYS TRIGGER standing_directory;
        ALTER TABLE opening ENABLE ALWAYS TRIGGER standing_opening;
        ALTER TABLE consent ENABLE ALWAYS TRIGGER standing_consent;
        ALTER TABLE token_grant ENABLE ALWAYS TRIGGER standing_grant;
    END IF;
END $$;
