-- A login may stand for other patients: as parent, guardian or carer (docs/representatives.md).
CREATE TABLE representation (
    patient_id         uuid NOT NULL,        -- whose data it is about
    representation_id  uuid NOT NULL,
    representative_id  uuid NOT NULL,        -- the patient of the login that stands for `patient_id`
    relation           text NOT NULL,        -- parent | guardian | carer
    name               text NOT NULL,        -- what the representative's pages call the patient; empty after the end
    born               date,                 -- of whoever is represented until the day of majority; null after the end
    since_ms           bigint NOT NULL,
    until_ms           bigint,
    set_by             text NOT NULL,        -- operator | provider
    created_ms         bigint NOT NULL,
    ended_ms           bigint,
    end_reason         text,
    reviewed_ms        bigint,               -- when the patient decided about what the representative had allowed
    PRIMARY KEY (patient_id, representation_id)
);
CREATE UNIQUE INDEX representation_open ON representation (representative_id, patient_id) WHERE ended_ms IS NULL;
CREATE INDEX representation_until ON representation (until_ms) WHERE ended_ms IS NULL AND until_ms IS NOT NULL;
CREATE INDEX representation_born ON representation (born) WHERE ended_ms IS NULL AND born IS NOT NULL;
CREATE TRIGGER representation_ended BEFORE UPDATE ON representation FOR EACH ROW
    WHEN (OLD.ended_ms IS NOT NULL AND NEW.ended_ms IS DISTINCT FROM OLD.ended_ms
          OR (NEW.patient_id, NEW.representation_id, NEW.representative_id, NEW.relation)
              IS DISTINCT FROM (OLD.patient_id, OLD.representation_id, OLD.representative_id, OLD.relation))
    EXECUTE FUNCTION ended_for_ever();

-- A session is about one patient. Who logged in is written down where it is somebody else, with the right to it.
ALTER TABLE browser_session
    ADD COLUMN login_id           uuid,
    ADD COLUMN representation_id  uuid,
    ADD COLUMN chosen_sha256      bytea;     -- the pushed request for which the patient was chosen

-- Who connects an app by this code: null for the patient.
ALTER TABLE gateway_code
    ADD COLUMN role               text,
    ADD COLUMN representation_id  uuid;

-- In which role the last act on a consent was done, and by which right; null: by the patient, a DiGA or the system.
ALTER TABLE consent
    ADD COLUMN role               text,
    ADD COLUMN representation_id  uuid;
ALTER TABLE consent_record
    ADD COLUMN role               text,
    ADD COLUMN representation_id  uuid;

CREATE OR REPLACE FUNCTION consent_only_ends() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    may_change CONSTANT text[] := '{until_ms,shortened_ms,withdrawn_ms,ended_by,end_reason,role,representation_id}';
BEGIN
    IF OLD.withdrawn_ms IS NOT NULL OR NEW.until_ms > OLD.until_ms
        OR to_jsonb(NEW) - may_change <> to_jsonb(OLD) - may_change
    THEN
        RAISE EXCEPTION 'a consent can only end' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION consent_recorded() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    done text := CASE WHEN TG_OP = 'INSERT' THEN 'given' WHEN NEW.withdrawn_ms IS NOT NULL THEN 'ended' ELSE 'shortened' END;
BEGIN
    INSERT INTO consent_record (patient_id, at_ms, act, consent_no, pairing_id, client_id, miv_url, until_ms, language,
                                text_sha256, ended_by, reason, role, representation_id)
    SELECT NEW.patient_id,
           CASE done WHEN 'given' THEN NEW.granted_ms WHEN 'ended' THEN NEW.withdrawn_ms
                     ELSE coalesce(NEW.shortened_ms, NEW.granted_ms) END,
           done, NEW.consent_no, p.pairing_id, p.client_id, NEW.miv_url, NEW.until_ms, NEW.language, NEW.text_sha256,
           NEW.ended_by, NEW.end_reason, NEW.role, NEW.representation_id
      FROM (SELECT) AS one
      LEFT JOIN pairing p ON p.patient_id = NEW.patient_id AND p.pairing_no = NEW.pairing_no;
    RETURN NULL;
END $$;
