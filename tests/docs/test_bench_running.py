"""The recorder accepts the bench's made-up trail as its own, and the bench's clients are a separate process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from ddr.fhir.instants import date_time, parse_instant
from ddr.operations.audit_trail import seal
from ddr.operations.audit_verifying import verify
from ddr.settings import MivSettings, Settings
from ddr.store.audit import patients
from ddr.store.audit.trail import Event, record
from ddr.store.database.pool import open_pool
from tests.bench.audit import OFTEN
from tests.bench.clients import Client, Order, clients_of
from tests.bench.trail import POLLS, Pairing, entries_of, write
from tests.spec.world import CGM, DAY, HOUR, Home
from tests.support.audit import pack_all
from tests.support.database import migrated_database
from tests.support.day import today
from tests.support.received import received
from tests.support.recorder import recorder

AT_ANY_TIME = MivSettings(0, 30, 900)  # without a Grace-Period


@pytest.fixture
async def empty(settings: Settings, database_url: str) -> AsyncIterator[Settings]:
    """Settings with a database of its own."""
    async with migrated_database(database_url) as url:
        yield replace(settings, database_url=url)


@pytest.fixture
async def trail(empty: Settings) -> AsyncIterator[asyncpg.Pool]:
    async with await open_pool(empty) as pool:
        yield pool


async def test_a_trail_of_the_past_goes_on_with_what_is_written(trail: asyncpg.Pool) -> None:
    often, other = (Pairing(uuid4(), "urn:diga:bfarm:00001", f"{at:064x}") for at in range(2))
    count = entries_of(2, 3) + OFTEN - POLLS
    await trail.execute("SELECT setval('audit_audit_no_seq', $1)", count)
    made = await write(trail, [often._replace(polls=OFTEN), other], today() - 4, 3)
    assert made.entries == count and len(made.first_seals) == 3
    whole, end = await verify(trail), await verify(trail, from_seal=made.first_seals[-1])
    assert (whole.faults, whole.entries, whole.unsealed) == ((), count, 0)
    assert (end.faults, end.entries, end.head) == ((), OFTEN + POLLS, whole.head)
    page = await patients.before(trail, often.patient_id, patients.NEWEST, 501)
    assert len(page) == 501 and {row["day"] for row in page} == {today() - 2}
    assert {row["pairing_id"] for row in page} == {often.pairing_id}
    assert len(await patients.before(trail, other.patient_id, patients.NEWEST, 501)) == 3 * POLLS
    await record(trail, Event.DATA_READ, today() * 86_400_000, patient_id=other.patient_id)
    await seal(trail, today() * 86_400_000)
    assert await pack_all(trail) == 1
    again = await verify(trail, whole.head)
    assert (again.faults, again.entries) == ((), count + 1)


async def test_clients_of_their_own_process_read_and_poll(empty: Settings, tmp_path: Path) -> None:
    async with await open_pool(empty) as pool, recorder(pool, empty, tmp_path, received, {CGM: AT_ANY_TIME}) as ddr:
        patient, diga = await ddr.patient(), await ddr.diga(CGM)
        home = Home(ddr, patient)
        await home.device("cgm")
        await home.cgm("cgm", ddr.clock() - DAY)
        reading = {"time": date_time(ddr.clock() - HOUR), "value": 111}
        sent = await patient.gateway.post(
            "devices/cgm/sensors/s/readings", json={"unit": "mg/dL", "readings": [reading]}
        )
        assert sent.json()["accepted"] == 1
        tokens = await ddr.pair(diga, patient)
        newest = (await diga.client.search(tokens, "Observation", {"_sort": "-date", "_count": "1"}))[0]
        port = urlsplit(ddr.settings.diga_base_url).port or 0
        own = diga.certificate
        client = Client(tokens, newest["id"], parse_instant(newest["meta"]["lastUpdated"]))
        order = Order(
            *(ddr.settings.diga_base_url, [(port, 1)], str(ddr.authority.cert), str(own.cert), str(own.key)),
            *(diga.entry.client_id, [client]),
        )
        async with clients_of(order) as asked:
            read = await asked("read", port)(0)
            polls = [await asked("poll", port)(0) for _ in range(2)]
        assert read.requests == 1 and read.size > 500
        assert [poll.requests for poll in polls] == [1, 1], "the second has the refresh token of the first"
