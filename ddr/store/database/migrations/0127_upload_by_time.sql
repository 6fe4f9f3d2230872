-- The indexes by time (migration 0118) began as the key does, with patient and sensor. The planner takes the two for independent
-- of each other and so a sensor for one upload: then both cost the same, and an upload with a key could be looked for among all
-- of its sensor, 105,000 after a year of one for each reading. An expression can be taken for nothing but what asks by it: who
-- asks for a key says sensor_no, who asks for a time says sensor_no + 0 (ddr/store/gateways/uploads.py).
DROP INDEX upload_deleted;
DROP INDEX upload_deleted_span;
DROP INDEX upload_span;
CREATE INDEX upload_span ON upload ((sensor_no + 0), (times[array_upper(times, 1)]), (times[1]));
CREATE INDEX upload_deleted_span ON upload ((sensor_no + 0), (times[array_upper(times, 1)]), (times[1]))
    WHERE deleted_ms IS NOT NULL;
