-- From when until when the readings of an upload are, which ascend (ddr/store/gateways/uploads.py): so a sensor of which an
-- upload was taken back reads those uploads only that have readings of the same time. Before, it read all that it ever had with
-- each further upload: 105,000 after a year of one for each reading.
CREATE INDEX upload_span ON upload (patient_id, sensor_no, (times[array_upper(times, 1)]), (times[1]));
CREATE INDEX upload_deleted_span ON upload (patient_id, sensor_no, (times[array_upper(times, 1)]), (times[1]))
    WHERE deleted_ms IS NOT NULL;
