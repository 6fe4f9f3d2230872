"""The advisory locks of the database: one number per kind of work and schema, so that unrelated work never waits."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """The number of an advisory lock, named after the work that only one process at a time does."""

    MIGRATION = 0x4444_5201
    SIGNING_KEYS = 0x4444_5202
    REQUEST_LOG = 0x4444_5203
    AUDIT = 0x4444_5204
    SCHEMA = 0x4444_5205
    OUTAGES = 0x4444_5210
    INSPECTION = 0x4444_5211


# The key of lock $1, the same as that of the SQL function lock_key (migration 0103). Recorders in different schemas of
# a database never wait for each other; in `public` the key is the number, as it was before there were other schemas.
_KEY = "$1::bigint + CASE current_schema() WHEN 'public' THEN 0 ELSE hashtext(current_schema())::bigint << 32 END"
LOCK = f"SELECT pg_advisory_xact_lock({_KEY})"
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({_KEY})"
