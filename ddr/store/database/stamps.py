"""Stamps (meta.lastUpdated) in the order of commits: a clock per patient that is stored, only increases, and is locked.

PostgreSQL releases a transaction's locks after the transaction has become visible. So if each writer first locks the
row of the patient, then takes the stamp and keeps the lock to the end, stamps are in the order of commits: a reader
that sees a stamp of a patient never finds an older one later (FHIR R4 resource.html#Meta, CGM-010). The row survives a
clock that goes back.

What becomes true by time alone (a chunk to which nothing can be added any more, one that is overdue) is true when this
clock says so, not a worker's: `patient.stamp_ms` is the present of everything that is read of the patient.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

# The database's clock in ms. Not now(), because a transaction may have waited for the lock since it began.
CLOCK = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


def present(steered: str) -> str:
    """The present as SQL. `steered` is a parameter: null, or the instant that a test sets."""
    return f"coalesce({steered}::bigint, {CLOCK})"


def stamp(steered: str) -> str:
    """The next stamp of a row of the table patient as SQL; `steered` is as for `present`."""
    return f"greatest(stamp_ms + 1, {present(steered)})"


def moved(column: str, given: str) -> str:
    """The stamp of a row that changes at `given`, as SQL: never older than the one in `column`, whoever wrote that."""
    return f"greatest({given}, {column} + ({column} > {given})::int)"


# Keeps out other writers of the patient as `lock_patient` does, for changes that need no stamp.
HOLD_PATIENT = "SELECT FROM patient WHERE patient_id = $1 FOR NO KEY UPDATE"
# Keeps the patient from being deleted; writers need not wait.
KEEP_PATIENT = "SELECT FROM patient WHERE patient_id = $1 FOR KEY SHARE"
LOCK_PATIENT = f"UPDATE patient SET stamp_ms = {stamp('$2')} WHERE patient_id = $1 RETURNING stamp_ms"  # noqa: S608


async def lock_patient(conn: asyncpg.Connection, patient_id: UUID, steered_ms: int | None) -> int | None:
    """Let one writer at a time change this patient's data, until the transaction ends. Returns the stamp in ms.

    The stamp is also the transaction's present. This comes first in a transaction: all other locks of a patient's rows
    follow it. None when the patient no longer exists.
    """
    found: int | None = await conn.fetchval(LOCK_PATIENT, patient_id, steered_ms)
    return found
