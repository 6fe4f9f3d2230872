-- Consents to research (docs/research.md), apart from those of DiGA: each act is a row, and no row changes. A consent is in
-- force until an act says that it has ended; agreeing again is another consent.
CREATE TABLE research_consent (
    patient_id         uuid NOT NULL,
    act_no             bigint GENERATED ALWAYS AS IDENTITY,
    at_ms              bigint NOT NULL,
    act                text NOT NULL,        -- given | ended
    given_no           bigint,               -- of an end: the act that it ends
    language           text,                 -- of the text that was agreed to
    text_sha256        bytea,                -- of that text (consent_text)
    ended_by           text,                 -- patient | system
    reason             text,
    role               text,                 -- of a representative; null: the patient, or the system
    representation_id  uuid,
    PRIMARY KEY (patient_id, act_no),
    CHECK ((act = 'ended') = (given_no IS NOT NULL))
);
CREATE UNIQUE INDEX research_consent_ended ON research_consent (patient_id, given_no) WHERE given_no IS NOT NULL;

CREATE TRIGGER research_consent_unchanged BEFORE UPDATE OR TRUNCATE ON research_consent
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- The proof goes with the patient, after all else of the patient, and never alone.
CREATE FUNCTION research_consent_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone JOIN patient USING (patient_id)) THEN
        RAISE EXCEPTION 'research_consent is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER research_consent_kept AFTER DELETE ON research_consent
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION research_consent_keep();
