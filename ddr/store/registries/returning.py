"""Data with a code that its MIV has again: visible from now on, and new to polls (RS-036), however old they are.

This is done patient by patient, each in a transaction with its own timestamp, so that no upload waits for all of them.
"""

from __future__ import annotations

from collections.abc import Collection

import asyncpg

from ddr.store.database.stamps import lock_patient, moved

_CODES = "(code_system, code) IN (SELECT * FROM unnest($3::text[], $4::text[]))"

_PATIENTS = " UNION ".join(
    f"SELECT patient_id FROM {table} WHERE miv_url = $1 AND (code_system, code) IN"  # noqa: S608
    " (SELECT * FROM unnest($2::text[], $3::text[]))"
    for table in ("sensor", "measurement")
)

# Where nothing was sent, epochs begin anew: nobody was shown what was expected there (ddr.series.epoch).
_SENSORS = f"""
    WITH returned AS (
        UPDATE sensor SET miv_url = $5 WHERE patient_id = $1 AND miv_url = $2 AND {_CODES} RETURNING sensor_no),
    epochs AS (
        UPDATE epoch SET updated_ms = {moved("updated_ms", "$6")}, created_ms = $6
         WHERE patient_id = $1 AND sensor_no IN (SELECT sensor_no FROM returned) RETURNING epoch_no, device_no),
    chunks AS (
        UPDATE chunk SET updated_ms = {moved("updated_ms", "$6")}
         WHERE patient_id = $1 AND epoch_no IN (SELECT epoch_no FROM epochs)),
    devices AS (
        UPDATE device SET updated_ms = {moved("updated_ms", "$6")}
         WHERE patient_id = $1 AND device_no IN (SELECT device_no FROM epochs))
    SELECT count(*) FROM returned"""  # noqa: S608

_MEASUREMENTS = f"""
    WITH returned AS (
        UPDATE measurement SET miv_url = $5, updated_ms = {moved("updated_ms", "$6")}
         WHERE patient_id = $1 AND miv_url = $2 AND {_CODES} RETURNING device_no, epoch_no),
    epochs AS (
        UPDATE epoch SET updated_ms = {moved("updated_ms", "$6")}
         WHERE patient_id = $1 AND epoch_no IN (SELECT epoch_no FROM returned)),
    devices AS (
        UPDATE device SET updated_ms = {moved("updated_ms", "$6")}
         WHERE patient_id = $1 AND device_no IN (SELECT device_no FROM returned))
    SELECT count(*) FROM returned"""  # noqa: S608


async def give_back(pool: asyncpg.Pool, former: str, valueset: str, codes: Collection[tuple[str, str]]) -> int:
    """Move data with these codes (system, code) from the MIV `former` to `valueset`. Returns how many rows.

    Repeating it changes nothing more, so it may be repeated after an interruption.
    """
    systems, names = [system for system, _ in codes], [code for _, code in codes]
    found = 0
    for (patient_id,) in await pool.fetch(_PATIENTS, former, systems, names):
        async with pool.acquire() as conn, conn.transaction():
            stamp_ms = await lock_patient(conn, patient_id, None)
            for statement in (_SENSORS, _MEASUREMENTS) if stamp_ms is not None else ():
                found += await conn.fetchval(statement, patient_id, former, systems, names, valueset, stamp_ms)
    return found
