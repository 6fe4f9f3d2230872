"""Admission of several requests by one statement: the results are as one by one, and no request waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.store.audit.trail import Event
from ddr.store.authorization import admissions
from ddr.store.authorization.access import Admission, Permit, Request, admit
from ddr.store.authorization.admissions import admit_all, admit_together
from ddr.store.database.pool import open_pool
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, GLUCOSE, MINUTE, PRESSURE, Backend, Body
from tests.support.citus import not_over_servers, one_server_only
from tests.support.clock import Clock
from tests.support.company import company
from tests.support.counting import counted

PERIOD_MS = 15 * MINUTE
WAIT_SECONDS = 60
LIVING, LEFT = "//9999999999999", "//1"  # claims that may be answered, and claims that may not

# States of a pairing; the first lines are usual, the last ones rare.
STATES = {
    "free": "UPDATE grace SET answered = jsonb_build_object($3::text, $4::bigint - 1000000) WHERE {it}",
    "runs": "UPDATE grace SET answered = jsonb_build_object($3::text, $4::bigint - 1000) WHERE {it}",
    "ends now": f"UPDATE grace SET answered = jsonb_build_object($3::text, $4::bigint - {PERIOD_MS}) WHERE {{it}}",
    "read long ago": "UPDATE grace SET read_ms = $4::bigint - 600000 WHERE {it} AND $3 <> ''",
    "read later": "UPDATE grace SET read_ms = $4::bigint + 600000 WHERE {it} AND $3 <> ''",
    "never read": "DELETE FROM grace WHERE {it} AND $3 <> '' AND $4::bigint > 0",
    "answered later": "UPDATE grace SET answered = jsonb_build_object($3::text, $4::bigint + 5000) WHERE {it}",
    "being answered": "UPDATE grace SET answered = jsonb_build_object($3::text, $4::bigint - 1000),"
    f" pending = jsonb_build_object($3::text, '{LIVING}') WHERE {{it}}",
    "left": "UPDATE grace SET answered = jsonb_build_object($3::text, $4::bigint - 1000),"
    f" pending = jsonb_build_object($3::text, '{LEFT}') WHERE {{it}}",
    "withdrawn": "UPDATE consent SET withdrawn_ms = $4::bigint - 1 WHERE {it} AND miv_url = $3",
    "nothing left": "UPDATE consent SET withdrawn_ms = $4::bigint - 1 WHERE {it} AND $3 <> ''",
    "ran out": "UPDATE consent SET until_ms = $4::bigint WHERE {it} AND miv_url = $3",
    "ended": "UPDATE pairing SET ended_ms = $4::bigint - 1 WHERE {it} AND $3 <> ''",
    "revoked": "UPDATE token_grant SET revoked_ms = $4::bigint - 1 WHERE {it} AND $3 <> ''",
}


@dataclass(frozen=True)
class Party:
    """Pairings of one DiGA with patients of their own."""

    core: Core
    pairings: Sequence[Backend]
    valuesets: Sequence[str]

    def request(self, one: Backend, counted: Sequence[str] = (), **changes: Any) -> Request:
        """A request for everything, which claims the periods of what is `counted`."""
        permits = [Permit(url, PERIOD_MS if url in counted else None) for url in self.valuesets]
        now_ms = self.core.clock()
        found = Request(one.pairing_id, one.grant_no, one.diga.client_id, permits, {}, now_ms, now_ms)
        return replace(found, **changes)


Make = Any


@pytest.fixture
def party(core: Core, pair: Pair) -> Make:
    """A function that pairs a new DiGA with this many new patients, or with these, each of whom it has read once."""

    async def make(number: int, patient_ids: Sequence[UUID] = ()) -> Party:
        bodies = [Body(core, one) for one in patient_ids] or [Body(core) for _ in range(number)]
        first = await pair(CGM, GLUCOSE, PRESSURE, of=bodies[0])
        valuesets = [Body(core).miv(name).valueset for name in (CGM, GLUCOSE, PRESSURE)]
        pairings = [first]
        for body in bodies[1:]:
            other = Backend(core, first.diga, first.certificate, body.patient_id)
            pairings.append(await other.pair(valuesets))
            other.client = first.client  # one application, as in a worker
        found = Party(core, pairings, valuesets)
        for one in pairings:
            await admit(core.pool, found.request(one))
        return found

    return make


async def put(conn: asyncpg.Connection, one: Backend, state: str, url: str, now_ms: int) -> None:
    """Bring a pairing into this state."""
    await conn.execute(
        STATES[state].format(it="patient_id = $1 AND pairing_no = $2"), one.patient_id, one.pairing_no, url, now_ms
    )


async def answered(crowd: Party) -> None:
    """All claims have been answered and confirmed."""
    patient_ids = [one.patient_id for one in crowd.pairings]
    await crowd.core.pool.execute("UPDATE grace SET pending = '{}' WHERE patient_id = ANY($1::uuid[])", patient_ids)


async def left_behind(conn: asyncpg.Connection, patient_ids: Sequence[UUID]) -> list[Any]:
    """What admissions write, without the times of the database's clock."""
    rows = await conn.fetch(
        "SELECT patient_id, pairing_no, answered, read_ms, ARRAY(SELECT jsonb_object_keys(pending) ORDER BY 1)"
        " FROM grace WHERE patient_id = ANY($1::uuid[]) ORDER BY 1, 2",
        patient_ids,
    )
    stamps = await conn.fetch(
        "SELECT patient_id, stamp_ms FROM patient WHERE patient_id = ANY($1::uuid[]) ORDER BY 1", patient_ids
    )
    return [tuple(row) for row in (*rows, *stamps)]


