-- Housekeeping finds what has run out without reading everything.
CREATE INDEX gateway_request_age ON gateway_request (created_ms);
CREATE INDEX token_grant_expiry ON token_grant ((coalesce(refresh_expires_ms, created_ms)));
