-- Up to when this database knows everything that the journal of ends says (ddr/store/audit/journal.py). A backup takes it
-- along, so that after a restore it is known from where the journal has to be replayed.
CREATE TABLE journal_mark (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    at_ms  bigint NOT NULL
);