@asynccontextmanager
async def undone(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that is rolled back."""
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(
            "SET CONSTRAINTS ALL IMMEDIATE"
        )  # rows gathered at the end of a transaction are gathered at once here
        try:
            yield conn
        finally:
            await transaction.rollback()


@not_over_servers
@pytest.mark.parametrize("claims", [False, True], ids=["look", "claim"])
async def test_together_is_as_one_by_one(party: Make, clock: Clock, claims: bool) -> None:
    """Each patient is paired with two DiGA, so that the state of one pairing differs from that of the other."""
    random = Random(7 + claims)
    half: Party = await party(len(STATES))
    other: Party = await party(len(STATES), [one.patient_id for one in half.pairings])
    crowd = replace(half, pairings=[*half.pairings, *other.pairings])
    clock.advance(300)
    asked = []
    for one in crowd.pairings:
        counted = random.sample(crowd.valuesets, random.randint(1, 3)) if claims else []
        changes: dict[str, Any] = random.choice([{}, {}, {}, {"client_id": "x"}, {"grant_no": 0}, {"pairing_id": "x"}])
        some = [Permit("https://not-consented.example", PERIOD_MS if claims else None)]
        request = crowd.request(one, counted, **changes)
        asked.append(replace(request, permits=[*request.permits, *some] if random.random() < 0.2 else request.permits))
        if not claims and random.random() < 0.3:  # another request of the same pairing
            asked.append(replace(request, permits=request.permits[:1]))
    if not claims:
        random.shuffle(asked)
    patient_ids = [one.patient_id for one in crowd.pairings]
    refused, together = 0, 0
    for _ in range(3):
        states = [*STATES, *STATES]
        random.shuffle(states)
        url = random.choice(crowd.valuesets)
        found = []
        for several in (False, True):
            async with undone(crowd.core.pool) as conn:
                for one, state in zip(crowd.pairings, states, strict=True):
                    await put(conn, one, state, url, clock())
                said: list[Admission | None] = [None] * len(asked)
                if several:
                    said = list(await admit_all(conn, asked, claims=claims))
                    together += sum(one is not None for one in said)
                said = [one or await admit(conn, request) for one, request in zip(said, asked, strict=True)]
                found.append((said, await left_behind(conn, patient_ids)))
                refused += sum(one.entry.event == Event.DATA_REFUSED for one in said if one)
        (alone, then), (shared, after) = found
        for request, by_itself, with_others in zip(asked, alone, shared, strict=True):
            assert by_itself == with_others, request
        assert then == after
    assert refused
    assert together, "what stands"


@not_over_servers
async def test_usual_requests_all_go_together(party: Make, clock: Clock) -> None:
    crowd: Party = await party(6)
    for claims in (False, True):
        counted = crowd.valuesets if claims else []
        requests = [crowd.request(one, counted) for one in crowd.pairings]
        for after in (0, 300, 900):  # the periods have ended and run again
            clock.advance(after)
            requests = [replace(one, now_ms=clock(), steered_ms=clock()) for one in requests]
            assert None not in await admit_all(crowd.core.pool, requests, claims=claims)
            await answered(crowd)


@not_over_servers
async def test_who_finds_a_row_locked_goes_alone_and_nobody_waits(party: Make, clock: Clock) -> None:
    crowd: Party = await party(3)
    clock.advance(1000)
    requests = [crowd.request(one, crowd.valuesets[:1]) for one in crowd.pairings]
    pool = crowd.core.pool
    async with undone(pool) as holder, asyncio.timeout(WAIT_SECONDS):
        await holder.execute("SELECT FROM grace WHERE patient_id = $1 FOR UPDATE", crowd.pairings[1].patient_id)
        await holder.execute("SELECT FROM patient WHERE patient_id = $1 FOR UPDATE", crowd.pairings[0].patient_id)
        found = await admit_all(pool, requests, claims=True)
        looked = await admit_all(pool, [crowd.request(one) for one in crowd.pairings], claims=False)
    assert [one and len(one.claimed) for one in found] == [1, None, 1]
    assert [one is None for one in looked] == [False, True, False]


@not_over_servers
async def test_the_period_of_one_diga_holds_up_no_other_of_the_same_patient(party: Make, clock: Clock) -> None:
    one: Party = await party(2)
    two: Party = await party(2, [each.patient_id for each in one.pairings])
    pool, kinds = one.core.pool, one.valuesets
    for first, second in ((one, two), (two, one)):
        clock.advance(1000)
        own = [first.request(each, kinds) for each in first.pairings]
        others = [second.request(each, kinds) for each in second.pairings]
        assert [each and len(each.claimed) for each in await admit_all(pool, own, claims=True)] == [3, 3]
        await answered(one)
        found = await admit_all(pool, [*own, *others], claims=True)
        assert [each and len(each.claimed) for each in found] == [0, 0, 3, 3]
        await answered(one)


@not_over_servers
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    "why",
    ["withdrawn", "ran out", "ended", "revoked", "another client", "another's grant", "other consents"],
)
async def test_each_thing_that_does_not_stand_refuses_and_claims_nothing(
    party: Make, clock: Clock, why: str, together: bool
) -> None:
    one: Party = await party(1)
    two: Party = await party(1, [each.patient_id for each in one.pairings])
    (own,), (other,) = one.pairings, two.pairings
    pool, url = one.core.pool, one.valuesets[0]
    clock.advance(1000)
    grant_no = await pool.fetchval(
        "INSERT INTO token_grant (patient_id, pairing_no, scope, created_ms, consent_nos) VALUES ($1, $2, '', 1, '{}')"
        " RETURNING grant_no",
        own.patient_id,
        own.pairing_no,
    )
    changes: dict[str, dict[str, Any]] = {
        "another client": {"client_id": other.diga.client_id},
        "another's grant": {"grant_no": other.grant_no, "client_id": other.diga.client_id},
        "other consents": {"grant_no": grant_no},
    }
    if why in STATES:
        await put(pool, own, why, url, clock())
    request = one.request(own, permits=[Permit(url, PERIOD_MS)], **changes.get(why, {}))
    before = await left_behind(pool, [own.patient_id])
    (said,) = await admit_all(pool, [request], claims=True) if together else [None]
    found = said or await admit(pool, request)
    assert found.standing is None or url not in found.standing.consents
    assert (found.claimed, found.entry.event) == ((), Event.DATA_REFUSED)
    assert await left_behind(pool, [own.patient_id]) == before
    assert (await admit(pool, two.request(other, permits=[Permit(url, PERIOD_MS)]))).claimed == (url,)


async def test_a_clock_that_was_set_back_begins_the_period_of_who_asks_and_of_no_other(
    party: Make, clock: Clock
) -> None:
    one: Party = await party(1)
    two: Party = await party(1, [each.patient_id for each in one.pairings])
    (own,), (other,) = one.pairings, two.pairings
    for crowd in (one, two):
        (each,) = crowd.pairings
        assert len((await admit(one.core.pool, crowd.request(each, crowd.valuesets))).claimed) == 3
    await answered(one)
    then = clock()
    clock.advance(-60)
    assert (await admit(one.core.pool, one.request(own, one.valuesets))).claimed == ()
    rows = await one.core.pool.fetch("SELECT pairing_no, answered FROM grace WHERE patient_id = $1", own.patient_id)
    assert {row["pairing_no"]: set(row["answered"].values()) for row in rows} == {
        own.pairing_no: {clock()},
        other.pairing_no: {then},
    }


async def test_two_workers_with_the_same_pairings_never_wait_for_each_other(party: Make, clock: Clock) -> None:
    """Every request is answered, and of two requests for one pairing one falls into the other's period."""
    crowd: Party = await party(8)

    async def lost(request: Request, admission: Admission) -> None:
        raise AssertionError

    async with await open_pool(crowd.core.settings, size=2) as second:
        for _ in range(4):
            clock.advance(1000)
            requests = [crowd.request(one, crowd.valuesets) for one in crowd.pairings]
            asked = [
                *(admit_together(crowd.core.pool, one, lost) for one in requests),
                *(admit_together(second, one, lost) for one in requests[::-1]),
            ]
            found = await asyncio.gather(*asked)
            for at, one in enumerate(found[: len(requests)]):
                assert sorted([len(one.claimed), len(found[-1 - at].claimed)]) == [0, 3]


async def test_first_requests_at_once_do_not_wait_for_each_other_in_a_circle(party: Make, clock: Clock) -> None:
    """Requests with and without a claim lock the rows that they note about a pairing in the same order."""
    crowd: Party = await party(8)
    pool = crowd.core.pool
    clock.advance(1000)
    for one in crowd.pairings:
        await put(pool, one, "never read", crowd.valuesets[0], clock())
    claims: list[Sequence[str]] = [[], crowd.valuesets, crowd.valuesets[:1], []]
    asked = [admit(pool, crowd.request(one, some)) for one in crowd.pairings for some in claims]
    found = await asyncio.gather(*asked)  # raises DeadlockDetectedError
    assert sum(bool(one.claimed) for one in found) == len(crowd.pairings)


async def test_first_requests_at_once_note_each_kind_once(body: Body, pair: Pair) -> None:
    """And nothing is noted for resource types, which are visible from the start."""
    diga, core = await pair(CGM, GLUCOSE, PRESSURE), body.core
    answers = await asyncio.gather(*(diga.get(path) for path in ("Device", "DeviceMetric") * 4))
    assert [answer.status_code for answer in answers] == [200] * 8
    rows = await core.pool.fetch("SELECT * FROM opening WHERE patient_id = $1 ORDER BY kind", body.patient_id)
    noted = [(row["kind"], row["opened_ms"], row["historic_days"], row["delay_ms"]) for row in rows]
    assert {(row["older_ms"], row["older_opened_ms"]) for row in rows} == {(0, 0)}, "nothing was opened later"
    terms = {body.miv(name).valueset: name for name in (CGM, GLUCOSE, PRESSURE)}
    delay_ms = core.catalog.delay_ms(body.miv(CGM).valueset)
    assert noted == [
        (url, 0, core.catalog.terms[url].historic_days, delay_ms if terms[url] == CGM else None)
        for url in sorted(terms)
    ]


@one_server_only
async def test_requests_at_once_take_few_statements(party: Make, clock: Clock) -> None:
    crowd: Party = await party(8)
    for path in ("Observation", "Device"):
        for _ in range(2):
            clock.advance(1000)
            for one in crowd.pairings:
                one.token = one.signed()
            async with counted(crowd.core.pool) as statements:
                with company(7, "standing"):
                    answers = await asyncio.gather(*(one.get(path) for one in crowd.pairings))
            assert [one.status_code for one in answers] == [200] * 8
            assert sum("standing" in one for one in statements) == 2  # the first one alone, and the others together
    entries = await crowd.core.pool.fetch(
        "SELECT pairing_id FROM audit WHERE event = $1 AND patient_id = ANY($2::uuid[]) AND at_ms = $3",
        str(Event.DATA_READ),
        [one.patient_id for one in crowd.pairings],
        clock(),
    )
    assert sorted(row["pairing_id"] for row in entries) == sorted(one.pairing_id for one in crowd.pairings)


async def test_of_those_who_come_together_each_is_decided_for_itself(party: Make, clock: Clock) -> None:
    crowd: Party = await party(5)
    pool = crowd.core.pool
    await pool.execute("UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1", crowd.pairings[1].patient_id)
    await pool.execute("UPDATE token_grant SET revoked_ms = 1 WHERE patient_id = $1", crowd.pairings[2].patient_id)
    assert (await crowd.pairings[3].get("Observation")).status_code == 200
    answers = await asyncio.gather(*(one.get("Observation") for one in crowd.pairings))
    assert [one.status_code for one in answers] == [200, 401, 401, 429, 200]
    assert [one.status_code for one in await asyncio.gather(*(one.get("Observation") for one in crowd.pairings))] == [
        429, 401, 401, 429, 429,
    ]  # fmt: skip


@one_server_only
async def test_who_goes_away_while_others_are_admitted_is_not_charged(party: Make, clock: Clock) -> None:
    crowd: Party = await party(4)
    clock.advance(60)
    for one in crowd.pairings:
        one.token = one.signed()
    claimed, go_on = asyncio.Event(), asyncio.Event()
    real = admissions.admit_all

    async def slowly(*arguments: Any, **options: Any) -> Any:
        found = await real(*arguments, **options)
        claimed.set()
        await go_on.wait()
        return found

    with patch.object(admissions, "admit_all", slowly):
        asking = [asyncio.create_task(one.get("Observation")) for one in crowd.pairings]
        async with asyncio.timeout(WAIT_SECONDS):
            await claimed.wait()
            asking[2].cancel()
            await asyncio.wait([asking[2]])
            go_on.set()
            answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in answers if isinstance(one, BaseException)] == [asyncio.CancelledError]
    assert [one.status_code for one in answers if not isinstance(one, BaseException)] == [200] * 3
    async with asyncio.timeout(WAIT_SECONDS):
        while await crowd.core.pool.fetchval(  # noqa: ASYNC110 - it is taken back beside everything
            "SELECT answered <> '{}' FROM grace WHERE patient_id = $1", crowd.pairings[2].patient_id
        ):
            await asyncio.sleep(0.01)
    assert (await crowd.pairings[2].get("Observation")).status_code == 200
