-- Outages that never were: a clock that was set looked like a time without a recorder, or a disruption was told by mistake.
-- What was written down stays; the newest word about it says whether it counts (ddr/operations/availability.py).
CREATE TABLE outage_retraction (
    retraction     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL,          -- of a notice, or event- and the number of an outage_event
    retracted      boolean NOT NULL,       -- false: it counts again
    retracted_by   text NOT NULL,
    reason         text NOT NULL,
    at_ms          bigint NOT NULL
);
CREATE TRIGGER outage_retraction_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON outage_retraction
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
