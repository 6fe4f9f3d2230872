-- Up to when the backup of a declared restore knew what was shown: versions from after it get numbers of their own
-- (ddr/fhir/versions.py). Null for restores that were declared by a version that had none: those counted on.
ALTER TABLE restore_window
    ADD COLUMN known_ms  bigint;
