"""Whether a patient's account may be used: asked when the patient, or the patient's app, has proved who it is."""

from __future__ import annotations

from uuid import UUID

from ddr.store.database.pool import Connection


async def able(conn: Connection, patient_id: UUID | None) -> bool:
    """True unless the operator disabled the account, or there is none (any more)."""
    # without a query within: Citus plans that at length
    return bool(await conn.fetchval("SELECT disabled_ms IS NULL FROM patient WHERE patient_id = $1", patient_id))


_ACCOUNT = "SELECT FROM patient WHERE patient_id = $1 AND disabled_ms IS NULL FOR KEY SHARE"


async def stays_able(conn: Connection, patient_id: UUID) -> bool:
    """Within a transaction: True as `able`, and nobody disables or deletes the account before the end of it.

    For what must not outlive that.
    """
    return await conn.fetchrow(_ACCOUNT, patient_id) is not None
