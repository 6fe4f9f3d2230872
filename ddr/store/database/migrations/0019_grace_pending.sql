-- The Grace-Period is charged for answers that arrived. `pending` has, by MIV, which database session claimed it and has
-- not said since that the answer was sent: a claim whose session is gone (its worker was killed) does not count.
ALTER TABLE grace ADD COLUMN pending jsonb NOT NULL DEFAULT '{}';
