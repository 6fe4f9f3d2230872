"""Everything measured of one patient, page by page, for the patient's own view and download. Read only.

Pages are read separately, so that a slow download holds no database connection. `whole` makes sure that nobody takes
the rest of a patient who is being deleted for the whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar
from uuid import UUID

import asyncpg

from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.database.pool import Row

Piece = TypeVar("Piece")

CHUNKS_PER_PAGE = 30
CONSENTS_PER_PAGE = 50  # each with the text that was shown
MEASUREMENTS_PER_PAGE = 500

_DEVICE = """d.device_no, d.serial_number, d.device_name, d.manufacturer, d.model_number, d.type_code,
       d.expiration_date, d.expiration_ms, d.definition_url, d.heard_ms, d.ended_ms AS device_ended_ms,
       d.updated_ms AS device_updated_ms"""
_SENSOR = """e.epoch_no, e.until_ms, e.calibration_state, e.calibration_type, e.calibration_time, e.display_unit,
       e.version AS epoch_version, e.updated_ms AS epoch_updated_ms, e.device_no,
       s.miv_url, s.code_system, s.code, s.unit, s.calibrated_device, s.metric, s.method, s.note, s.period_ms,
       s.decimals, s.lower_limit, s.upper_limit, s.span_ms, s.buffering_ms,
       s.shown_from_ms > e.from_ms IS TRUE AS withheld"""

_DEVICES = f"""
SELECT {_DEVICE}, ARRAY(SELECT miv_url FROM sensor s WHERE s.patient_id = $1 AND s.device_no = d.device_no
                        UNION
                        SELECT miv_url FROM measurement m
                         WHERE m.patient_id = $1 AND m.device_no = d.device_no AND m.deleted_ms IS NULL) AS measures
  FROM device d WHERE patient_id = $1 ORDER BY device_no"""
_METRICS = f"""
SELECT {_SENSOR} FROM epoch e JOIN sensor s ON s.patient_id = $1 AND s.sensor_no = e.sensor_no
 WHERE e.patient_id = $1 ORDER BY e.epoch_no"""
_CHUNKS = f"""
SELECT c.k, c.start_ms, c.last_ms, c.filled, c.times, c.vals, c.status, c.version, c.updated_ms, {_SENSOR},
       d.device_name, d.serial_number, d.manufacturer, d.type_code
  FROM chunk c
  JOIN epoch e ON e.patient_id = $1 AND e.epoch_no = c.epoch_no
  JOIN sensor s ON s.patient_id = $1 AND s.sensor_no = e.sensor_no
  JOIN device d ON d.patient_id = $1 AND d.device_no = e.device_no
 WHERE c.patient_id = $1 AND (c.epoch_no, c.k) > ($2, $3) ORDER BY c.epoch_no, c.k LIMIT $4"""
_MEASUREMENTS = """
SELECT m.measurement_no, m.miv_url, m.code_system, m.code, m.device_no, m.epoch_no, m.effective_ms, m.content,
       m.derived_from, m.status, m.version, m.updated_ms, d.device_name, d.serial_number,
       d.manufacturer, d.type_code
  FROM {source} m LEFT JOIN device d ON d.patient_id = $1 AND d.device_no = m.device_no"""

_ALL_MEASUREMENTS = f"""{_MEASUREMENTS.format(source="measurement")}
 WHERE m.patient_id = $1 AND m.deleted_ms IS NULL AND m.measurement_no > $2 ORDER BY m.measurement_no LIMIT $3"""

# The newest measurement of each kind, and of these the newest: by an index (measurement_by_time), however many there
# are.
_NEWEST = (
    """
