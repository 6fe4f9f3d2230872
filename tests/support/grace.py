"""Grace-Periods that pass without waiting."""

from __future__ import annotations

from ddr.store.database.pool import Connection


async def pass_time(database: Connection) -> None:
    """Age the pending claims to their limit."""
    await database.execute(
        r"""UPDATE grace
               SET pending = (SELECT jsonb_object_agg(key, regexp_replace(value, '^([^/]*/[^/]*/).*$', '\1' || '0'))
                                FROM jsonb_each_text(pending))
             WHERE pending <> '{}'"""
    )
