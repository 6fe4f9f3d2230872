-- In which role an app was connected, and by which right: null for the patient, and for a token that an operator made.
-- A token that takes the place of another one of the same app says the same.
ALTER TABLE gateway_token
    ADD COLUMN role               text,
    ADD COLUMN representation_id  uuid;
