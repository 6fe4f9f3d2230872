-- The first day of a patient's readings is found by the epochs that began first (ddr/store/patients/measured.py).
CREATE INDEX epoch_by_start ON epoch (patient_id, from_ms);
