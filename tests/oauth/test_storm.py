"""Whatever patients, DiGA, operators and time do concurrently on two workers: consents, proof, grants and trail agree.

Statements are delayed at random, so that rare races occur. Small in CI; DDR_STORM_SEEDS=100 and DDR_STORM_STEPS=120
search longer, DDR_STORM_FROM=1000 elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from asyncpg.connection import Connection

from ddr.http.core import Core
from ddr.settings import Settings
from ddr.store.database.pool import open_pool
from tests.oauth.backend import DigaBackend
from tests.oauth.house import House, somebody
from tests.support.clock import Clock

FROM = int(os.environ.get("DDR_STORM_FROM", "0"))
SEEDS = range(FROM, FROM + int(os.environ.get("DDR_STORM_SEEDS", "6")))
STEPS = int(os.environ.get("DDR_STORM_STEPS", "25"))
CGM, GLUCOSE, PRESSURE = "continuous-glucose-measurement", "blood-glucose-measurement", "blood-pressure-value"
Rows = Sequence[asyncpg.Record]


@pytest.fixture
async def second(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """The pool of another worker."""
    async with await open_pool(settings) as pool:
        yield pool


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_storm_leaves_rows_that_agree(
    core: Core,
    second: asyncpg.Pool,
    clock: Clock,
    register: Callable[..., DigaBackend],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    delays, execute = Random(seed), Connection._do_execute

    async def late(*arguments: Any, **named: Any) -> Any:
        if delays.random() < 0.4:
            await asyncio.sleep(delays.random() * 0.004)
        return await execute(*arguments, **named)

    monkeypatch.setattr(Connection, "_do_execute", late)
    workers = [core, replace(core, pool=second)]
    digas = [register(CGM, PRESSURE), register(CGM, PRESSURE, GLUCOSE)]
    backends = [[DigaBackend(worker, one.diga, one.certificate) for worker in workers] for one in digas]
    house = House(Random(seed), clock, workers, backends, [await somebody(core.pool) for _ in range(2)])
    for _ in range(STEPS):
        await house.at_once()
        for patient in house.patients:
            await check(core.pool, patient)
    await no_refresh_token_is_lost(house)


async def check(pool: asyncpg.Pool, patient_id: UUID) -> None:
    """What holds whenever nothing is in progress."""
    tables = ("pairing", "consent", "token_grant", "authorization_code", "consent_record", "audit")
    found: dict[str, Rows] = {
        table: await pool.fetch(f"SELECT * FROM {table} WHERE patient_id = $1", patient_id) for table in tables
    }
    consents, grants = found["consent"], found["token_grant"]
    for pairing in found["pairing"]:
        _pairing_agrees(pairing, _of(consents, pairing), _of(grants, pairing), found["audit"])
    living = [pairing["client_id"] for pairing in found["pairing"] if pairing["ended_ms"] is None]
    assert len(set(living)) == len(living), "one with each DiGA"
    under = Counter(number for grant in grants for number in grant["consent_nos"])
    assert under == Counter(consent["consent_no"] for consent in consents), "each consent has one grant"
    for consent in consents:
        proof = [row for row in found["consent_record"] if row["consent_no"] == consent["consent_no"]]
        _consent_is_proved(consent, sorted(proof, key=lambda row: row["record_no"]))
    assert {row["consent_no"] for row in found["consent_record"]} == set(under)
    issued = {grant["grant_no"]: grant for grant in grants}
    for code in found["authorization_code"]:
        grant = issued[code["grant_no"]]
        if code["redeemed_ms"] is None or grant["revoked_ms"] is None:
            assert (code["redeemed_ms"] is None) == (grant["refresh_sha256"] is None)


def _of(rows: Rows, pairing: asyncpg.Record) -> Rows:
    return [row for row in rows if row["pairing_no"] == pairing["pairing_no"]]


def _pairing_agrees(pairing: asyncpg.Record, consents: Rows, grants: Rows, trail: Rows) -> None:
    given = [consent for consent in consents if consent["withdrawn_ms"] is None]
    good = [grant for grant in grants if grant["revoked_ms"] is None]
    if pairing["ended_ms"] is None:
        assert given, "a pairing without any consent goes on"
    else:
        assert not given and not good, "something outlives its pairing"
    told = Counter(row["event"].partition(":")[2] for row in trail if row["pairing_id"] == pairing["pairing_id"])
    assert told["pairing:ended"] == (pairing["ended_ms"] is not None)
    assert told["pairing:granted"] == len(grants)


def _consent_is_proved(consent: asyncpg.Record, proof: Rows) -> None:
    acts = Counter(row["act"] for row in proof)
    assert (acts["given"], proof[0]["act"]) == (1, "given")
    assert acts["ended"] == (consent["withdrawn_ms"] is not None)
    assert (acts["shortened"] > 0) == (consent["shortened_ms"] is not None)
    assert acts["ended"] == 0 or proof[-1]["act"] == "ended"
    assert proof[-1]["until_ms"] == consent["until_ms"]


async def no_refresh_token_is_lost(house: House) -> None:
    """Each DiGA continues with the newest token that it received, unless its grant or its consents have ended."""
    for number, held in house.tokens:
        backend = house.chance.choice(house.backends[number])
        stands = await backend.core.pool.fetchval(
            """SELECT count(*) > 0 FROM pairing p JOIN token_grant g USING (patient_id, pairing_no)
                 JOIN consent c ON c.patient_id = g.patient_id AND c.consent_no = ANY (g.consent_nos)
                WHERE p.pairing_id = $1 AND g.revoked_ms IS NULL AND c.withdrawn_ms IS NULL AND c.until_ms > $2
                  AND g.grant_no = $3""",
            held["sub"],
            house.clock(),
            _grant_no(backend.core, held["access_token"]),
        )
        answer = await backend.refresh(held["refresh_token"])
        assert (answer.status_code == 200) == stands, (answer.text, held)


def _grant_no(core: Core, access_token: str) -> int:
    payload = access_token.split(".")[1]
    claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    name = core.ids.decode(claims["gid"])
    assert name is not None
    return name[1]
