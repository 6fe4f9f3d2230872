-- When a worker was last there for those who use the interface: not while the setting `maintenance` closes it.
ALTER TABLE worker_report ADD COLUMN served_ms bigint;
