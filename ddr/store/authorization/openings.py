"""When a pairing was allowed to see more: to a DiGA that polls by `_lastUpdated`, what becomes visible is new (RS-036).

A cursor belongs to a pairing. So what a pairing sees from its first request on keeps its own timestamps. What a later
consent, a wider scope or a longer Historic-Data-Period adds has, for this pairing, no earlier timestamp than the first
request that sees it, because until then the DiGA may have polled with its former token. A shorter Delay-From-Real-Time
makes chunks without readings look as if they had been shown before, so from then on everything of that kind counts as
new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS
from ddr.scopes.parse import DEVICE, DEVICE_METRIC, Scopes, scope_of
from ddr.store.database.stamps import lock_patient

TYPES = {"Device": DEVICE, "DeviceMetric": DEVICE_METRIC}

_ANNOUNCE = """
WITH last AS (
  SELECT string_to_array(scope, ' ') AS scopes FROM token_grant
   WHERE patient_id = $1 AND pairing_no = $2 ORDER BY grant_no DESC LIMIT 1
), former AS (
  SELECT FROM last UNION ALL
  SELECT FROM pairing WHERE patient_id = $1 AND client_id = $3 AND pairing_no <> $2
), running AS (
  SELECT miv_url FROM consent
   WHERE patient_id = $1 AND pairing_no = $2 AND withdrawn_ms IS NULL AND until_ms > $6
)
INSERT INTO opening (patient_id, pairing_no, kind, opened_ms)
SELECT $1, $2, asked.kind, NULL FROM unnest($4::text[], $5::text[]) AS asked (kind, scope)
 WHERE EXISTS (SELECT FROM former)
   AND NOT (EXISTS (SELECT FROM last WHERE asked.scope = ANY (last.scopes))
            AND (asked.kind = ANY ($7::text[]) OR asked.kind IN (SELECT miv_url FROM running)))
ON CONFLICT (patient_id, pairing_no, kind) DO UPDATE SET opened_ms = NULL"""

_NOTE = """
INSERT INTO opening (patient_id, pairing_no, kind, historic_days, delay_ms) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING"""

# One older_ms covers all longer periods: what an earlier one opened counts as new again with the next. The DiGA may
# not have looked in between, or may have got no answer, and to receive data twice is better than never.
_OPEN = """
UPDATE opening o
   SET opened_ms = CASE WHEN o.delay_ms > seen.delay_ms THEN $5 ELSE coalesce(o.opened_ms, $5) END,
       older_ms = CASE WHEN o.historic_days < seen.days THEN greatest(o.older_ms, $5 - o.historic_days * $6::bigint)
                       ELSE o.older_ms END,
       older_opened_ms = CASE WHEN o.historic_days < seen.days THEN $5 ELSE o.older_opened_ms END,
       historic_days = seen.days, delay_ms = seen.delay_ms
  FROM unnest($3::text[], $4::integer[], $7::bigint[]) AS seen (kind, days, delay_ms)
 WHERE o.patient_id = $1 AND o.pairing_no = $2 AND o.kind = seen.kind"""

_ALL = """
SELECT kind, opened_ms, historic_days, older_ms, older_opened_ms, delay_ms FROM opening
 WHERE patient_id = $1 AND pairing_no = $2"""


@dataclass(frozen=True)
class Served:
    """The terms under which a request sees a kind: Historic-Data-Period of a MIV, Delay-From-Real-Time of a series."""

    days: int | None = None
    delay_ms: int | None = None


@dataclass(frozen=True)
class Opened:
    """What is noted about one kind of data of a pairing, in ms (see table opening). `opened_ms` None: not seen yet."""

    opened_ms: int | None
    historic_days: int | None
    older_ms: int
    older_opened_ms: int
    delay_ms: int | None

    @property
    def newest_ms(self) -> int:
        """When something of this kind was last opened; 0 when never."""
        return max(self.opened_ms or 0, self.older_opened_ms)


async def announce(
    conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, client_id: str, scopes: Scopes, now_ms: int
) -> None:
    """Within the transaction of a decision, before its consents and its grant: note what the DiGA could not see before.

    What the last grant allowed under a consent in force is not new.
    """
    asked = {url: scope_of(url) for url in scopes.valuesets}
    asked |= {kind: scope for kind, scope in TYPES.items() if scope in scopes.text.split(" ")}
    await conn.execute(
        _ANNOUNCE, patient_id, pairing_no, client_id, list(asked), list(asked.values()), now_ms, list(TYPES)
    )


def due(openings: Mapping[str, Opened], seen: Mapping[str, Served]) -> bool:
    """True when a request is the first to see these kinds with these terms.

    Nothing is noted about a resource type that is seen from the start.
    """
    for kind, served in seen.items():
        opened = openings.get(kind)
        if opened is None:
            if served.days is not None:
                return True
        elif opened.opened_ms is None or (opened.historic_days, opened.delay_ms) != (served.days, served.delay_ms):
            return True
    return False


async def open_up(
    pool: asyncpg.Pool, patient_id: UUID, pairing_no: int, seen: Mapping[str, Served], steered_ms: int | None
) -> dict[str, Opened]:
    """Note that a request sees these kinds, and timestamp what it is the first to see. Returns all openings.

    `seen` is as for `due`, `steered_ms` as for lock_patient.
    """
    async with pool.acquire() as conn, conn.transaction():
        stamp_ms = await lock_patient(conn, patient_id, steered_ms)
        if stamp_ms is not None:
            noted = [(kind, served.days, served.delay_ms) for kind, served in seen.items() if served.days is not None]
            await conn.executemany(_NOTE, [(patient_id, pairing_no, *one) for one in noted])
            days = [served.days for served in seen.values()]
            delays = [served.delay_ms for served in seen.values()]
            await conn.execute(_OPEN, patient_id, pairing_no, list(seen), days, stamp_ms, DAY_MS, delays)
        rows = await conn.fetch(_ALL, patient_id, pairing_no)
    return {kind: Opened(*columns) for kind, *columns in rows}


def of_json(found: Mapping[str, Any]) -> dict[str, Opened]:
    """The openings in the result of ddr.store.authorization.access.admit."""
    return {kind: Opened(*columns) for kind, columns in found.items()}
