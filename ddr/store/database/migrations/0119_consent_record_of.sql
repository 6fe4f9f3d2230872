-- The proof of one consent is found by its number (the patient's copy, what has been kept long enough). Without this index the
-- copy read all proof of the patient anew for each consent: 187,000 rows for 320 consents.
CREATE INDEX consent_record_of ON consent_record (patient_id, consent_no);
