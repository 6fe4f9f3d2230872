-- The clock of a patient's data: the newest stamp given out (ddr/store/database/stamps.py). Every change of what a DiGA
-- may see takes the next one and holds the row until its end. Room in the page keeps these updates heap-only (HOT).
ALTER TABLE patient ADD COLUMN stamp_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE patient SET (fillfactor = 70);

UPDATE patient p SET stamp_ms = newest.stamp_ms
  FROM (SELECT patient_id, max(updated_ms) AS stamp_ms
          FROM (SELECT patient_id, updated_ms FROM device
                UNION ALL SELECT patient_id, updated_ms FROM epoch
                UNION ALL SELECT patient_id, updated_ms FROM chunk
                UNION ALL SELECT patient_id, updated_ms FROM measurement) AS stored
         GROUP BY patient_id) AS newest
 WHERE newest.patient_id = p.patient_id;
