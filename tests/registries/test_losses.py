"""When the DiGA-VZ takes something away: refused at once, ended only on proof, never many without an operator."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from starlette.requests import Request
from starlette.responses import Response

from ddr.demo.registry_faults import faulty
from ddr.demo.registry_state import ListedDiga, RegistryState
from ddr.registries.diga_vz import SOURCE, DigaVz, carry_out
from ddr.registries.losses import Evidence, judged
from ddr.settings import Settings
from ddr.store.registries import losses as lost
from ddr.store.registries import sources as store
from ddr.store.registries.losses import WHOLE, Loss, Use
from tests.registries.conftest import BLOOD_GLUCOSE
from tests.support.clock import Clock

HOUR = 3600
PRESSURE = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-blood-pressure-value"
ONE, TWO = "urn:diga:bfarm:00001", "urn:diga:bfarm:00002"

Pair = Callable[..., Awaitable[UUID]]


@pytest.fixture
def pair(pool: asyncpg.Pool, clock: Clock) -> Pair:
    """Pairs a new patient with a DiGA for kinds of data."""

    async def paired(client_id: str, *valuesets: str) -> UUID:
        patient_id = uuid4()
        number = await pool.fetchval(
            "INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms) VALUES ($1, $2, $3, '', 0)"
            " RETURNING pairing_no",
            patient_id,
            uuid4().hex * 2,
            client_id,
        )
        await pool.executemany(
            "INSERT INTO consent (patient_id, pairing_no, miv_url, granted_ms, until_ms) VALUES ($1, $2, $3, $4, $5)",
            [(patient_id, number, url, clock(), clock() + 365 * 86_400_000) for url in valuesets or (BLOOD_GLUCOSE,)],
        )
        return patient_id

    return paired


@pytest.fixture(autouse=True)
async def nobody_else(pool: asyncpg.Pool, clock: Clock) -> None:
    """The pairings of other tests count as everybody else's: a crowd, so that shares are those of a large recorder."""
    await pool.execute(
        "UPDATE pairing SET ended_ms = 1 WHERE client_id LIKE 'urn:diga:bfarm:0000_' AND ended_ms IS NULL"
    )
    await pool.executemany(
        "INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms) VALUES ($1, $2, 'crowd', '', 0)",
        [(uuid4(), uuid4().hex * 2) for _ in range(40)],
    )


async def alive(pool: asyncpg.Pool, patient_id: UUID) -> bool:
    found: bool = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM pairing WHERE patient_id = $1 AND ended_ms IS NULL)", patient_id
    )
    return found


async def again(vz: DigaVz, clock: Clock, seconds: float = 900) -> None:
    clock.advance(seconds)
    await vz.read_now()
    await vz.step()


def active(vz: DigaVz, client_id: str) -> bool:
    diga = vz.by_client_id(client_id)
    return diga is not None and diga.active


@pytest.mark.requirement("CON-014")
async def test_one_reading_that_lacks_a_diga_ends_nothing(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair
) -> None:
    patient_id = await pair(ONE)
    await vz.start()
    gone = state.digas.pop(0)
    await again(vz, clock)
    assert not active(vz, ONE), "refused at once"
    assert await alive(pool, patient_id)
    state.digas.insert(0, gone)
    await again(vz, clock)
    assert active(vz, ONE) and await alive(pool, patient_id) and await lost.read(pool) == []
    state.digas.pop(0)
    await again(vz, clock)
    assert await alive(pool, patient_id), "what was counted before it came back does not count"
    await again(vz, clock)
    assert not await alive(pool, patient_id), "asked twice, the registry does not know it"


