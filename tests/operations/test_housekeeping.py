"""Work without a request, done by one worker at a time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from ddr.http import jobs
from ddr.http.core import Core
from ddr.http.jobs import Step
from ddr.operations import housekeeping
from ddr.operations.audit_verifying import verify
from ddr.operations.figures import worker_figures
from ddr.store.authorization import par
from ddr.store.authorization.par import PushedRequest
from ddr.store.database import leases
from ddr.store.database.migrate import migrate
from ddr.store.database.pool import open_pool
from ddr.store.gateways import requests as gateway_requests
from ddr.store.outages import events
from ddr.store.outages.events import Event
from ddr.store.patients import journeys, login_attempts, sessions
from ddr.store.patients.journeys import Journey
from ddr.store.patients.sessions import Session
from ddr.store.registries import sources as registry
from tests.support.audit import people, write_day
from tests.support.clock import Clock
from tests.support.database import fresh_database
from tests.support.day import today

DAY_MS = 86_400_000


@pytest.fixture
async def own(core: Core, database_url: str) -> AsyncIterator[Core]:
    """A Core with a database of its own: housekeeping concerns all patients."""
    async with fresh_database(database_url) as url:
        settings = replace(core.settings, database_url=url)
        async with await open_pool(settings) as pool:
            await migrate(pool)
            yield replace(core, settings=settings, pool=pool)


async def pairing(core: Core, until_ms: int) -> str:
    """A pairing with one consent; its Pairing ID."""
    patient_id, name = uuid.uuid4(), uuid.uuid4().hex * 2
    number = await core.pool.fetchval(
        "INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms)"
        " VALUES ($1, $2, 'urn:diga:bfarm:00001', '', 0) RETURNING pairing_no",
        patient_id,
        name,
    )
    await core.pool.execute("INSERT INTO consent VALUES ($1, $2, 'https://x', 0, $3)", patient_id, number, until_ms)
    return name


async def reasons(core: Core) -> dict[str, str | None]:
    """Why pairings ended; None for those that have not."""
    return dict(await core.pool.fetch("SELECT pairing_id, end_reason FROM pairing"))


async def test_what_has_run_out_ends_and_is_sealed(own: Core) -> None:
    ended, lives = await pairing(own, own.clock()), await pairing(own, own.clock() + 1)
    await housekeeping.one_round(own)
    assert await reasons(own) == {ended: "consent-ended", lives: None}
    findings = await verify(own.pool)
    assert (findings.faults, findings.entries, findings.unsealed) == ((), 1, 0)


async def test_the_trail_is_packed_and_kept_as_long_as_set(own: Core, clock: Clock) -> None:
    clock.ms = today() * DAY_MS + 3_600_000
    await write_day(own.pool, today() - 100, people(2), 10)
    for audit_days, left in ((730, 10), (30, 0)):
        await housekeeping.one_round(replace(own, settings=replace(own.settings, audit_days=audit_days)))
        assert (await verify(own.pool)).entries == left
        assert await own.pool.fetchval("SELECT count(*) FROM audit") == 0, "it is packed"


async def test_what_was_kept_for_minutes_goes_although_nobody_comes_by(own: Core, clock: Clock) -> None:
    patient_id, pool = uuid.uuid4(), own.pool
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", patient_id)
    await sessions.open_session(pool, Session(patient_id, "anna"), clock())
    await journeys.use_up(pool, Journey("state", "nonce", "verifier", "", False, clock()))
    await login_attempts.count_attempt(pool, "anna", "", "192.0.2.1", clock())
    await pool.execute(
        "INSERT INTO search_rest (patient_id, expires_ms, kinds, nos, ks) VALUES ($1, $2, '{}', '{}', '{}')",
        patient_id,
        clock() + own.settings.page_link_seconds * 1000,
    )
    tables = ("browser_session", "login_journey", "login_window", "login_attempt", "search_rest")
    for minutes, left in ((0, 1), (60, 0)):
        clock.advance(minutes * 60)
        await housekeeping.one_round(own)
        rows = {table: len(await pool.fetch(f"SELECT FROM {table} LIMIT 1")) for table in tables}
        assert rows == dict.fromkeys(tables, left)


async def test_what_was_kept_for_days_goes_and_what_is_in_force_stays(own: Core, clock: Clock) -> None:
    patient_id, now_ms, pool = uuid.uuid4(), clock(), own.pool
    request = PushedRequest("urn:x", "c", "https://d", "state", "scope", "challenge", now_ms)
    await par.push(pool, request)
    await gateway_requests.claim(pool, gateway_requests.Key(patient_id, "key"), b"", b"", now_ms)
    await registry.record_event(pool, "zts", now_ms, "fault", {})
    await registry.record_event(pool, "zts", now_ms, "downloaded", {"package": "p"})
    entry = "INSERT INTO registry_entry (source, entry, from_ms, until_ms, content) VALUES ('x', 'e', $1, $2, '{}')"
    await pool.executemany(entry, [(0, now_ms), (now_ms, None)])  # the one that was replaced and the one in force
    code = "INSERT INTO authorization_code VALUES ($1, $2, 1, 'c', '', '', $3)"
    await pool.execute(code, b"code", patient_id, now_ms)
    await pool.executemany(
        "INSERT INTO token_grant (patient_id, pairing_no, scope, created_ms, refresh_expires_ms)"
        " VALUES ($1, 1, '', 0, $2)",
        [(patient_id, now_ms), (patient_id, now_ms + 800 * DAY_MS)],
    )
    tables = ("pushed_request", "gateway_request", "authorization_code", "token_grant", "registry_event")
    former = "SELECT count(*) FROM registry_entry WHERE source = 'x'"
    for days, left in (
        (0, (1, 1, 1, 2, 2, 2)),
        (1, (0, 1, 1, 2, 2, 2)),
        (1, (0, 0, 0, 1, 2, 2)),
        (729, (0, 0, 0, 1, 1, 1)),
    ):
        clock.advance(days * 86_400)
        await housekeeping.one_round(own)
        await pool.execute("DELETE FROM registry_event WHERE kind = 'report'")  # the daily report
        counts = [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
        assert (*counts, await pool.fetchval(former)) == left


async def test_what_the_checks_found_is_kept_for_more_than_a_year_however_short_the_trail_is(
    own: Core, clock: Clock
) -> None:
    """Availability of a month is asked for later; a deleted check would count as if it had not happened."""
    ended_ms = clock()
    await events.add(own.pool, Event("database", "unavailable", ["token"], "Away", "Weg", ended_ms - 1000, ended_ms))
    for days, audit_days, left in ((399, 30, 1), (2, 730, 1), (0, 30, 0)):
        clock.advance(days * 86_400)
        await housekeeping.one_round(replace(own, settings=replace(own.settings, audit_days=audit_days)))
        assert len(await events.named(own.pool, ["event-1"])) == left


async def test_a_retired_recorder_unpairs_everybody(own: Core) -> None:
    name = await pairing(own, own.clock() + DAY_MS)
    await housekeeping.one_round(replace(own, settings=replace(own.settings, retired=True)))
    assert await reasons(own) == {name: "recorder-retired"}


async def test_a_step_that_hangs_keeps_no_other_from_being_done(
    own: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LIMIT_SECONDS", 0.05)
    monkeypatch.setattr(housekeeping, "ROUND_SECONDS", 0.001)
    done, begun_ms, told = asyncio.Event(), clock(), list[int]()

    def steps(core: Core, now_ms: int) -> dict[str, Step]:
        async def hangs() -> None:
            clock.advance(300)
            await asyncio.Event().wait()

        async def other() -> None:
            told.append(now_ms)
            done.set()

        return {"hangs": hangs, "other": other}

    monkeypatch.setattr(housekeeping, "steps", steps)
    running = asyncio.create_task(housekeeping.rounds(lambda: own))
    async with asyncio.timeout(60):
        await done.wait()
    running.cancel()
    assert own.jobs.states["housekeeping-hangs"].failures > 0
    assert told[0] == begun_ms + 300_000, "the time at which it is done"


async def test_one_worker_at_a_time(own: Core) -> None:
    await pairing(own, 0)
    assert await leases.take(own.pool, housekeeping.JOB, b"another")
    await housekeeping.one_round(own)
    assert set((await reasons(own)).values()) == {None}
    await leases.give_back(own.pool, housekeeping.JOB, b"nobody")
    await housekeeping.one_round(own)
    assert set((await reasons(own)).values()) == {None}
    await leases.give_back(own.pool, housekeeping.JOB, b"another")
    await housekeeping.one_round(own)
    assert set((await reasons(own)).values()) == {"consent-ended"}


async def test_what_failed_in_an_outage_is_done_again_in_the_turn_of_another_worker(
    own: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise this worker would report it as failing for as long as others are faster."""
    await pairing(own, 0)
    of_today = housekeeping.steps

    def steps(core: Core, now_ms: int) -> dict[str, Step]:
        async def fail() -> None:
            raise ConnectionError

        return {**of_today(core, now_ms), "consents": fail}

    series = 'ddr_background_failing_since_seconds{work="housekeeping-consents"}'
    monkeypatch.setattr(housekeeping, "steps", steps)
    await housekeeping.one_round(own)
    assert worker_figures(own)[series]
    assert await leases.take(own.pool, housekeeping.JOB, b"another")
    monkeypatch.setattr(housekeeping, "steps", of_today)
    await housekeeping.one_round(own)
    assert worker_figures(own)[series] == 0
    assert set((await reasons(own)).values()) == {"consent-ended"}
    assert own.jobs.states["housekeeping-sessions"].runs == 1, "what had not failed"


