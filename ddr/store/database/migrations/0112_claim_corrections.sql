-- A value that was sent as a correction stands in the place of those that come later without saying so, too, so that the
-- order in which an app and a late phone send decides nothing. Corrections from before this version do as they did.
ALTER TABLE claim ADD COLUMN correction boolean NOT NULL DEFAULT false;
