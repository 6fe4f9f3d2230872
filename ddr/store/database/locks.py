"""The advisory locks of the database: a number for each kind of work, so that none waits for another kind."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """What one process at a time does."""

    MIGRATION = 0x4444_5201
    SIGNING_KEYS = 0x4444_5202
    REQUEST_LOG = 0x4444_5203
    AUDIT = 0x4444_5204
    OUTAGES = 0x4444_5210
