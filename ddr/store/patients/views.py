"""What the patient's pages show: what ended, who read what, and the devices of one patient. Read only."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ddr.store.database.pool import Row
from ddr.store.series.bounds import LAST


async def ended_pairings(pool: asyncpg.Pool, patient_id: UUID, after_ms: int) -> list[Row]:
    """The patient's pairings that ended after `after_ms`, latest first: client_id, ended_ms, end_reason."""
    rows: list[Row] = await pool.fetch(
        "SELECT client_id, ended_ms, end_reason FROM pairing WHERE patient_id = $1 AND ended_ms > $2 "
        "ORDER BY ended_ms DESC, pairing_no DESC",
        patient_id,
        after_ms,
    )
    return rows


async def lost_kinds(pool: asyncpg.Pool, patient_id: UUID, after_ms: int) -> list[Row]:
    """Kinds of data that ended in living pairings after `after_ms` without the patient's action: client_id, miv_url,
    ended_ms, end_reason. Latest first, each once with its last end, without those that were consented to again."""
    rows: list[Row] = await pool.fetch(
        """
        SELECT client_id, miv_url, ended_ms, end_reason FROM (
            SELECT DISTINCT ON (client_id, c.miv_url) client_id, c.miv_url, c.withdrawn_ms AS ended_ms, c.end_reason
              FROM consent c JOIN pairing p ON p.patient_id = $1 AND p.pairing_no = c.pairing_no AND p.ended_ms IS NULL
             WHERE c.patient_id = $1 AND c.withdrawn_ms > $2 AND c.ended_by = 'system' AND NOT EXISTS (
                   SELECT FROM consent n WHERE n.patient_id = $1 AND n.pairing_no = c.pairing_no
                      AND n.miv_url = c.miv_url AND n.withdrawn_ms IS NULL)
             ORDER BY client_id, c.miv_url, c.withdrawn_ms DESC, c.consent_no DESC) AS last
         ORDER BY ended_ms DESC, miv_url
        """,
        patient_id,
        after_ms,
    )
    return rows


async def last_read(pool: asyncpg.Pool, patient_id: UUID, pairing_no: int) -> int | None:
    """When data was last read under this pairing, to the minute, or None. The audit trail has each access."""
    at_ms: int | None = await pool.fetchval(
        "SELECT read_ms FROM grace WHERE patient_id = $1 AND pairing_no = $2", patient_id, pairing_no
    )
    return at_ms


async def devices(pool: asyncpg.Pool, patient_id: UUID) -> list[Row]:
    """The patient's devices, newest first, each with `measures`: the ValueSet canonicals of what it has a sensor for or
    has measured; and with `span_ms`, the longest chunk of its series, None without a series."""
    rows: list[Row] = await pool.fetch(
        """
        SELECT device_key, device_name, manufacturer, model_number, serial_number, type_code, expiration_date,
            expiration_ms, started_ms, ended_ms, heard_ms, coalesce(m.measures, '{}') AS measures, m.span_ms
        FROM device d LEFT JOIN (
            SELECT device_no, array_agg(DISTINCT miv_url ORDER BY miv_url) AS measures, max(span_ms) AS span_ms FROM (
                SELECT device_no, miv_url, span_ms FROM sensor WHERE patient_id = $1
                UNION ALL
                SELECT device_no, miv_url, NULL FROM measurement WHERE patient_id = $1 AND deleted_ms IS NULL
            ) AS measured
            GROUP BY device_no) AS m ON m.device_no = d.device_no
        WHERE d.patient_id = $1 ORDER BY ended_ms IS NOT NULL, started_ms DESC, d.device_no DESC
        """,
        patient_id,
    )
    return rows


# Sensors that were in use since then, found by the ends of their epochs; without that, it would look at those of many
# years.
_EVENTS = f"""
    WITH used AS (
        SELECT s.sensor_no, s.started_ms
          FROM (SELECT DISTINCT sensor_no FROM epoch e WHERE e.patient_id = $1 AND {LAST} >= $3) e
          CROSS JOIN LATERAL (
            SELECT s.sensor_no, s.started_ms FROM sensor s
             WHERE s.patient_id = $1 AND s.sensor_no = e.sensor_no AND s.miv_url = $2 AND s.continuous LIMIT 1) s)
    SELECT started_ms AS at_ms, 'sensor' AS kind FROM used WHERE started_ms >= $3 AND started_ms < $4
    UNION ALL
    SELECT c.time_ms, 'calibration'
      FROM used CROSS JOIN LATERAL (
        SELECT c.time_ms FROM calibration c
         WHERE c.patient_id = $1 AND c.sensor_no = used.sensor_no AND c.time_ms >= $3 AND c.time_ms < $4
           AND c.state NOT IN ('not-calibrated', 'calibration-required') OFFSET 0) c
     ORDER BY at_ms, kind"""  # noqa: S608 - texts of ours


async def sensor_events(
    pool: asyncpg.Pool, patient_id: UUID, valueset: str, from_ms: int, until_ms: int
) -> list[tuple[int, str]]:
    """Events of the continuous sensors of a MIV within [from_ms, until_ms): instant and "sensor" (a new one) or
    "calibration", which leaves the sensor calibrated; in order of time."""
    rows = await pool.fetch(_EVENTS, patient_id, valueset, from_ms, until_ms)
    return [(row["at_ms"], row["kind"]) for row in rows]
