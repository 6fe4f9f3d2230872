-- What a gateway reported about the calibration of a sensor after its registration. The epochs follow from these and
-- the registration (ddr/series/calibration.py); two events of one instant would contradict each other.
CREATE TABLE calibration (
    patient_id   uuid NOT NULL,
    sensor_no    bigint NOT NULL,
    time_ms      bigint NOT NULL,
    state        text NOT NULL,     -- FHIR DeviceMetricCalibrationState
    type         text,              -- FHIR DeviceMetricCalibrationType
    time         text NOT NULL,     -- FHIR instant as given
    created_ms   bigint NOT NULL,
    PRIMARY KEY (patient_id, sensor_no, time_ms)
);

-- Nothing of an epoch was shown before the recorder learnt of it.
ALTER TABLE epoch ADD COLUMN created_ms bigint NOT NULL DEFAULT 0;
