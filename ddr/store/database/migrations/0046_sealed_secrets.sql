-- Server-wide secrets are sealed by the key-encryption key (ddr/store/database/sealing.py); `value` holds those that a
-- version before this one made, until the first start of this one seals them.
ALTER TABLE secret ALTER COLUMN value DROP NOT NULL;
ALTER TABLE secret ADD COLUMN sealed bytea;
ALTER TABLE secret ADD CONSTRAINT secret_is_one CHECK (num_nonnulls(value, sealed) = 1);
