"""Whether a patient's account may be used: asked when the patient, or the patient's app, has proved who it is."""

from __future__ import annotations

from uuid import UUID

from ddr.store.database.pool import Connection


async def able(conn: Connection, patient_id: UUID | None) -> bool:
    """True unless the operator disabled the account, or there is none (any more)."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM patient WHERE patient_id = $1 AND disabled_ms IS NULL)", patient_id
    )
    return found
