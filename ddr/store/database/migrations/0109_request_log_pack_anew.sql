-- A day of the request log of which the words that were learnt so far are damaged (0111) is packed from its beginning: the seals
-- are still where they were made. Not for a day that is packed: its seals name these words, and nothing else has its lines.
CREATE FUNCTION request_log_pack_anew(wanted date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
    parent text;
BEGIN
    IF NOT EXISTS (SELECT FROM request_log_pack WHERE day = wanted AND packed_ms IS NULL)
        OR EXISTS (SELECT FROM request_log_seal WHERE day = wanted AND form <> 1) THEN
        RETURN false;
    END IF;
    FOREACH parent IN ARRAY ARRAY['request_log_packed', 'request_log_word'] LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', parent || '_' || to_char(wanted, 'YYYYMMDD'));
    END LOOP;
    RETURN true;
END $$;
