"""What is logged, what is masked and how long it is kept: each version with the time from which it was in force (HDDT
operational-requirements.md, Proof and Audit Capability)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from ddr.settings import Settings
from ddr.store.audit import request_log_seals as store

ATTRIBUTES = (
    "client_id",
    "data_volume_bytes",
    "error_code",
    "error_description",
    "event_type",
    "interface_id",
    "message",
    "pairing_id",
    "partner_id",
    "response_time_ms",
    "status",
    "timestamp",
    "transaction_id",
)
# Update this when what is recorded or left out changes: it becomes a new version at the next start.
SCOPE = (
    "every request and connection on the DiGA listener (FHIR interface, PAR, token and revocation endpoint)",
    "on the public listener: authorization endpoint, login and consent on its way, both metadata documents, the OpenAPI"
    " document, keys, client registration, status; and connections that come to no request",
)
MASKING = (
    "never: tokens, codes, header fields, queries and forms, addresses, names, bodies",
    "paths as templates: ids of resources and unknown paths are left out",
    "error_description ends where a caller's text begins",
    "pairing_id only when it was proven, never the patient behind it",
)


def policy(settings: Settings) -> dict[str, Any]:
    """The policy of this version of the software with these settings."""
    return {
        "attributes": list(ATTRIBUTES),
        "scope": list(SCOPE),
        "masking": list(MASKING),
        "retention_days": settings.request_log_days,
    }


async def keep(pool: asyncpg.Pool, settings: Settings, now_ms: int) -> int:
    """The number of the policy in force; a new one when something has changed."""
    wanted = policy(settings)
    async with pool.acquire() as conn, conn.transaction():
        await store.lock(conn)
        former = await store.policies(conn)
        if former and dict(former[-1]["policy"]) == wanted:
            return int(former[-1]["policy_no"])
        number = len(former) + 1
        await store.add_policy(conn, number, now_ms, wanted)
        return number


async def newest(pool: asyncpg.Pool, settings: Settings, now_ms: int) -> int:
    """The number of the policy that a host put into force last; workers do that when they start."""
    former = await store.policies(pool)
    return int(former[-1]["policy_no"]) if former else await keep(pool, settings, now_ms)


async def history(pool: asyncpg.Pool) -> list[Mapping[str, Any]]:
    """Every version with `version`, `since_ms`, `until_ms` (None: in force) and `policy`."""
    rows = await store.policies(pool)
    ends: list[int | None] = [row["since_ms"] for row in rows[1:]]
    return [
        {"version": row["policy_no"], "since_ms": row["since_ms"], "until_ms": until, "policy": row["policy"]}
        for row, until in zip(rows, [*ends, None], strict=False)  # empty when there are none
    ]