@pytest.mark.parametrize("until_ms", [-1, 3_600_000])
async def test_the_turn_of_a_worker_that_died_ends(own: Core, monkeypatch: pytest.MonkeyPatch, until_ms: int) -> None:
    """When its time is over, or at once when the clock was set back by an hour since it began."""
    await pairing(own, 0)
    monkeypatch.setattr(leases, "LEASE_MS", until_ms)
    assert await leases.take(own.pool, housekeeping.JOB, b"dead")
    monkeypatch.undo()
    await housekeeping.one_round(own)
    assert set((await reasons(own)).values()) == {"consent-ended"}
    assert not await own.pool.fetch("SELECT FROM job_lease")


@pytest.mark.parametrize("broken", ["consents", "audit-seal", "sessions"])
async def test_a_step_that_always_fails_keeps_no_other_from_being_done(
    own: Core, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    done: list[str] = []
    of_today = housekeeping.steps

    def steps(core: Core, now_ms: int) -> dict[str, Step]:
        async def fail() -> None:
            raise asyncpg.QueryCanceledError

        def noted(name: str, step: Step) -> Step:
            async def note() -> None:
                await step()
                done.append(name)

            return note

        return {name: fail if name == broken else noted(name, step) for name, step in of_today(core, now_ms).items()}

    monkeypatch.setattr(housekeeping, "steps", steps)
    for failures in (1, 2):
        done.clear()
        await housekeeping.one_round(own)
        assert {*done, broken} == of_today(own, 0).keys()
        assert len(done) == len(of_today(own, 0)) - 1
        assert own.jobs.states[f"housekeeping-{broken}"].failures == failures
    figures = worker_figures(own)
    assert figures[f'ddr_background_failures_total{{work="housekeeping-{broken}"}}'] == 2
