-- A sensor of a device that replaces another one may be withheld from DiGA until it is calibrated: only its epochs from
-- this instant on are shown. The largest bigint: not calibrated yet. Null: everything is shown.
ALTER TABLE sensor ADD COLUMN shown_from_ms bigint;
