-- When a clock moved, and by how much, is told for a day, whoever looked at it first (0104): a line of a log is missed.

ALTER TABLE clock_seen ADD COLUMN moved_ms bigint NOT NULL DEFAULT 0, ADD COLUMN moved_at_ms bigint;

-- What 0104 made looks, from now on within the function of its name, which the version before calls, too.
ALTER FUNCTION clock_look() RENAME TO clock_measure;

CREATE FUNCTION clock_look() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    moved bigint := clock_measure();
BEGIN
    IF moved <> 0 THEN
        UPDATE clock_seen SET moved_ms = moved, moved_at_ms = at_ms;
    END IF;
    RETURN moved;
END $$;
