-- The gateway's key of the device that this one takes the place of.
ALTER TABLE device ADD COLUMN replaces_key text;
