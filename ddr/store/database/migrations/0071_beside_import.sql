-- A sensor of an app beside whose values an import has some of the same device (ddr.store.series.giving_way).
ALTER TABLE sensor ADD COLUMN beside_import boolean NOT NULL DEFAULT false;

UPDATE sensor s SET beside_import = true
  FROM device d, device i, sensor o
 WHERE d.patient_id = s.patient_id AND d.device_no = s.device_no AND d.device_key NOT LIKE 'import-%'
   AND i.patient_id = s.patient_id AND i.device_key LIKE 'import-%'
   AND lower(btrim(i.serial_number)) = lower(btrim(d.serial_number))
   AND o.patient_id = i.patient_id AND o.device_no = i.device_no
   AND o.continuous AND s.continuous AND o.miv_url = s.miv_url;
