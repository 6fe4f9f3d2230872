"""A stand-in for Citus in a database on one server: it records its calls, and answers from its tables.

Tests with Citus itself: make citus-test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ddr.store.database import distribute, rebalance
from ddr.store.database.pool import connect
from tests.support.database import itself, migrated_database

_ENGINE = """
CREATE SCHEMA engine;
CREATE TABLE engine.pg_dist_node (nodeid int, nodename text, nodeport int DEFAULT 5432, isactive boolean DEFAULT true,
  shouldhaveshards boolean DEFAULT true, reached boolean DEFAULT true, tells jsonb DEFAULT '{"level": "logical"}',
  groupid int DEFAULT 1, noderole text DEFAULT 'primary', hasmetadata boolean DEFAULT true,
  metadatasynced boolean DEFAULT true);
INSERT INTO engine.pg_dist_node (nodeid, nodename) VALUES (1, 'db2'), (2, 'db3');
CREATE TABLE engine.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text, beside text, shards int,
  colocationid int DEFAULT 1);
CREATE TABLE engine.pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text);
CREATE TABLE engine.pg_dist_placement (shardid bigint, groupid int DEFAULT 0, shardstate int DEFAULT 1);
CREATE TABLE engine.pg_dist_local_group AS SELECT 0 AS groupid;
CREATE TABLE engine.locked (mode int, shardid bigint);
CREATE FUNCTION engine.lock_shard_metadata(int, bigint[]) RETURNS void LANGUAGE sql AS
  'INSERT INTO engine.locked SELECT $1, unnest($2)';
CREATE TABLE engine.put (function regprocedure, by text, beside text);
CREATE FUNCTION engine.shard_name(regclass, bigint) RETURNS text LANGUAGE sql AS $$SELECT $1 || '_' || $2$$;
CREATE FUNCTION engine.get_shard_id_for_distribution_column(regclass, uuid) RETURNS bigint LANGUAGE sql AS
  'SELECT min(shardid) FROM engine.pg_dist_shard WHERE logicalrelid = $1';
CREATE FUNCTION engine.column_to_column_name(regclass, text) RETURNS text LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION engine.create_reference_table(regclass) RETURNS void LANGUAGE sql AS
  $$INSERT INTO engine.pg_dist_partition VALUES ($1, 'n')$$;
CREATE FUNCTION engine.create_distributed_table(regclass, by text, colocate_with text, shard_count int DEFAULT NULL)
  RETURNS void LANGUAGE sql AS
  $$INSERT INTO engine.pg_dist_partition VALUES ($1, 'h', by, colocate_with, shard_count)$$;
CREATE FUNCTION engine.create_distributed_function(regprocedure, by text DEFAULT NULL, colocate_with text DEFAULT NULL,
  force_delegation boolean DEFAULT false) RETURNS void LANGUAGE sql AS
  'INSERT INTO engine.put VALUES ($1, by, colocate_with)';

-- Moving parts. Each time that it is asked how far it is, one more step is done.
CREATE TABLE engine.move (table_name regclass, shardid bigint, shard_size bigint, sourcename text, sourceport int,
  targetname text, targetport int);
CREATE FUNCTION engine.get_rebalance_table_shards_plan() RETURNS SETOF engine.move LANGUAGE sql AS
  'SELECT * FROM engine.move';
CREATE FUNCTION engine.citus_shard_sizes(OUT shard_id int, OUT size bigint) RETURNS SETOF record LANGUAGE sql AS
  'SELECT shardid::int, shard_size FROM engine.move';
CREATE FUNCTION engine.citus_check_cluster_node_health(OUT from_nodename text, OUT from_nodeport int,
  OUT to_nodename text, OUT to_nodeport int, OUT result boolean) RETURNS SETOF record LANGUAGE sql AS
  $$SELECT f.nodename, f.nodeport, t.nodename, t.nodeport, nullif(t.reached, false)
      FROM engine.pg_dist_node f, engine.pg_dist_node t$$;
CREATE FUNCTION engine.run_command_on_all_nodes(command text) RETURNS TABLE (nodeid int, success boolean, result text)
  LANGUAGE plpgsql AS $$
DECLARE here jsonb;
BEGIN
  EXECUTE command INTO here;
  RETURN QUERY SELECT n.nodeid, n.reached, CASE WHEN n.reached THEN here || n.tells ELSE '"refused"' END::text
    FROM engine.pg_dist_node n;
END $$;
CREATE FUNCTION engine.master_run_on_worker(text[], int[], command text[], parallel boolean)
  RETURNS TABLE (node_name text, node_port int, success boolean, result text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command[1] INTO result;
  success := true;
  RETURN NEXT;
END $$;
CREATE FUNCTION engine.run_command_on_shards(name regclass, command text)
  RETURNS TABLE (shardid bigint, success boolean, result text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format(command, name) INTO result;
  RETURN QUERY SELECT s.shardid, true, coalesce(run_command_on_shards.result, '')
    FROM engine.pg_dist_shard s WHERE s.logicalrelid = name;
END $$;
CREATE TABLE engine.job (job_id bigint, state text, done int, steps int, tasks jsonb DEFAULT '[]', at_end text);
CREATE FUNCTION engine.citus_rebalance_start(shard_transfer_mode text) RETURNS bigint LANGUAGE sql AS
  $$INSERT INTO engine.job VALUES (7, 'running', -1, 2, '[]', 'finished') RETURNING job_id$$;
CREATE FUNCTION engine.citus_rebalance_stop() RETURNS void LANGUAGE sql AS
  $$UPDATE engine.job SET state = 'cancelled'$$;
CREATE FUNCTION engine.citus_rebalance_status(OUT job_id bigint, OUT state text, OUT details jsonb)
  RETURNS SETOF record LANGUAGE sql AS $$
  UPDATE engine.job SET done = done + 1, state = CASE WHEN done + 1 < steps THEN state ELSE at_end END
   WHERE state = 'running' AND done < steps;
  SELECT job_id, state, jsonb_build_object('tasks', tasks, 'task_state_counts', jsonb_build_object(
    'done', greatest(done, 0), 'runnable', steps - greatest(done, 0))) FROM engine.job$$;
"""


@asynccontextmanager
async def stand_in(database_url: str, monkeypatch: pytest.MonkeyPatch, size: int = 1) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database of its own with the schema, and two servers."""

    async def yes(_: object) -> bool:
        return True

    async with migrated_database(database_url) as url:
        own = await asyncpg.connect(itself(url))
        await own.execute(_ENGINE)
        name = await own.fetchval("SELECT current_database()")
        await own.execute(f'ALTER DATABASE "{name}" SET search_path = public, engine')
        await own.close()
        monkeypatch.setattr(distribute, "has_engine", yes)
        monkeypatch.setattr(rebalance, "has_engine", yes)
        async with await connect(itself(url), size) as pool:
            yield pool
