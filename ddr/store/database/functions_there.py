"""The functions that run beside a patient's rows where patients are spread; each keeps statements prepared there.

Pure SQL; ddr.store.database.ask_there and each_there use them, and `ddr db distribute` installs them where they run.
"""

from __future__ import annotations

ASK = "ddr_ask_2"  # changes with the meaning, so that two versions can run side by side
ASK_SIGNATURE = f"{ASK}(uuid, text, text, text, text[])"
KEPT = 1_000_000  # characters of statements in a server's session, 170 bytes each; beyond it, all are planned anew

_PART = "get_shard_id_for_distribution_column('patient', whose)"

_ROOM = rf"""
    IF (SELECT sum(length(statement)) FROM pg_prepared_statements WHERE name LIKE 'ddr\_%')
       + length(array_to_string(ARRAY[said], '')) > {KEPT} THEN
        FOR kept IN SELECT name FROM pg_prepared_statements WHERE name LIKE 'ddr\_%' LOOP
            EXECUTE format('DEALLOCATE %I', kept.name);
        END LOOP;
    END IF;"""  # noqa: S608 - a number of ours

# The tables of the part, and those that are on all servers.
_TABLES_HERE = """
            SELECT o.logicalrelid::text AS name, shard_name(o.logicalrelid, o.shardid) AS here
              FROM pg_dist_shard s
              JOIN pg_dist_partition p ON p.logicalrelid = s.logicalrelid
              JOIN pg_dist_partition q ON q.colocationid = p.colocationid
              JOIN pg_dist_shard o ON o.logicalrelid = q.logicalrelid AND o.shardminvalue = s.shardminvalue
             WHERE s.shardid = part
             UNION ALL
            SELECT s.logicalrelid::text, shard_name(s.logicalrelid, s.shardid)
              FROM pg_dist_shard s JOIN pg_dist_partition p ON p.logicalrelid = s.logicalrelid
             WHERE p.partmethod = 'n'"""


def _executed(called: str, given: str) -> str:
    return f"""format('EXECUTE %I (%s)', {called} || part, (
            SELECT string_agg(quote_nullable(one), ',' ORDER BY n)
              FROM unnest({given}) WITH ORDINALITY AS t (one, n)))"""  # noqa: S608 - texts of ours


# Tables are those that existed when the function was made, because the coordinator's sessions on other servers do not
# know our schema. Reads of a part that is not on this server are left to Citus, which finds it; so is everything where
# there is no Citus. A statement prepared for a table that is gone is planned anew by its name. Without a text, nothing
# is found unless the statement is prepared.
ASK_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {ASK}(whose uuid, called text, said text, types text, given text[])
RETURNS SETOF record LANGUAGE plpgsql
SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET jit = off AS $function$
DECLARE
    part bigint := 0;
    part_of record;
    kept record;
    ask text;
BEGIN
    IF to_regclass('pg_dist_shard') IS NOT NULL THEN
        part := {_PART};
        IF to_regclass(shard_name('patient'::regclass, part)) IS NULL THEN
            part := 0;
        END IF;
    END IF;
    ask := {_executed("called", "given")};
    BEGIN
        RETURN QUERY EXECUTE ask;
        RETURN;
    EXCEPTION WHEN invalid_sql_statement_name OR syntax_error THEN  -- it is not prepared
        IF said = '' THEN
            RETURN;
        END IF;
    END;{_ROOM}
    IF part <> 0 THEN
        FOR part_of IN{_TABLES_HERE}
        LOOP
            said := replace(said, format('/*%s*/%s', part_of.name, part_of.name), part_of.here);
        END LOOP;
    END IF;
    EXECUTE format('PREPARE %I (%s) AS %s', called || part, types, said);
    RETURN QUERY EXECUTE ask;
END $function$"""

# Several statements run in order, each seeing what the earlier ones have done. They may write, so this waits for a move
# of the part to end (5: ShareLock, as Citus takes it for writes), and refuses if the part is elsewhere by then: what a
# move has left here belongs to nobody. `whole` is prepared last and separately, so that one look tells whether all are
# prepared; without texts, a row with the number 0 says that they are not. Statements that return rows return them as
# texts (1); where the statement itself makes the texts (2), the last one may say that nothing follows.
EACH = "ddr_each_1"
STOP = "stop"
EACH_SIGNATURE = f"{EACH}(uuid, text, text[], text[], text[], text[], integer[])"
EACH_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {EACH}(
    whose uuid, whole text, called text[], said text[], types text[], given text[], tells integer[]
) RETURNS TABLE (of_item integer, row_texts text[]) LANGUAGE plpgsql
SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET jit = off AS $function$
DECLARE
    part bigint := 0;
    part_of record;
    kept record;
    ask text;
    one_said text;
BEGIN
    IF to_regclass('pg_dist_shard') IS NOT NULL THEN
        part := {_PART};
        PERFORM lock_shard_metadata(5, ARRAY[part]);
        IF NOT EXISTS (SELECT FROM pg_dist_placement WHERE shardid = part AND shardstate = 1
                          AND groupid = (SELECT groupid FROM pg_dist_local_group)) THEN
            RAISE serialization_failure USING MESSAGE = 'part ' || part || ' of the patients is not on this server';
        END IF;
    END IF;
    BEGIN
        EXECUTE format('EXECUTE %I', whole || part);
    EXCEPTION WHEN invalid_sql_statement_name THEN
        IF said = '{{}}' THEN
            of_item := 0;
            RETURN NEXT;
            RETURN;
        END IF;{_ROOM}
        FOR place IN 1 .. cardinality(called) LOOP
            one_said := said[place];
            IF part <> 0 THEN
                FOR part_of IN{_TABLES_HERE}
                LOOP
                    one_said := replace(one_said, format('/*%s*/%s', part_of.name, part_of.name), part_of.here);
                END LOOP;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = called[place] || part) THEN
                EXECUTE format('PREPARE %I (%s) AS %s', called[place] || part, types[place], one_said);
            END IF;
        END LOOP;
        EXECUTE format('PREPARE %I AS SELECT', whole || part);
    END;
    FOR place IN 1 .. cardinality(called) LOOP
        ask := {_executed("called[place]", "given[place]::text[]")};
        IF tells[place] > 0 THEN
            of_item := place;
            FOR row_texts IN EXECUTE ask LOOP
                RETURN NEXT;
                IF tells[place] > 1 AND row_texts[cardinality(row_texts)] = '{STOP}' THEN
                    RETURN;
                END IF;
            END LOOP;
        ELSE
            EXECUTE ask;
        END IF;
    END LOOP;
END $function$"""  # noqa: S608 - texts of ours

FUNCTIONS = {ASK_SIGNATURE: ASK_FUNCTION, EACH_SIGNATURE: EACH_FUNCTION}
