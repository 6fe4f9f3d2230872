"""Whether a patient's account may be used; checked once the patient, or the patient's app, has been authenticated."""

from __future__ import annotations

from uuid import UUID

from ddr.store.database.pool import Connection


async def able(conn: Connection, patient_id: UUID | None) -> bool:
    """True unless the operator disabled the account, or it does not exist (any more)."""
    # No subquery, because Citus takes long to plan one.
    return bool(await conn.fetchval("SELECT disabled_ms IS NULL FROM patient WHERE patient_id = $1", patient_id))


_ACCOUNT = "SELECT FROM patient WHERE patient_id = $1 AND disabled_ms IS NULL FOR KEY SHARE"


async def stays_able(conn: Connection, patient_id: UUID) -> bool:
    """Within a transaction: as `able`, and nobody can disable or delete the account before the transaction ends.

    For rows that must not outlive the account.
    """
    return await conn.fetchrow(_ACCOUNT, patient_id) is not None
