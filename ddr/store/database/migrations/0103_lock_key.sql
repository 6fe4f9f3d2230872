-- Advisory locks belong to a database; recorders in several of its schemas must not wait for each other. The key of a
-- lock, as ddr/store/database/locks.py computes it: in `public` the number itself, as it was.
CREATE FUNCTION lock_key(number bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT number + CASE current_schema() WHEN 'public' THEN 0 ELSE hashtext(current_schema())::bigint << 32 END
$$;

-- The functions that take one by its number, otherwise as they are.
DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['audit_open(date)', 'audit_open_month(date)'] LOOP
        EXECUTE replace(pg_get_functiondef(one::regprocedure), '(1145328132)', '(lock_key(1145328132))');
    END LOOP;
END $$;
