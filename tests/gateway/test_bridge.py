"""Cloud bridges: many patients in one request, and one patient by account."""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import unicodedata
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.aside import LARGE_ITEMS
from ddr.demo.certs import client_certificate
from ddr.fhir.instants import date_time
from ddr.gateway import bridge_readings, reading_answers, readings
from ddr.gateway.app import create_gateway
from ddr.http import writers
from ddr.http.core import Core
from ddr.registries.certificates import expires_ms, fingerprint
from ddr.series import tail
from ddr.series.packing import HIGH, LOW, encode_values
from ddr.store.gateways import certificates as gateway_certificates
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.gateways.certificates import Facts
from ddr.store.patients import administration, identities
from ddr.store.series import bulk, sensors
from ddr.store.series.sensors import Remembered
from tests.gateway.conftest import CGM, Client, make_client, put_device, put_sensor
from tests.gateway.contract import check_answer
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.proved import proved

PATH = "/bridge/readings"
PERIOD = 300_000
STORED = "SELECT k, start_ms, last_ms, version, filled, status, times, vals FROM chunk WHERE patient_id = $1 ORDER BY k"


def bridge_client(core: Core, der: bytes | None, **headers: str) -> Client:
    """A client with this certificate; every response must be one that the API's description knows."""
    return Client(
        transport=httpx.ASGITransport(proved(create_gateway(core), der)),
        base_url="https://gateway/gateway/v1",
        headers=headers,
        event_hooks={"response": [check_answer]},
    )


@pytest.fixture
async def der(core: Core, tmp_path: Path) -> bytes:
    """A registered certificate."""
    der = client_certificate(tmp_path, "bridge").der
    await gateway_certificates.add(core.pool, der, Facts(fingerprint(der), expires_ms(der)), core.clock())
    return der


@pytest.fixture
async def bridge(core: Core, der: bytes) -> AsyncIterator[Client]:
    """The bridge."""
    async with bridge_client(core, der) as client:
        yield client


class Patient:
    """A patient with a built-in account and a continuous sensor."""

    def __init__(self, core: Core) -> None:
        self.core, self.patient_id, self.account = core, uuid.uuid4(), f"patient-{secrets.token_hex(6)}"

    async def register(self) -> Patient:
        """Make account, device and sensor."""
        pool, now = self.core.pool, self.core.clock()
        await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", self.patient_id)
        await pool.execute("INSERT INTO account VALUES ($1, $2, '', 0)", self.account, self.patient_id)
        self.token = await gateway_tokens.create(pool, self.patient_id, now)
        async with self.phone() as phone:
            assert (await put_device(phone, "cgm", **CGM)).status_code == 201
            assert (await put_sensor(phone, "cgm", "glucose")).status_code == 201
        return self

    def phone(self) -> Client:
        """The patient's own gateway, at a worker of its own."""
        return make_client(replace(self.core, sensors=Remembered()), self.token)

    async def send(self, items: list[Any]) -> dict[str, Any]:
        """Readings sent by the phone."""
        async with self.phone() as phone:
            content = {"unit": "mg/dL", "readings": items}
            for _ in range(50):  # an app sends again
                answer = await phone.post("/devices/cgm/sensors/glucose/readings", json=content)
                if answer.status_code != 503:
                    break
                await asyncio.sleep(0.1)
        found: dict[str, Any] = answer.json()
        return found

    def part(self, items: list[Any], **members: Any) -> dict[str, Any]:
        """Readings sent by the bridge."""
        named = {"account": self.account, "device": "cgm", "sensor": "glucose", "unit": "mg/dL"}
        return named | {"readings": items} | members

    async def stored(self) -> list[tuple[Any, ...]]:
        """The chunks."""
        return [tuple(row) for row in await self.core.pool.fetch(STORED, self.patient_id)]


async def patients(core: Core, count: int) -> list[Patient]:
    return [await Patient(core).register() for _ in range(count)]


def items(until_ms: int, *values: Any) -> list[dict[str, Any]]:
    """One reading per period, the last one at `until_ms`."""
    first = until_ms - (len(values) - 1) * PERIOD
    return [{"time": date_time(first + at * PERIOD), "value": value} for at, value in enumerate(values)]


