-- What belongs to a patient in a directory is found by the patient, too, where it is deleted: the end of a right, of an account
-- or of all that a patient has read everybody's sessions, logins and pairings of all times.
CREATE INDEX browser_session_of_patient ON browser_session (patient_id);
CREATE INDEX pairing_directory_of_patient ON pairing_directory (patient_id);
CREATE INDEX account_of_patient ON account (patient_id);
