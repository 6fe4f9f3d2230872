-- A patient has some rows in each of these tables, whatever a sample shows. A planner that has only seen patients with
-- one row takes any index that begins with patient_id to be as good as the primary key, and then walks through all rows
-- of a patient for each look-up by key: quadratic work for those with a long history.
ALTER TABLE epoch ALTER COLUMN patient_id SET (n_distinct = -0.05);
ALTER TABLE sensor ALTER COLUMN patient_id SET (n_distinct = -0.05);
ALTER TABLE device ALTER COLUMN patient_id SET (n_distinct = -0.05);
ALTER TABLE measurement ALTER COLUMN patient_id SET (n_distinct = -0.05);
ANALYZE epoch, sensor, device, measurement;
