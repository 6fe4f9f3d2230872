-- Those of a worker's problems that stayed away when it last looked, and when each was last there: they are reported for a
-- while longer, because they may come back, but what they stopped goes on: {key: ms since the epoch}.
ALTER TABLE worker_report ADD COLUMN quiet jsonb NOT NULL DEFAULT '{}';
