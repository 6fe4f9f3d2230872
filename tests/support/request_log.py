"""A request log of some days, as a recorder would have written and sealed it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from joserfc import jwt
from joserfc.jwk import ECKey

from ddr.http.request_log.record import Call, Operator, line
from ddr.operations.request_log import sealing
from ddr.operations.request_log.export import Filters, export
from ddr.operations.request_log.verifying import Findings, verify_chain
from ddr.settings import Settings
from ddr.store.audit import request_log
from ddr.store.audit.request_log import Batch
from ddr.store.audit.request_log_form import inflated
from tests.support.audit import DAY_MS
from tests.support.day import today

OPERATOR = Operator("hiis-00012", "ddr.muster.example")
CLIENTS = ("urn:diga:bfarm:00101", "urn:diga:bfarm:00102", None)
ANSWERS = (
    ("Authorization", "/oauth/token", "POST /oauth/token: 200 OK", 200, None, None),
    ("Transfer", "/fhir/Observation", "GET /fhir/Observation: 200 OK", 200, None, None),
    ("Transfer", "/fhir/Device/{id}", "GET /fhir/Device/{id}: 404 Not Found", 404, "not-found", "Resource …"),
    ("Transfer", "/fhir/Observation", "GET /fhir/Observation: no answer", None, "client-gone", "ä „quoted“ \\ text"),
)


async def fresh_lines(database: asyncpg.Pool | asyncpg.Connection) -> list[bytes]:
    """The durable unsealed records, in no order."""
    rows = await database.fetch("SELECT records FROM request_log_fresh")
    return [line for row in rows for line in inflated(row["records"]).splitlines()]


class Pen:
    """Signs seals."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256")
        self._kid = self._key.thumbprint()

    def sign(self, claims: Mapping[str, Any], typ: str, now_ms: int) -> str:
        return jwt.encode({"alg": "ES256", "typ": typ, "kid": self._kid}, dict(claims), self._key)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**self._key.as_dict(private=False), "kid": self._kid}]}


def some_lines(day: int, count: int) -> list[bytes]:
    """Records of a day since 1970, ordered by time; one in twenty has a form that today's recorder does not write."""
    chance = random.Random(1_000_003 + day - today())  # the same lines whatever the date
    pairings = ("p", None, random.Random(1).randbytes(32).hex(), chance.randbytes(32).hex())
    found = []
    for at in sorted(chance.randrange(DAY_MS) for _ in range(count)):
        event, endpoint, message, status, code, text = chance.choice(ANSWERS)
        call = Call(
            transaction_id=chance.choice((chance.randbytes(16).hex(), f"poll-{at}")),
            at_ms=day * DAY_MS + at,
            event_type=event,
            endpoint=endpoint,
            message=message,
            status=status,
            response_time_ms=chance.randrange(300),
            data_volume_bytes=chance.randrange(70_000),
            client_id=chance.choice(CLIENTS),
            pairing_id=chance.choice(pairings),
            error_code=code,
            error_description=text,
        )
        told = line(call, OPERATOR)
        found.append(json.dumps(json.loads(told)).encode() if chance.random() < 0.05 else told)
    return found


async def seal_lines(
    pool: asyncpg.Pool, pen: Pen, settings: Settings, run: UUID, batch_no: int, lines: Sequence[bytes], now_ms: int
) -> None:
    """Seal what a worker stored in one row."""
    await request_log.add(pool, Batch(run, batch_no, b"\n".join(lines)))
    await sealing.seal(pool, pen, settings, now_ms)


def as_date(day: int) -> date:
    """A day since 1970 as a date."""
    return datetime.fromtimestamp(day * 86_400, UTC).date()


@dataclass
class Log:
    """A request log with a database of its own."""

    pool: asyncpg.Pool
    settings: Settings
    pen: Pen
    run: UUID
    rows: int = 0

    async def write(self, day: int, *counts: int) -> None:
        """Write a day, with a seal for each of these numbers of records."""
        lines = some_lines(day, sum(counts))
        for number, count in enumerate(counts):
            self.rows += 1
            now_ms = day * DAY_MS + (number + 1) * 1000
            await seal_lines(self.pool, self.pen, self.settings, self.run, self.rows, lines[:count], now_ms)
            lines = lines[count:]

    async def export(self, filters: Filters = Filters()) -> bytes:  # noqa: B008 - is immutable
        return b"".join([line async for line in export(self.pool, self.pool, self.pen, filters, today() * DAY_MS)])

    async def exported(self, *filters: Filters) -> tuple[list[list[bytes]], Findings]:
        """Lines and manifests of these exports, without the signature; and the result of a verification."""
        found = []
        for one in filters or (Filters(),):
            *lines, last = (await self.export(one)).splitlines()
            found.append([*lines, orjson.dumps({**orjson.loads(last)["manifest"], "signature": ""})])
        return found, await verify_chain(self.pool)

    async def forms(self) -> dict[int, int]:
        """The number of seals by form."""
        return dict(await self.pool.fetch("SELECT form, count(*) FROM request_log_seal GROUP BY 1"))

    async def tamper(self, *statements: str) -> None:
        """What a database administrator could do."""
        async with self.pool.acquire() as conn, conn.transaction():
            await conn.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await conn.execute(statement)
