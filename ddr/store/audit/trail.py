"""The audit trail: who did what to whose data, append only, without identifying data (HDDT security-and-privacy.md,
Transparency of Operations).

It lives in the store, because an event is written in the transaction that makes it true.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

NOBODY = UUID(int=0)  # no patient is known


class Event(StrEnum):
    """Tags of the trail, "source:subject:action". A tag that is in use is never renamed."""

    PAIRING_GRANTED = "patient:pairing:granted"
    PAIRING_DENIED = "patient:pairing:denied"
    PAIRING_REFUSED = "diga:pairing:refused"
    PAIRING_FAILED = "system:pairing:failed"
    PAIRING_ENDED_BY_DIGA = "diga:pairing:ended"
    PAIRING_ENDED_BY_PATIENT = "patient:pairing:ended"
    PAIRING_ENDED_BY_SYSTEM = "system:pairing:ended"
    CONSENT_WITHDRAWN = "patient:consent:withdrawn"
    CONSENT_ENDED_BY_SYSTEM = "system:consent:ended"
    DATA_DOWNLOADED = "patient:data:downloaded"
    DATA_DELETED = "patient:data:deleted"
    UNPAIRING_REFUSED = "diga:unpairing:refused"
    TOKEN_REFUSED = "diga:token:refused"  # noqa: S105 - a tag, not a secret
    CODE_REPLAYED = "diga:code:replayed"
    REFRESH_REUSED = "diga:refresh:reused"
    DATA_READ = "diga:data:read"
    DATA_REFUSED = "diga:data:refused"
    SIGNING_KEY_ROTATED = "operator:signing-key:rotated"


async def record(
    conn: asyncpg.Connection | asyncpg.Pool,
    event: Event,
    now_ms: int,
    *,
    patient_id: UUID | None = None,
    client_id: str | None = None,
    pairing_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one event; `detail` holds words of ours only, never a name, a token or an address."""
    await conn.execute(
        "INSERT INTO audit (patient_id, at_ms, event, client_id, pairing_id, detail) VALUES ($1, $2, $3, $4, $5, $6)",
        patient_id or NOBODY,
        now_ms,
        str(event),
        client_id,
        pairing_id,
        dict(detail or {}),
    )