@pytest.mark.requirement("CON-014")
@pytest.mark.parametrize("status", [404, 410])
async def test_a_diga_that_the_registry_says_it_does_not_know_is_unpaired(
    vz: DigaVz,
    state: RegistryState,
    pool: asyncpg.Pool,
    clock: Clock,
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """By a status of HTTP instead of an empty answer."""

    async def answered(state: RegistryState, part: Any, request: Request) -> Response | None:
        asked = "identifier" in request.query_params
        return Response(status_code=status) if asked else await faulty(state, part, request)

    monkeypatch.setattr("ddr.demo.registry.faulty", answered)
    patients = [await pair(ONE), await pair(TWO)]
    await vz.start()
    state.digas.pop(0)
    await again(vz, clock)
    assert [await alive(pool, one) for one in patients] == [True, True]
    await again(vz, clock)
    assert [await alive(pool, one) for one in patients] == [False, True]


@pytest.mark.requirement("CON-014")
async def test_a_lagging_list_ends_nothing_however_long(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair
) -> None:
    patient_id = await pair(ONE)
    await vz.start()
    state.fault, state.fault_on = "partial", "diga"
    for _ in range(12):
        await again(vz, clock, HOUR)
        assert not active(vz, ONE) and active(vz, TWO) and await alive(pool, patient_id)
    state.fault = ""
    await again(vz, clock)
    assert active(vz, ONE)
    state.fault, state.digas[0].status = "partial", "unknown"
    for _ in range(8):
        await again(vz, clock, HOUR)
    assert await alive(pool, patient_id), "asked directly, the registry knows the DiGA, and does not say retired"
    state.digas[0].status = "retired"
    await again(vz, clock)
    assert not await alive(pool, patient_id), "asked directly, the registry says retired"


@pytest.mark.requirement("REG-011")
@pytest.mark.parametrize(
    "part",
    ["client id", "number", "both", "no trust", "certificates", "redirect", "miv", "twice", "unknown", "misspelt"],
)
async def test_a_malformed_entry_ends_nothing(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair, part: str, der: dict[str, bytes]
) -> None:
    patient_id = await pair(ONE)
    await vz.start()
    good, diga = replace(state.digas[0]), state.digas[0]
    match part:
        case "client id":
            diga.client_id = "%%%"
        case "number":
            diga.number = "%%%"
        case "both":
            diga.client_id = diga.number = "%%%"
        case "no trust":
            state.fault, state.fault_on = "malformed", "diga"
        case "certificates":
            diga.certificates = [b"none"]
        case "redirect":
            diga.redirect_uri = "nowhere"
        case "miv":
            diga.mivs = ["%%%"]
        case "twice":
            state.digas.append(replace(diga, status="retired"))
        case "unknown" | "misspelt":
            diga.status = "unknown" if part == "unknown" else "Active "
    for _ in range(12):
        await again(vz, clock, HOUR)
        assert await alive(pool, patient_id) and active(vz, TWO)
    state.fault, state.digas = "", [good, state.digas[1]]
    await again(vz, clock)
    assert active(vz, ONE) and await alive(pool, patient_id)


@pytest.mark.requirement("REG-011")
async def test_a_lost_kind_of_data_is_asked_for_anew(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair
) -> None:
    state.digas[0].mivs = [BLOOD_GLUCOSE, PRESSURE]
    await vz.start()
    patient_id, other = await pair(ONE, BLOOD_GLUCOSE, PRESSURE), await pair(ONE, PRESSURE)
    state.digas[0].mivs = [BLOOD_GLUCOSE]
    await again(vz, clock)
    state.digas[0].mivs = [BLOOD_GLUCOSE, PRESSURE]
    await again(vz, clock)
    rows = await pool.fetch(
        "SELECT miv_url, withdrawn_ms IS NULL AS open, ended_by, end_reason FROM consent WHERE patient_id = $1"
        " ORDER BY consent_no",
        patient_id,
    )
    assert [tuple(row) for row in rows] == [
        (BLOOD_GLUCOSE, True, None, None),
        (PRESSURE, False, "system", "permission-lost"),
    ]
    assert await alive(pool, patient_id) and not await alive(pool, other), "with its last kind of data a pairing ends"
    trail = await pool.fetch("SELECT event, detail FROM audit WHERE patient_id = $1", patient_id)
    assert [tuple(row) for row in trail] == [
        ("system:consent:ended", {"valueset": PRESSURE, "reason": "permission-lost"})
    ]
    (event,) = await store.events(pool, 0, clock() + 1, "consents-ended")
    assert event["detail"] == {"client_id": ONE, "valueset": PRESSURE, "consents": 2}


async def test_what_a_worker_that_was_behind_let_be_agreed_to_ends_with_the_next_reading(
    vz: DigaVz,
    state: RegistryState,
    registry_settings: Settings,
    pool: asyncpg.Pool,
    clock: Clock,
    pair: Pair,
) -> None:
    """Whichever worker does that reading. Else it would come to life when the DiGA-VZ permits it again."""
    state.digas[0].mivs, other_vz = [BLOOD_GLUCOSE, PRESSURE], DigaVz(registry_settings, pool, clock)
    await vz.start()
    await again(other_vz, clock)
    await again(vz, clock)
    state.digas[0].mivs, state.digas[1].status = [BLOOD_GLUCOSE], "retired"
    await again(vz, clock)
    narrowed, retired = await pair(ONE, BLOOD_GLUCOSE, PRESSURE), await pair(TWO)
    await again(other_vz, clock)
    kinds = await pool.fetch("SELECT miv_url FROM consent WHERE patient_id = $1 AND withdrawn_ms IS NULL", narrowed)
    assert [row["miv_url"] for row in kinds] == [BLOOD_GLUCOSE]
    assert await alive(pool, narrowed) and not await alive(pool, retired)


async def test_an_end_that_was_due_happens_although_the_worker_died(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient_id = await pair(ONE)
    await vz.start()
    state.digas[0].mivs = []

    async def dies(*_: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("ddr.registries.diga_vz.carry_out", dies)
        with pytest.raises(OSError):
            await again(vz, clock)
    assert await alive(pool, patient_id)
    state.digas[0].mivs = [BLOOD_GLUCOSE]
    await again(vz, clock)
    assert not await alive(pool, patient_id)


async def test_a_diga_is_refused_before_its_many_pairings_have_ended(
    vz: DigaVz, state: RegistryState, clock: Clock, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair(ONE)
    await vz.start()
    state.digas[0].status = "retired"
    seen = list[bool]()

    async def slow(*_: Any) -> None:
        seen.append(active(vz, ONE))

    monkeypatch.setattr("ddr.registries.diga_vz.carry_out", slow)
    clock.advance(900)
    await vz.read_now()
    assert seen == [False]


@pytest.mark.requirement("CON-014")
async def test_the_end_of_many_waits_for_an_operator(
    vz: DigaVz,
    state: RegistryState,
    pool: asyncpg.Pool,
    clock: Clock,
    pair: Pair,
    diga: ListedDiga,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state.digas += [replace(diga, number=f"0000{n}", client_id="", certificates=[], name=str(n)) for n in range(3, 9)]
    patients = {f"urn:diga:bfarm:0000{n}": await pair(f"urn:diga:bfarm:0000{n}") for n in range(1, 9)}
    await vz.start()
    for one in state.digas[:4]:
        one.status = "retired"
    with caplog.at_level(logging.ERROR):
        await again(vz, clock)
    assert [record.message for record in caplog.records].count("registry.end_held") == 4
    assert [await alive(pool, one) for one in patients.values()] == [True] * 8
    assert not active(vz, ONE), "refused nevertheless"
    assert await lost.held(pool) == 4
    state.digas[3].status = "active"
    for _ in range(3):
        await again(vz, clock, HOUR)
    assert [await alive(pool, one) for one in patients.values()] == [True] * 8, "fewer of them wait on"
    assert await lost.held(pool) == 3
    assert await lost.confirm(pool, ONE) == 1
    await again(vz, clock)
    assert [await alive(pool, one) for one in patients.values()] == [False] + [True] * 7
    assert await lost.confirm(pool, None) == 2
    await again(vz, clock)
    assert [await alive(pool, one) for one in patients.values()] == [False] * 3 + [True] * 5
    assert await lost.held(pool) == 0


@pytest.mark.parametrize("named", [False, True])
async def test_confirming_all_ends_nothing_that_does_not_wait(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair, named: bool
) -> None:
    """Of a DiGA that its list lacks and that the registry knows when asked an end is nobody's to wait for."""
    waits, known = await pair(ONE), await pair(TWO)
    await vz.start()
    async with pool.acquire() as connection, connection.transaction():
        await lost.write(connection, [Loss(ONE, WHOLE, 0, evidence="retired", held_ms=1), Loss(TWO, WHOLE, 0)])
    state.digas[0].status = "retired"
    state.digas.reverse()
    state.fault, state.fault_on = "partial", "diga"
    assert await lost.confirm(pool, None) == 1
    await again(vz, clock)
    assert not await alive(pool, waits) and await alive(pool, known)
    if named:
        assert await lost.confirm(pool, TWO) == 1
        await again(vz, clock)
    assert await alive(pool, known) is not named, "who names it knows better"


async def test_a_crowd_counts_although_it_has_one_app(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair
) -> None:
    total = await pool.fetchval("SELECT count(*) FROM pairing WHERE ended_ms IS NULL")
    patients = [await pair(ONE) for _ in range(max(50, total // 2))]
    await vz.start()
    state.digas[0].status = "retired"
    await again(vz, clock)
    assert await alive(pool, patients[0]) and await lost.held(pool) == 1


async def test_carrying_out_twice_does_no_harm(pool: asyncpg.Pool, empty_store: asyncpg.Pool, clock: Clock) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await lost.write(connection, [Loss(ONE, WHOLE, 0, decided=True), Loss(TWO, WHOLE, 0)])
    await carry_out(pool, clock())
    await carry_out(pool, clock())
    assert [one.client_id for one in await lost.read(pool)] == [TWO]
    assert await store.events(pool, 0, clock() + 1, SOURCE) == []


USE = {ONE: Use(1, frozenset({BLOOD_GLUCOSE})), "crowd": Use(99, frozenset())}


def walk(*said: Evidence, hours: float, certain: bool = True) -> list[bool]:
    """Whether the loss of ONE is decided after each of these readings, `hours` apart."""
    found, losses, now_ms = [], list[Loss](), 0
    for evidence in said:
        losses = judged({(ONE, WHOLE): evidence}, losses, USE, now_ms, certain=certain)
        found.append(losses[0].decided)
        now_ms += int(hours * HOUR * 1000)
    return found


def test_who_was_not_asked_about_is_not_counted() -> None:
    """A list that lacks more DiGA than are asked about in one reading: of some the registry is never asked."""
    assert not any(walk(*[Evidence.NOT_ASKED] * 30, hours=2.5))
    assert walk(*[Evidence.NOT_ASKED] * 30, *[Evidence.UNANSWERED] * 4, hours=2.5)[-2:] == [False, True]


async def test_more_that_are_missing_than_are_asked_about_do_not_end(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.registries.diga_reading.MOST_QUESTIONS", 1)
    state.digas.append(replace(state.digas[0], number="00003", client_id="", certificates=[]))
    patients = [await pair(ONE), await pair(TWO)]
    await vz.start()
    state.fault, state.fault_on, state.missing = "partial", "diga", 2
    for _ in range(12):
        await again(vz, clock, HOUR)
    assert [await alive(pool, one) for one in patients] == [True, True], "asked, the registry would know both"


def test_without_an_answer_only_hours_prove_it() -> None:
    unanswered = [Evidence.UNANSWERED] * 30
    assert walk(*unanswered, hours=2.5) == [False] * 3 + [True] * 27
    assert walk(*unanswered, hours=0.25) == [False] * 24 + [True] * 6
    assert not any(walk(*unanswered, hours=2.5, certain=False)), "an entry that nobody can tell may be the missing one"
    assert not any(walk(*[Evidence.UNKNOWN, Evidence.LISTED] * 20, hours=2.5))
