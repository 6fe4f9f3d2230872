"""Deletes what has expired, without looking at what has not."""

from __future__ import annotations

from ddr.store.database.pool import Connection
from ddr.store.database.spreading import over_servers

STEP = 1000  # rows per statement: a backlog neither holds locks for long nor exceeds the time limit of statements


async def delete_due(pool: Connection, table: str, due: str, before: int, also: str = "true", *more: object) -> None:
    """Delete the rows of `table` whose `due`, a column or an expression that has an index, is below `before`.

    With `also`, only rows that meet this condition, which may refer to `more` as $2 and so on.
    """
    condition = f"{due} < $1 AND {also}"
    if over_servers(pool, table):
        await _delete_over_servers(pool, table, due, condition, before, *more)
        return
    statement = (
        f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608 - our own names
        f"SELECT ctid FROM {table} WHERE {condition} ORDER BY {due} LIMIT {STEP})) AND {condition}"
    )
    deleted = STEP
    while deleted >= STEP:
        status: str = await pool.execute(statement, before, *more)
        deleted = int(status.removeprefix("DELETE "))


async def _delete_over_servers(pool: Connection, table: str, due: str, condition: str, *given: object) -> None:
    """The same where row locations differ per server: in steps of `due`, including all rows that share the last."""
    last = f"SELECT {due} FROM {table} WHERE {condition} ORDER BY {due} OFFSET {STEP - 1} LIMIT 1"  # noqa: S608
    delete = f"DELETE FROM {table} WHERE {condition}"  # noqa: S608 - our own names
    while (upto := await pool.fetchval(last, *given)) is not None:
        await pool.execute(f"{delete} AND {due} <= ${len(given) + 1}", *given, upto)
    await pool.execute(delete, *given)
