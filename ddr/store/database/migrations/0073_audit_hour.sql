-- Entries of before get the hour 0 (0075); the table is not rewritten, and looked through by 0074, while others write.
ALTER TABLE audit
    ADD COLUMN hour integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT audit_hour_former CHECK (hour < 1) NOT VALID;