async def push(bridge: Client, *parts: Any) -> dict[str, Any]:
    """The response to a request that is accepted."""
    answer = await bridge.post(PATH, json={"patients": parts})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_the_record_is_that_of_single_uploads(bridge: Client, core: Core, clock: Clock) -> None:
    """Appends, late readings, repetitions, two readings for a slot, a full chunk, and values that are refused."""
    pushed, single = await Patient(core).register(), await Patient(core).register()
    now = clock()
    uploads = [
        items(now, *range(100, 103)),
        items(now + 3 * PERIOD, 101, "L", 103),
        items(now + 3 * PERIOD, 101, "L", 103),
        items(now + 3 * PERIOD - 1000, 109),
        items(now - 80 * PERIOD, *range(50, 60)),
        [*items(now + 6 * PERIOD, 105, "x", 107), {"time": "?"}, *items(now + 6 * PERIOD, 107)],
        items(now + 400 * PERIOD, *range(60, 400)),
        items(now + 412 * PERIOD, *range(100, 112)),
        [],
    ]
    for upload in uploads:
        clock.advance(max(0, 40 * PERIOD) / 1000)
        answer = await push(bridge, pushed.part(upload))
        assert answer["patients"] == [await single.send(upload)]
        assert await pushed.stored() == await single.stored()


async def test_a_part_that_cannot_be_taken_is_refused_alone(
    bridge: Client, core: Core, clock: Clock, stranger: Client
) -> None:
    one, other = await patients(core, 2)
    async with other.phone() as phone:
        await put_device(phone, "meter")
        await put_sensor(phone, "meter", "glucose", code="2339-0", samplingPeriodMs=None)
    good = items(clock(), 100, 101)
    bad = [
        (one.part(good, account="nobody"), "unknown-account"),
        (one.part(good, sensor="other"), "not-found"),
        (one.part(good, device="meter"), "not-found"),
        (other.part(good, device="meter"), "not-continuous"),
        (one.part(good, account=5), "invalid"),
        (one.part(good, account="a\u0000b"), "invalid"),
        (one.part(good, device="a/b"), "invalid-key"),
        (one.part(good, upload="key"), "unknown-member"),
        (one.part(5), "invalid"),  # type: ignore[arg-type]
        ("x", "invalid"),
    ]
    answer = await push(bridge, *(part for part, _ in bad), one.part(good), other.part([*good, "x"]))
    assert [part.get("reason") for part in answer["patients"]] == [reason for _, reason in bad] + [None, None]
    assert (answer["accepted"], answer["rejected"], answer["refused"]) == (4, 1, len(bad))


@one_server_only
async def test_many_patients_are_appended_by_one_statement(bridge: Client, core: Core, clock: Clock) -> None:
    everybody = await patients(core, 6)
    first = await push(bridge, *(one.part(items(clock(), 100)) for one in everybody))
    clock.advance(900)
    again = await push(bridge, *(one.part(items(clock(), 101, 102, 103)) for one in everybody))
    assert (first["accepted"], again["accepted"]) == (6, 18)
    written = await core.pool.fetch(
        "SELECT DISTINCT xmin::text FROM chunk WHERE filled > 0 AND patient_id = ANY($1::uuid[])",
        [one.patient_id for one in everybody],
    )
    assert len(written) == 1
    heard = "SELECT min(heard_ms) FROM device WHERE patient_id = ANY($1::uuid[])"
    assert await core.pool.fetchval(heard, [one.patient_id for one in everybody]) == clock()


