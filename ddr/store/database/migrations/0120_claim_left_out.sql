-- How many more values came for an instant than are kept (ddr/series/rivals.py): on the row of the one that came first.
ALTER TABLE claim ADD COLUMN left_out integer NOT NULL DEFAULT 0;
