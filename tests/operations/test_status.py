"""The status feed and the daily inspection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest

from ddr.http.asgi import Receive, Reply, Scope, Send, send_reply
from ddr.http.core import Core
from ddr.http.jobs import Jobs
from ddr.http.watch import FEW
from ddr.operations.figures import worker_figures
from ddr.operations.inspection import daily, inspect
from ddr.operations.status import board
from ddr.operations.status.answers import observed, of_gateway
from ddr.operations.status.app import create_status
from ddr.operations.status.page import lasting, local_time
from ddr.store.database.pool import open_pool
from ddr.store.registries import sources as store
from tests.support.clock import Clock

DATA = [
    f"data:{name}"
    for name in (
        "blood-glucose-measurement",
        "blood-pressure-value",
        "continuous-glucose-measurement",
        "lung-function-testing",
    )
]
_FORGET = "TRUNCATE registry_source, registry_entry, registry_event"
TOWARDS_DIGA = ["pairing", "token", *DATA, "summary"]


@pytest.fixture
async def sources(pool: asyncpg.Pool, clock: Clock) -> AsyncIterator[asyncpg.Pool]:
    """All three registries have just been read; the states that the tests record must not affect other tests."""
    await pool.execute(_FORGET)
    for name in ("diga-vz", "hiis-vz", "zts"):
        await seen(pool, name, clock())
    yield pool
    await pool.execute(_FORGET)


async def seen(pool: asyncpg.Pool, name: str, at_ms: int, *notes: str, **content: Any) -> None:
    await store.claim(pool, name, at_ms, 0)
    async with pool.acquire() as connection, connection.transaction():
        await store.save_reading(connection, name, {"entry": content}, at_ms, at_ms, notes)


async def get(core: Core, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(create_status(core))
    async with httpx.AsyncClient(transport=transport, base_url="http://public") as client:
        return await client.request(method, "/status")


async def test_all_is_well(core: Core, sources: asyncpg.Pool) -> None:
    answer = await get(core)
    feed = answer.json()
    assert (answer.status_code, feed["status"], feed["events"]) == (200, "operational", [])
    assert feed["registries"]["zts"] == {"seen": "2026-11-22T10:00:00.000Z", "reachable": True, "notes": 0}
    assert set(feed["mivs"].values()) == {"1.0.1"}
    assert (await get(core, "POST")).status_code == 405


@pytest.mark.parametrize(("name", "hours"), [("diga-vz", 4), ("zts", 24)])
async def test_old_data_is_an_outage_from_its_limit_on(
    core: Core, sources: asyncpg.Pool, clock: Clock, name: str, hours: int
) -> None:
    began_ms = clock()
    clock.advance(hours * 3600 + 1)
    for other in {"diga-vz", "zts"} - {name}:
        await seen(sources, other, clock())
    feed = (await get(core)).json()
    assert feed["status"] == "unavailable"
    (event,) = feed["events"]
    assert name in event["cause"] and event["functions"] == TOWARDS_DIGA
    assert event["start"] == f"2026-11-2{2 + (10 + hours) // 24}T{(10 + hours) % 24:02}:00:00.000Z"
    assert began_ms < clock()


async def test_a_fault_and_a_difference_are_announced(core: Core, sources: asyncpg.Pool, clock: Clock) -> None:
    clock.advance(60)
    await store.save_fault(sources, "diga-vz", "answered HTTP 500", clock(), clock())
    await seen(sources, "hiis-vz", clock(), "endpoint differs")
    feed = (await get(core)).json()
    assert feed["status"] == "demoted"
    assert [event["functions"] for event in feed["events"]] == [[], []]
    assert "endpoint differs" not in str(feed), "details are for the operator"
    assert feed["registries"]["hiis-vz"]["notes"] == 1


async def test_background_work_that_fails_is_told_whichever_worker_it_is_in(
    core: Core, sources: asyncpg.Pool, clock: Clock
) -> None:
    jobs, others = Jobs(clock), Jobs(clock)
    core, other = replace(core, jobs=jobs), replace(core, jobs=others)

    async def fail() -> None:
        raise KeyError("Anna")

    await jobs.attempt("seal", AsyncMock())
    await others.attempt("seal", fail)
    core.fleet.learn({"2": worker_figures(other)}, restarts=0)
    feed = (await get(core)).json()
    assert feed["background"] == {"seal": {"failures": 1, "failing": "2026-11-22T10:00:00.000Z"}}
    assert feed["events"] == [], "it is tried again"
    clock.advance(60)
    feed = (await get(core)).json()
    (event,) = feed["events"]
    assert (event["status"], event["functions"]) == ("demoted", [])
    assert "seal" in event["cause"] and "Anna" not in str(feed)
    await others.attempt("seal", AsyncMock())
    core.fleet.learn({"2": worker_figures(other)}, restarts=0)
    feed = (await get(core)).json()
    assert feed["background"] == {"seal": {"failures": 1, "failing": None}}
    assert feed["events"] == []


@pytest.mark.parametrize(
    ("path", "status", "share"),
    [
        ("devices", 200, None),
        ("devices", 201, None),
        ("devices", 401, 1),
        ("none", 404, 1),
        ("openapi.json", 200, 1),
        ("fhir/metadata", 200, 1),
        ("fhir/metadata/", 200, 1),
    ],
)
async def test_what_anybody_is_told_does_not_hide_that_nothing_is_taken_in(
    core: Core, path: str, status: int, share: int | None
) -> None:
    """Before, a stranger's requests without a token counted as good answers beside uploads that failed."""

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, Reply(int(scope["query_string"])))

    transport = httpx.ASGITransport(observed(gateway, core, of_gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway/gateway/v1") as client:
        for _ in range(FEW):
            await client.put("devices?500")
            await client.get(f"{path}?{status}")
            await client.get(f"{path}?{status}")
    assert core.watch.failing(core.clock()) == ({} if share is None else {"ingestion": share})


async def test_a_lost_database_is_told(core: Core) -> None:
    pool = await open_pool(core.settings)
    await pool.close()
    assert (await get(replace(core, pool=pool))).json()["status"] == "unavailable"


async def test_a_database_that_answers_is_not_said_to_be_away(
    core: Core, sources: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that held all connections for a while made the status of everything `unavailable`."""
    monkeypatch.setattr(board, "SECONDS", 0.2)
    pool = await open_pool(core.settings, size=1)
    try:
        async with pool.acquire():
            feed = (await get(replace(core, pool=pool))).json()
            assert {one["status"] for one in feed["functions"]} == {"operational"}
            (event,) = feed["events"]
            assert event["status"] == "demoted" and event["cause"].startswith("What other workers found")
    finally:
        await pool.close()
    assert (await get(core)).json()["events"] == []


async def test_an_inspection_tells_appearance_change_and_end(sources: asyncpg.Pool, clock: Clock) -> None:
    begin_ms = clock() + 1
    clock.advance(60)
    await seen(sources, "diga-vz", clock(), title="a")
    clock.advance(60)
    await store.claim(sources, "diga-vz", clock(), 0)
    async with sources.acquire() as connection, connection.transaction():
        await store.save_reading(connection, "diga-vz", {"new": {}}, clock(), clock())
    found = await inspect(sources, begin_ms, clock() + 1)
    told = [(one.entry, one.what, one.fields) for one in found.changes]
    assert ("entry", "changed", ("title",)) in told
    assert ("entry", "vanished", ()) in told and ("new", "appeared", ()) in told
    assert len(told) == 3


async def test_the_report_is_written_once_a_day(sources: asyncpg.Pool, clock: Clock) -> None:
    for _ in range(3):
        await daily(sources, clock())
    assert len(await store.events(sources, 0, clock() + 1, "report")) == 1
    clock.advance(24 * 3600)
    await daily(sources, clock())
    assert len(await store.events(sources, 0, clock() + 1, "report")) == 2


async def test_workers_that_write_the_report_at_once_write_one(sources: asyncpg.Pool, clock: Clock) -> None:
    """Whichever worker is first, even one whose clock is fast."""
    await asyncio.gather(*(daily(sources, clock() + ahead) for ahead in (2_000, 0, 1, 0)))
    assert len(await store.events(sources, 0, clock() + 3_000, "report")) == 1


async def test_the_page_is_in_the_operators_frame(core: Core, sources: asyncpg.Pool) -> None:
    told = replace(
        core.settings,
        operator_name="Muster <Medizintechnik>",
        operator_imprint_url="https://muster.example/impressum",
        operator_colour="#004400",
    )
    transport = httpx.ASGITransport(create_status(replace(core, settings=told)))
    async with httpx.AsyncClient(transport=transport, base_url="http://public") as client:
        for lang, title in (("de", "Betriebszustand"), ("en", "Status")):
            page = await client.get("/status.html", headers={"accept-language": lang})
            assert f'<html lang="{lang}">' in page.text and f"<h1>{title}</h1>" in page.text
            assert "Muster &lt;Medizintechnik&gt;" in page.text and "/static/operator.css?v=004400" in page.text
            assert 'href="https://muster.example/impressum"' in page.text
        chosen = await client.get("/status.html?lang=en")
        assert "__Host-language=en" in chosen.headers["set-cookie"]


@pytest.mark.parametrize(
    ("lang", "instant", "shown"),
    [
        ("de", "2026-11-26T10:00:00Z", "26.11.2026, 11:00 Uhr MEZ"),
        ("de", "2027-07-01T10:00:00Z", "01.07.2027, 12:00 Uhr MESZ"),
        ("en", "2026-11-26T10:00:00Z", "26 November 2026, 11:00 CET"),
    ],
)
def test_times_are_told_as_readers_know_them(lang: str, instant: str, shown: str) -> None:
    assert local_time(lang, ZoneInfo("Europe/Berlin"), instant) == shown


NOON, ONE = "2026-11-26T11:00:00Z", "2026-11-26T12:00:00Z"


@pytest.mark.parametrize(
    ("start", "end", "begun", "told"),
    [
        (NOON, ONE, False, "von 26.11.2026, 12:00 Uhr MEZ bis 26.11.2026, 13:00 Uhr MEZ"),
        (NOON, ONE, True, "von 26.11.2026, 12:00 Uhr MEZ bis 26.11.2026, 13:00 Uhr MEZ"),
        (NOON, None, True, "seit 26.11.2026, 12:00 Uhr MEZ, Ende nicht bekannt"),
        (NOON, None, False, "ab 26.11.2026, 12:00 Uhr MEZ, Ende nicht bekannt"),
        (None, ONE, True, "bis 26.11.2026, 13:00 Uhr MEZ"),
        (None, None, True, "Beginn und Ende nicht bekannt"),
    ],
)
def test_what_is_to_come_does_not_last_since(start: str | None, end: str | None, begun: bool, told: str) -> None:
    """Announced maintenance was said to last since a day to come, and a fault until "not known"."""
    assert lasting("de", ZoneInfo("Europe/Berlin"), start, end, begun) == told


async def test_however_many_ask_the_database_is_asked_a_few_times_a_second(
    core: Core, sources: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings, read = 0, board.read

    async def counted(core: Core) -> board.Board:
        nonlocal readings
        readings += 1
        return await read(core)

    monkeypatch.setattr(board, "read", counted)
    reader = board.Reader(core)
    for _ in range(3):
        await asyncio.gather(*(reader.board() for _ in range(10)))
    assert readings == 3, "who asks while one is under way gets its result"
    begun = time.monotonic()
    for _ in range(200):
        await reader.board()
    assert readings <= board.MOST_A_SECOND * (1 + time.monotonic() - begun)
