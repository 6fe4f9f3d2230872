"""Roles of the database that can log in and read the tables of patients: the recorder's own, and those of people.

An end in the year 9999 or later, infinity included, counts as no end.
"""

from __future__ import annotations

from typing import NamedTuple

import asyncpg

_ROLES = """
SELECT r.rolname::text AS name,
       CASE WHEN r.rolvaliduntil < '9999-12-31Z' THEN (extract(epoch FROM r.rolvaliduntil) * 1000)::bigint END
           AS until_ms,
       EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = r.oid AND a.datname = current_database()) AS used,
       r.rolname = current_user AS own
  FROM pg_roles r
 WHERE r.rolcanlogin AND has_table_privilege(r.oid, 'patient', 'SELECT')
   AND (r.rolvaliduntil IS NULL OR r.rolvaliduntil > now()) ORDER BY name"""


class Role(NamedTuple):
    """A role; `until_ms` is its VALID UNTIL, `used`: it has a connection now, `own`: it is this connection's."""

    name: str
    until_ms: int | None
    used: bool
    own: bool


async def roles(pool: asyncpg.Pool) -> list[Role]:
    """All such roles, by name."""
    return [Role(*row) for row in await pool.fetch(_ROLES)]
