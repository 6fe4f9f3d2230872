-- A statement of its own, because it takes time with a long trail and lets others write meanwhile; then 0075 takes none.
ALTER TABLE audit VALIDATE CONSTRAINT audit_hour_former;
