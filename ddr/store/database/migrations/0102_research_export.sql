-- What was given for research, under which approval, by whom (docs/research.md).
CREATE TABLE research_export (
    export_id        uuid PRIMARY KEY,
    at_ms            bigint NOT NULL,
    title            text NOT NULL,
    reference        text NOT NULL,
    recipient        text NOT NULL,
    until            date NOT NULL,          -- last day of the approval
    approval_sha256  bytea NOT NULL,         -- of the file
    exported_by      text NOT NULL
);
CREATE TRIGGER research_export_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON research_export
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- Which weeks of a patient an export took: none leaves twice, so that two exports have no value in common. The ids of an
-- export and the weeks to which they were moved are kept nowhere.
CREATE TABLE research_given (
    patient_id  uuid NOT NULL,
    export_id   uuid NOT NULL,
    miv_url     text NOT NULL,
    weeks       integer[] NOT NULL,          -- since the first Monday of 1970
    PRIMARY KEY (patient_id, export_id, miv_url)
);
