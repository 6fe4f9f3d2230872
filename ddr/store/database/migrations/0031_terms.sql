-- How often the terms changed under which a chunk settles: a worker that remembers older ones must not append to it.
ALTER TABLE chunk ADD COLUMN terms integer NOT NULL DEFAULT 0;

-- The end of a device that follows from what replaces it, and may become an earlier one when a calibration is learned
-- late; an end that the gateway gave stays.
ALTER TABLE device ADD COLUMN end_follows boolean NOT NULL DEFAULT false;