WITH RECURSIVE kind AS (
    SELECT min(miv_url) AS miv_url FROM measurement WHERE patient_id = $1
    UNION ALL
    SELECT (SELECT min(m.miv_url) FROM measurement m WHERE m.patient_id = $1 AND m.miv_url > k.miv_url)
      FROM kind k WHERE k.miv_url IS NOT NULL)"""
    + _MEASUREMENTS.format(
        source="""kind k CROSS JOIN LATERAL (
    SELECT m.measurement_no, m.miv_url, m.code_system, m.code, m.device_no, m.epoch_no, m.effective_ms, m.content,
           m.derived_from, m.status, m.version, m.updated_ms FROM measurement m
     WHERE m.patient_id = $1 AND m.miv_url = k.miv_url AND m.deleted_ms IS NULL AND m.status <> 'entered-in-error'
       AND {where} ORDER BY m.effective_ms DESC, m.measurement_no DESC LIMIT {most})"""
    )
    + " ORDER BY m.effective_ms DESC, m.measurement_no DESC LIMIT {most}"
)
_NEWEST_BETWEEN = _NEWEST.format(where="m.effective_ms >= $2 AND m.effective_ms < $3", most=5_000)
_PLACE = "SELECT {columns} FROM measurement WHERE patient_id = $1 AND measurement_no = $2"
_NEWEST_BEFORE = _NEWEST.format(
    where=f"""($2::bigint IS NULL OR (m.effective_ms, m.measurement_no) < (
           {_PLACE.format(columns="effective_ms, measurement_no")}))
       AND m.effective_ms <= coalesce(({_PLACE.format(columns="effective_ms")}), 9223372036854775807)""",
    most="$3",
)


# The readings of a withdrawn epoch move to another one: to an earlier one, which may have been read already, or to a
# new one, which is read later.
_STANDING = """
SELECT ARRAY(SELECT epoch_no FROM epoch WHERE patient_id = $1 AND withdrawn ORDER BY epoch_no)
  FROM patient WHERE patient_id = $1"""


async def whole(pool: asyncpg.Pool, patient_id: UUID, pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """Passes on `pieces` read of this patient; the last one only if all of the patient could be read.

    Raises ChangedMeanwhile when the patient was deleted meanwhile, or readings moved to another epoch.
    """
    before = await pool.fetchval(_STANDING, patient_id)
    held: list[Piece] = []
    async for piece in pieces:
        if held:
            yield held.pop()
        held.append(piece)
    if before is None or await pool.fetchval(_STANDING, patient_id) != before:
        raise ChangedMeanwhile
    for piece in held:
        yield piece


async def devices(pool: asyncpg.Pool, patient_id: UUID) -> list[Row]:
    """Rows for ddr.fhir.device, each with `measures`: the ValueSet canonicals of what the device measures."""
    rows: list[Row] = await pool.fetch(_DEVICES, patient_id)
    return rows


async def metrics(pool: asyncpg.Pool, patient_id: UUID) -> list[Row]:
    """Rows for ddr.fhir.device_metric."""
    rows: list[Row] = await pool.fetch(_METRICS, patient_id)
    return rows


async def _paged(pool: asyncpg.Pool, statement: str, patient_id: UUID, count: int, **place: int) -> AsyncIterator[Row]:
    """The rows after `place`, whose values the statement takes between patient and `count`, page after page."""
    while rows := await pool.fetch(statement, patient_id, *place.values(), count):
        for row in rows:
            yield row
        place = {name: rows[-1][name] for name in place}


def chunks(pool: asyncpg.Pool, patient_id: UUID) -> AsyncIterator[Row]:
    """Rows for ddr.series.view and ddr.fhir.observation_chunk, by sensor and time, with the name of the device."""
    return _paged(pool, _CHUNKS, patient_id, CHUNKS_PER_PAGE, epoch_no=0, k=-1)


def measurements(pool: asyncpg.Pool, patient_id: UUID) -> AsyncIterator[Row]:
    """Rows for ddr.fhir.observation_measurement in order of arrival, with the name of the device."""
    return _paged(pool, _ALL_MEASUREMENTS, patient_id, MEASUREMENTS_PER_PAGE, measurement_no=0)


async def measurements_between(pool: asyncpg.Pool, patient_id: UUID, from_ms: int, until_ms: int) -> list[Row]:
    """The measurements in [from_ms, until_ms) in order of time, without those entered in error; the newest 5,000."""
    rows: list[Row] = await pool.fetch(_NEWEST_BETWEEN, patient_id, from_ms, until_ms)
    return rows[::-1]


async def measurements_before(pool: asyncpg.Pool, patient_id: UUID, before_no: int | None, count: int) -> list[Row]:
    """Up to `count` measurements before number `before_no` (None: the newest), newest first; none entered in error."""
    rows: list[Row] = await pool.fetch(_NEWEST_BEFORE, patient_id, before_no, count)
    return rows


_CONSENTS = """
SELECT c.consent_no, c.miv_url, c.granted_ms, c.until_ms, c.withdrawn_ms, c.ended_by, c.end_reason, c.language,
       c.text_sha256, t.version, t.content, p.pairing_id, p.client_id, p.created_ms AS paired_ms,
       p.ended_ms AS unpaired_ms, p.end_reason AS unpaired_reason,
       (SELECT jsonb_agg(jsonb_build_object('act', r.act, 'at_ms', r.at_ms, 'until_ms', r.until_ms, 'by', r.ended_by,
                                            'reason', r.reason, 'role', r.role) ORDER BY r.record_no)
          FROM consent_record r WHERE r.patient_id = $1 AND r.consent_no = c.consent_no) AS acts
  FROM consent c
  JOIN pairing p ON p.patient_id = $1 AND p.pairing_no = c.pairing_no
  LEFT JOIN consent_text t ON t.text_sha256 = c.text_sha256
 WHERE c.patient_id = $1 AND c.consent_no > $2 ORDER BY c.consent_no LIMIT $3"""


def consents(pool: asyncpg.Pool, patient_id: UUID) -> AsyncIterator[Row]:
    """The patient's consents, oldest first, each with its pairing, the text shown, and `acts`, from the proof."""
    return _paged(pool, _CONSENTS, patient_id, CONSENTS_PER_PAGE, consent_no=0)
