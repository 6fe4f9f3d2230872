-- A shorter Delay-From-Real-Time makes chunks appear that are expected since longer than it: to whoever polls they are new.
ALTER TABLE opening ADD COLUMN delay_ms bigint;  -- the Delay-From-Real-Time last served, of a MIV with series; null: not noted
