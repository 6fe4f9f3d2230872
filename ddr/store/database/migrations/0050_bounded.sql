-- What is out of the historic data period costs a search nothing (ddr/store/series/bounds.py): epochs are found by the
-- instant after which they have no chunk. Chunks that a late event withdrew keep their times, after the new end, too.
ALTER TABLE epoch ADD COLUMN last_withdrawn_ms bigint;   -- start of the last withdrawn chunk; null: there is none
UPDATE epoch e SET last_withdrawn_ms = withdrawn.start_ms
  FROM (SELECT patient_id, epoch_no, max(start_ms) AS start_ms FROM chunk WHERE status = 'e' GROUP BY 1, 2) AS withdrawn
 WHERE e.patient_id = withdrawn.patient_id AND e.epoch_no = withdrawn.epoch_no;
CREATE INDEX epoch_by_end ON epoch (patient_id, (greatest(coalesce(until_ms, 9223372036854775807), last_withdrawn_ms)));

-- Measurements are found by their beginning; those that take longer, and may have begun before the period, by their end.
CREATE INDEX measurement_lasting ON measurement (patient_id, miv_url, (coalesce(effective_end_ms, 9223372036854775807)))
    WHERE effective_end_ms IS NULL OR effective_end_ms - effective_ms > 60000;

-- Few measurements are derived from others.
CREATE INDEX measurement_deriving ON measurement (patient_id, miv_url, effective_ms) WHERE derived_from <> '{}';