@one_server_only
async def test_many_small_parts_are_worked_on_beside_the_event_loop(
    bridge: Client, core: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together they are as large as one large upload, and would give nobody else a turn between them."""
    everybody = await patients(core, 3)
    await push(bridge, *(one.part(items(clock(), 100)) for one in everybody))
    at_work: dict[str, set[bool]] = {"read": set(), "planned": set(), "answered": set()}

    def noted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any) -> Any:
            at_work[name].add(threading.current_thread() is threading.main_thread())
            return work(*given)

        return watched

    for name, module, work in (
        ("read", bridge_readings, readings.read),
        ("planned", bulk, tail.extended),
        ("answered", bridge_readings, reading_answers.answered),
    ):
        monkeypatch.setattr(module, work.__name__, noted(name, work))
    for count, on_the_loop in ((LARGE_ITEMS // 3, True), (LARGE_ITEMS // 3 + 1, False)):
        for found in at_work.values():
            found.clear()
        clock.advance(count * PERIOD / 1000)
        answer = await push(bridge, *(one.part(items(clock(), *[100] * count)) for one in everybody))
        assert answer["accepted"] == 3 * count
        assert at_work == {name: {on_the_loop} for name in at_work}


async def test_a_sensor_twice_in_one_request(bridge: Client, core: Core, clock: Clock) -> None:
    one = await Patient(core).register()
    await push(bridge, one.part(items(clock(), 100)))
    clock.advance(3000)
    early, late = items(clock() - 5 * PERIOD, 101, 102), items(clock(), 103, 104)
    answer = await push(bridge, one.part(early), one.part(late), one.part(early))
    assert [(part["accepted"], part["duplicate"]) for part in answer["patients"]] == [(2, 0), (2, 0), (0, 2)]


async def test_a_sensor_in_several_slices_of_a_request(
    bridge: Client, core: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_readings, "SLICE", 1)
    one = await Patient(core).register()
    await push(bridge, one.part(items(clock(), 100)))
    clock.advance(3000)
    uploads = [items(clock() - at * PERIOD, 104 - at, 105 - at) for at in (0, 1, 2, 3, 0)]
    answer = await push(bridge, *(one.part(upload) for upload in uploads))
    assert (answer["accepted"], answer["duplicate"]) == (5, 5)
    assert (await one.stored())[-1][7] == encode_values([100, 101, 102, 103, 104, 105])


@pytest.mark.parametrize("count", [1, LARGE_ITEMS])
async def test_limits_that_a_phone_adds_meanwhile_hold_for_the_readings_of_a_bridge(
    bridge: Client, core: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Many readings are judged again outside of the event loop, as they were the first time."""
    one = await Patient(core).register()
    load_all, on_the_loop = sensors.load_all, list[bool]()

    def watched(*given: Any) -> Any:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return readings.read(*given)

    async def then_limited(*args: Any) -> Any:
        found = await load_all(*args)
        async with one.phone() as phone:
            await put_sensor(phone, "cgm", "glucose", limits={"lower": 40, "upper": 400})
        return found

    monkeypatch.setattr(sensors, "load_all", then_limited)
    monkeypatch.setattr(bridge_readings, "read", watched)
    clock.advance(count * PERIOD / 1000)
    (answer,) = (await push(bridge, one.part(items(clock(), *[100] * count, 39, 450))))["patients"]
    assert [item.get("stored") for item in answer["items"]] == [*[None] * count, "L", "U"]
    assert (await one.stored())[-1][7].endswith(encode_values([100, LOW, HIGH]))
    assert on_the_loop == [count == 1] * 2


async def test_bridges_and_phones_at_once_lose_nothing(
    core: Core, der: bytes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bridges, with the patients in different orders, and all patients' phones send the same readings."""
    monkeypatch.setattr(bridge_readings, "SLICE", 3)
    everybody = await patients(core, 8)
    readings = items(clock(), *range(100, 220))
    shuffled = random.Random(1)

    async def by_bridge(step: int) -> int:
        accepted = 0
        async with bridge_client(replace(core, sensors=Remembered()), der) as client:
            for at in range(0, len(readings), step):
                order = shuffled.sample(everybody, len(everybody))
                accepted += (await push(client, *(one.part(readings[at : at + step]) for one in order)))["accepted"]
        return accepted

    async def by_phone(one: Patient) -> int:
        return sum([(await one.send(readings[at : at + 7]))["accepted"] for at in range(0, len(readings), 7)])

    accepted = await asyncio.gather(by_bridge(5), by_bridge(4), *(by_phone(one) for one in everybody))
    assert sum(accepted) == len(readings) * len(everybody)
    alone = await Patient(core).register()
    await alone.send(readings)
    assert {chunk[6:] for one in everybody for chunk in await one.stored()} == {
        chunk[6:] for chunk in await alone.stored()
    }


@one_server_only
async def test_a_chunk_that_is_being_written_is_waited_for_in_the_end(bridge: Client, core: Core, clock: Clock) -> None:
    one, other = await patients(core, 2)
    await push(bridge, one.part(items(clock(), 100)), other.part(items(clock(), 100)))
    clock.advance(300)
    async with core.pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM chunk WHERE patient_id = $1 FOR UPDATE", one.patient_id)
        pushing = asyncio.create_task(push(bridge, *(who.part(items(clock(), 101)) for who in (one, other))))
        while len((await other.stored())[-1][7]) < 4:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
        assert not pushing.done()
    assert (await pushing)["accepted"] == 2


@one_server_only
async def test_writers_of_one_patient_leave_connections_to_others(
    core: Core, der: bytes, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bridges that have the patient in several parts of their requests, and an app."""
    monkeypatch.setattr(bridge_readings, "SLICE", 1)
    second = client_certificate(tmp_path / "second", "bridge").der
    await gateway_certificates.add(core.pool, second, Facts(fingerprint(second), expires_ms(second)), core.clock())
    one, other = await patients(core, 2)
    for patient in (one, other):
        await patient.send(items(clock(), 100))
    clock.advance(300)
    parts = [one.part(items(clock(), 100 + at)) for at in range(4)]
    locks = await asyncpg.connect(core.settings.database_url)
    waiting = """SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                  WHERE NOT l.granted AND a.datname = current_database()"""
    async with bridge_client(core, der) as first, bridge_client(core, second) as another, one.phone() as phone:
        transaction = locks.transaction()
        await transaction.start()
        await locks.execute("SELECT FROM patient WHERE patient_id = $1 FOR UPDATE", one.patient_id)
        reading = {"unit": "mg/dL", "readings": items(clock(), 109)}
        asked = [bridge.post(PATH, json={"patients": parts}) for bridge in (first, another) for _ in range(2)]
        asked += [phone.post("/devices/cgm/sensors/glucose/readings", json=reading) for _ in range(2)]
        pushing, most = [asyncio.create_task(one) for one in asked], 0
        while not all(task.done() for task in pushing):
            most = max(most, await locks.fetchval(waiting))
            await asyncio.sleep(0.01)
        assert {task.result().status_code for task in pushing} <= {200, 503}
        await transaction.rollback()
        assert (await other.send(items(clock(), 101)))["accepted"] == 1
    await locks.close()
    assert 0 < most <= writers.MOST, f"of {core.settings.database_pool_size} connections"


@pytest.mark.parametrize("body", [[], {}, {"patients": 5}, {"patients": [], "unit": "mg/dL"}])
async def test_a_malformed_request_is_refused_as_a_whole(bridge: Client, body: Any) -> None:
    assert (await bridge.post(PATH, json=body)).status_code == 422


async def test_nothing_is_nothing(bridge: Client) -> None:
    assert await push(bridge) == {"accepted": 0, "duplicate": 0, "rejected": 0, "refused": 0, "patients": []}


async def test_a_request_has_limits(bridge: Client, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    part = {"account": "a", "device": "d", "sensor": "s", "readings": [1] * (core.settings.gateway_max_items // 2 + 1)}
    assert (await bridge.post(PATH, json={"patients": [part, part]})).status_code == 413
    monkeypatch.setattr(bridge_readings, "MOST_PARTS", 2)
    assert (await bridge.post(PATH, json={"patients": [{}] * 3})).status_code == 413


async def test_only_a_registered_certificate_will_do(core: Core, token: str) -> None:
    bearer = {"authorization": f"Bearer {token}"}
    for der in (None, b"unknown"):
        async with bridge_client(core, der, **bearer) as client:
            answer = await client.post(PATH, json={"patients": []})
            assert (answer.status_code, answer.json()["code"]) == (403, "not-a-bridge")
            assert (await client.get("/devices")).status_code == 200
            named = await client.get("/devices", headers={"patient-account": "a"})
            assert (named.status_code, "Patient-Account needs" in named.json()["detail"]) == (401, True)


async def test_a_revoked_certificate_is_refused_at_once_and_for_ever(core: Core, bridge: Client, der: bytes) -> None:
    await push(bridge)
    assert await gateway_certificates.revoke(core.pool, fingerprint(der), core.clock())
    assert (await bridge.post(PATH, json={"patients": []})).status_code == 403
    assert not await gateway_certificates.revoke(core.pool, fingerprint(der), core.clock())
    with pytest.raises(gateway_certificates.AlreadyKnown):
        await gateway_certificates.add(core.pool, der, Facts("another name", expires_ms(der)), core.clock())


async def test_a_certificate_opens_nothing_once_it_has_expired(bridge: Client, der: bytes, clock: Clock) -> None:
    """The certificate comes on an older connection, or through a proxy that does not check it."""
    clock.ms = expires_ms(der) - 1
    assert (await bridge.post(PATH, json={"patients": []})).status_code == 200
    clock.ms += 1
    answer = await bridge.post(PATH, json={"patients": []})
    assert (answer.status_code, answer.json()["code"]) == (403, "not-a-bridge")
    assert (await bridge.get("/devices", headers={"patient-account": "a"})).status_code == 401


async def test_a_bridge_uses_every_operation_for_one_patient(core: Core, der: bytes, clock: Clock) -> None:
    one = await Patient(core).register()
    async with bridge_client(core, der, **{"patient-account": one.account}) as client:
        assert [device["key"] for device in (await client.get("/devices")).json()["devices"]] == ["cgm"]
        assert (await put_sensor(client, "cgm", "second")).status_code == 201
    async with bridge_client(core, der, **{"patient-account": "nobody"}) as client:
        for answer in (await client.get("/devices"), await put_device(client, "cgm", **CGM)):
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown-account")


async def test_users_of_the_provider_are_named_by_their_subject(oidc_core: Core, der: bytes) -> None:
    core, subject = oidc_core, f"subject-{secrets.token_hex(6)}"
    part = {"account": subject, "device": "cgm", "sensor": "glucose", "unit": "mg/dL"}
    async with bridge_client(core, der, **{"patient-account": subject}) as client:
        assert (await client.get("/devices")).status_code == 404
        assert (await push(client, part | {"readings": []}))["refused"] == 1
        assert (await put_device(client, "cgm", **CGM)).status_code == 201
        assert (await put_sensor(client, "cgm", "glucose")).status_code == 201
        assert (await push(client, part | {"readings": items(core.clock(), 100)}))["accepted"] == 1
    assert core.identity is not None
    patient_id = await identities.find(core.pool, core.identity.issuer, subject)
    assert await core.pool.fetchval("SELECT count(*) FROM chunk WHERE patient_id = $1 AND filled > 0", patient_id) == 1


async def test_a_repeated_request_of_a_bridge_gets_its_answer_again(bridge: Client, core: Core, clock: Clock) -> None:
    crowd = await patients(core, 3)
    content = {"patients": [one.part(items(clock(), 101, 102, 103)) for one in crowd]}
    key = {"idempotency-key": "night"}
    first, again = [await bridge.post(PATH, json=content, headers=key) for _ in range(2)]
    assert first.json()["accepted"] == 9
    assert again.content == first.content
    assert (await bridge.post(PATH, json=content)).json()["duplicate"] == 9
    other = await bridge.post(PATH, json={"patients": []}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "repeated-key")


async def test_a_locked_patient_keeps_no_other_waiting(bridge: Client, core: Core, clock: Clock) -> None:
    locked, other = await patients(core, 2)
    for one in (locked, other):
        await push(bridge, one.part(items(clock(), 101)))
    late = [one.part(items(clock() - 5 * PERIOD, 107)) for one in (locked, locked, other)]
    async with core.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM sensor WHERE patient_id = $1 FOR UPDATE", locked.patient_id)
        answer = await push(bridge, *late)
    assert [part.get("reason") for part in answer["patients"]] == ["busy", "busy", None]
    assert (await push(bridge, *late))["accepted"] == 1


async def test_a_disabled_account_is_unknown_to_bridges(bridge: Client, core: Core, der: bytes, clock: Clock) -> None:
    """In a request for it alone, and in one for many patients, where it harms no other part."""
    resting, other = await patients(core, 2)
    assert await administration.disable(core.pool, resting.patient_id, clock())
    found = await push(bridge, resting.part(items(clock(), 100)), other.part(items(clock(), 100)))
    assert [part.get("reason") for part in found["patients"]] == ["unknown-account", None]
    async with bridge_client(core, der, **{"patient-account": resting.account}) as client:
        assert (await client.get("/devices")).status_code == 404
        await administration.enable(core.pool, resting.patient_id)
        assert (await client.get("/devices")).status_code == 200


async def test_every_spelling_names_the_account_that_logs_in_with_it(bridge: Client, core: Core, clock: Clock) -> None:
    patient = Patient(core)
    patient.account = f"jörg-{patient.account}"
    await patient.register()
    decomposed = unicodedata.normalize("NFD", patient.account)
    found = await push(bridge, patient.part(items(clock(), 100), account=decomposed))
    assert found["patients"][0]["accepted"] == 1


async def test_of_two_accounts_none_is_meant(bridge: Client, core: Core, clock: Clock) -> None:
    """Whichever account the recorder used, a proxy or a log could mean the other patient."""
    one, other = await patients(core, 2)
    path, body = "/devices/cgm/sensors/glucose/readings", {"unit": "mg/dL", "readings": items(clock(), 100)}
    named = [("patient-account", one.account), ("patient-account", other.account)]
    answer = await bridge.post(path, json=body, headers=named)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-account")
    assert [await patient.stored() for patient in (one, other)] == [[], []]
    answer = await bridge.post(
        path, json=body, headers=[*named[:1], ("idempotency-key", "a"), ("idempotency-key", "b")]
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-key")
    tokens = [("authorization", f"Bearer {patient.token}") for patient in (one, other)]
    async with make_client(core, None) as phone:
        assert (await phone.get("/devices", headers=tokens)).status_code == 401
