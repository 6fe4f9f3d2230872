"""Claims of Grace-Periods whose time is over, without waiting for it."""

from __future__ import annotations

from ddr.store.database.pool import Connection


async def pass_time(database: Connection) -> None:
    """Let the pending claims be as old as they may become."""
    await database.execute(
        r"""UPDATE grace
               SET pending = (SELECT jsonb_object_agg(key, regexp_replace(value, '^([^/]*/[^/]*/).*$', '\1' || '0'))
                                FROM jsonb_each_text(pending))
             WHERE pending <> '{}'"""
    )
