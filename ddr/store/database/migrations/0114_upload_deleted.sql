-- Whether anything of a sensor was taken back is asked with each upload that is not new or has a key: without this index a
-- sensor that has been uploading with keys for a year is read through for it, 105,000 rows.
CREATE INDEX upload_deleted ON upload (patient_id, sensor_no) WHERE deleted_ms IS NOT NULL;
