"""Housekeeping deletes what has been kept long enough, and nothing else (docs/retention.md)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.miv.loader import load_catalog
from ddr.operations.housekeeping import one_round
from ddr.operations.retention import check_retention, longest_historic_days
from ddr.settings import Settings, SettingsError
from ddr.settings_sources import load_settings
from ddr.store.audit import journal
from ddr.store.authorization.unpairing import Party, unpair
from ddr.store.database.limits import Limits
from ddr.store.database.pool import open_pool
from ddr.store.database.stamps import lock_patient
from ddr.store.patients.retention import forget_pairings, forget_readings
from ddr.store.series.chunks import readings_between
from ddr.store.series.deletion import delete_upload
from ddr.store.series.merging import merge_readings
from ddr.store.series.start import move_start
from tests.store.continuous import DAY, DELAY, HOUR, START, register
from tests.support.citus import not_over_servers
from tests.support.clock import Clock
from tests.support.database import migrated_database
from tests.support.waiting import waiting

DAYS = 400
WAIT_SECONDS = 60
PATIENT = Limits(WAIT_SECONDS, WAIT_SECONDS, WAIT_SECONDS)  # waiters keep waiting, on a slow machine, too


@pytest.fixture
async def own(core: Core, database_url: str, clock: Clock) -> AsyncIterator[Core]:
    """A Core with a database of its own that keeps readings for DAYS."""
    async with migrated_database(database_url) as url:
        settings = replace(core.settings, database_url=url, readings_days=DAYS)
        async with await open_pool(settings, PATIENT) as pool:
            yield replace(core, settings=settings, pool=pool, clock=clock)


async def days_later(core: Core, clock: Clock, days: int) -> None:
    """A round of housekeeping this long after START."""
    clock.advance((START + days * DAY_MS - clock()) / 1000)
    await one_round(core)


async def test_readings_go_and_the_series_goes_on(own: Core, clock: Clock) -> None:
    stored = await register(own.pool)
    await stored.upload(
        [(START + day * DAY + hour * HOUR, 100 + hour) for day in range(6) for hour in range(24)], START
    )
    before = await stored.chunks()
    await days_later(own, clock, DAYS + 3)
    after = await stored.chunks()
    assert [chunk.k for chunk in after] == [1, 2, 3, 4, 5], (
        "a day of slack; the newest one that is over keeps its place"
    )
    assert (after[0].times, after[0].filled, after[0].start_ms) == (b"", 0, before[1].start_ms)
    assert after[1:] == before[2:]

    await stored.upload([(START + 5 * DAY + 23 * HOUR + 1000, 7), (START + 7 * DAY, 8)], clock())
    assert [chunk.k for chunk in await stored.chunks()] == [1, 2, 3, 4, 5, 6, 7]
    assert (await stored.chunks())[1:4] == before[2:5]

    clock.advance(3 * 86_400)
    await one_round(own)
    assert (await stored.chunks())[0].k == 4


async def until_it_waits(pool: asyncpg.Pool) -> None:
    """Wait for a lock that another session has."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await waiting(pool):  # noqa: ASYNC110 - nothing else tells it
            await asyncio.sleep(0.01)


async def test_what_is_cut_anew_meanwhile_goes_by_its_new_time(own: Core) -> None:
    """The start is corrected, which makes the chunks with the old numbers ten days younger."""
    stored = await register(own.pool)
    readings = [(START + day * DAY, 100 + day) for day in range(10, 15)]
    await stored.upload(readings, START)
    async with own.pool.acquire() as writing, writing.transaction():
        stamp_ms = await lock_patient(writing, stored.patient_id, START + DAYS * DAY)
        assert stamp_ms is not None
        await move_start(writing, stored.patient_id, stored.sensor_no, START + 10 * DAY, stamp_ms, DELAY, START)
        forgetting = asyncio.create_task(forget_readings(own.pool, [stored.patient_id], START + 8 * DAY))
        await until_it_waits(own.pool)
    await forgetting
    assert await readings_between(own.pool, await stored.sensor(), START, START + 20 * DAY) == set(readings)


async def test_a_series_whose_first_chunks_are_gone_keeps_its_numbers_when_its_start_moves_back(own: Core) -> None:
    stored = await register(own.pool)
    await stored.upload([(START + day * DAY, 100 + day) for day in range(6)], START)
    await forget_readings(own.pool, [stored.patient_id], START + 3 * DAY)
    kept = await stored.chunks()
    assert [chunk.k for chunk in kept] == [2, 3, 4, 5]
    async with own.pool.acquire() as conn, conn.transaction():
        stamp_ms = await lock_patient(conn, stored.patient_id, START + 6 * DAY)
        assert stamp_ms is not None
        early_ms, floor_ms = START - 2 * DAY, START + 3 * DAY
        await move_start(conn, stored.patient_id, stored.sensor_no, early_ms, stamp_ms, DELAY, floor_ms)
    assert await stored.chunks() == kept


async def test_who_takes_an_old_upload_back_and_the_sweep_do_not_wait_for_each_other(own: Core) -> None:
    stored = await register(own.pool)
    old, young = [(START, 100), (START + DAY, 101)], [(START + 9 * DAY, 102)]
    for key, readings in (("old", old), ("young", young)):
        sensor = await stored.sensor()
        assert await merge_readings(own.pool, sensor, readings, START, DELAY, key, START) is not None
    async with own.pool.acquire() as writing, writing.transaction():
        stamp_ms = await lock_patient(writing, stored.patient_id, START + DAYS * DAY)
        assert stamp_ms is not None
        noted = "UPDATE upload SET deleted_ms = deleted_ms WHERE patient_id = $1 AND upload_key = 'old'"
        await writing.execute(noted, stored.patient_id)
        forgetting = asyncio.create_task(forget_readings(own.pool, [stored.patient_id], START + 8 * DAY))
        await until_it_waits(own.pool)
        assert await delete_upload(writing, stored.patient_id, stored.sensor_no, "old", stamp_ms, DELAY)
    assert await forgetting
    assert await readings_between(own.pool, await stored.sensor(), START, START + 20 * DAY) == set(young)


async def test_nothing_goes_unless_the_setting_says_so(own: Core, clock: Clock) -> None:
    stored = await register(own.pool)
    await stored.upload([(START, 100)], START)
    before = await stored.chunks()
    await days_later(replace(own, settings=replace(own.settings, readings_days=0)), clock, 4000)
    assert await stored.chunks() == before


async def measurement(pool: asyncpg.Pool, patient_id: uuid.UUID, end_ms: int | None, *sources: int) -> int:
    """A row of this kind and a former version of it; its number."""
    number: int = await pool.fetchval(
        """INSERT INTO measurement (patient_id, measurement_key, miv_url, code_system, code, effective_ms,
               effective_end_ms, content, derived_from, status, updated_ms)
           VALUES ($1, $2, 'urn:miv', 'urn:s', 'c', $3, $4, '', $5, 'final', 1) RETURNING measurement_no""",
        patient_id, uuid.uuid4().hex, START, end_ms, sources,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO measurement_version (patient_id, measurement_no, version, content, status, updated_ms)"
        " VALUES ($1, $2, 1, '', 'final', 1)",
        patient_id,
        number,
    )
    return number


async def test_measurements_go_but_not_what_newer_ones_are_derived_from(own: Core, clock: Clock) -> None:
    patient_id = (await register(own.pool)).patient_id
    source = await measurement(own.pool, patient_id, START)
    await measurement(own.pool, patient_id, START + DAY - 1)
    young = await measurement(own.pool, patient_id, START + DAY, source)
    in_force = await measurement(own.pool, patient_id, None)
    await days_later(own, clock, DAYS + 2)
    for table in ("measurement", "measurement_version"):
        left = await own.pool.fetch(f"SELECT measurement_no FROM {table}")
        assert {row["measurement_no"] for row in left} == {source, young, in_force}
    clock.advance(2 * 86_400)
    await one_round(own)
    assert [row["measurement_no"] for row in await own.pool.fetch("SELECT measurement_no FROM measurement")] == [
        in_force
    ]


async def test_all_patients_have_their_turn_and_then_a_day_passes(
    own: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.operations.retention.PATIENTS", 2)
    several = [await register(own.pool) for _ in range(5)]
    for stored in several:
        await stored.upload([(START, 1), (START + DAY, 2)], START)
    await days_later(own, clock, DAYS + 10)
    assert [[chunk.k for chunk in await stored.chunks()] for stored in several] == [[1]] * 5
    late = await register(own.pool)
    await late.upload([(START, 1), (START + DAY, 2)], START)
    clock.advance(23 * 3600)
    await one_round(own)
    assert len(await late.chunks()) == 2
    clock.advance(2 * 3600)
    await one_round(own)
    assert len(await late.chunks()) == 1


@pytest.mark.parametrize("days", [1, 29])
def test_what_a_diga_may_ask_for_is_kept(settings: Settings, days: int) -> None:
    catalog = load_catalog(settings.miv_packages, {})
    least = longest_historic_days(catalog) + 1
    with pytest.raises(SettingsError, match=f"readings_days: must be 0, or at least {least}"):
        check_retention(replace(settings, readings_days=least - days), catalog)
    check_retention(replace(settings, readings_days=least), catalog)
    check_retention(replace(settings, readings_days=0), catalog)


async def ended_pairing(core: Core, patient_id: uuid.UUID, now_ms: int, given_ms: int | None = None) -> int:
    """A pairing that ended at `now_ms` with a lasting consent, given just before or at `given_ms`."""
    given_ms = now_ms - 1000 if given_ms is None else given_ms
    number: int = await core.pool.fetchval(
        "INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms)"
        " VALUES ($1, $2, 'urn:diga:bfarm:00001', '', $3) RETURNING pairing_no",
        patient_id, uuid.uuid4().hex * 2, now_ms - 1000,
    )  # fmt: skip
    await core.pool.execute(
        "INSERT INTO consent (patient_id, pairing_no, miv_url, granted_ms, until_ms) VALUES ($1, $2, 'urn:m', $3, $4)",
        patient_id, number, given_ms, given_ms + DAY_MS,
    )  # fmt: skip
    assert await unpair(core.pool, patient_id, number, Party.PATIENT, "test", now_ms)
    return number


@not_over_servers  # the database itself keeps the proof where patients are on one server
async def test_ended_pairings_go_with_their_proof_after_years_only(own: Core, clock: Clock) -> None:
    core = replace(own, settings=replace(own.settings, ended_pairings_days=1096))
    patient_id = (await register(own.pool)).patient_id
    await ended_pairing(core, patient_id, clock() - 1097 * DAY_MS)
    young = await ended_pairing(core, patient_id, clock() - 1000 * DAY_MS)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await core.pool.execute("DELETE FROM consent_record")
    await one_round(core)
    assert [row["pairing_no"] for row in await core.pool.fetch("SELECT pairing_no FROM pairing")] == [young]
    for table in ("consent", "consent_record"):
        numbers = await core.pool.fetch(f"SELECT DISTINCT consent_no FROM {table}")
        assert len(numbers) == 1, table
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await core.pool.execute("DELETE FROM consent_record")


@not_over_servers  # the database itself keeps the proof where patients are on one server
async def test_a_consent_given_while_the_clock_was_ahead_keeps_no_other_pairing(own: Core) -> None:
    """The database refuses to delete its proof; other pairings, of this patient and of later ones, do not wait."""
    core = replace(own, settings=replace(own.settings, ended_pairings_days=1096), clock=lambda: time.time_ns() // 10**6)
    ended_ms = core.clock() - 1100 * DAY_MS
    patients = sorted([(await register(own.pool)).patient_id for _ in range(3)])
    numbers = [await ended_pairing(core, patient_id, ended_ms) for patient_id in patients]
    ahead = await ended_pairing(core, patients[1], ended_ms, given_ms=ended_ms + 700 * DAY_MS)
    assert ahead not in numbers
    await one_round(core)
    assert core.jobs.states["housekeeping-ended-pairings"].failures == 0
    assert [row["pairing_no"] for row in await core.pool.fetch("SELECT pairing_no FROM pairing")] == [ahead]
    assert await core.pool.fetchval("SELECT count(*) FROM consent_record") == 2


async def test_whoever_deletes_everything_and_the_sweep_of_pairings_do_not_wait_for_each_other(
    own: Core, clock: Clock
) -> None:
    patient_id = (await register(own.pool)).patient_id
    first, second = [await ended_pairing(own, patient_id, clock() - 1097 * DAY_MS) for _ in range(2)]
    await own.pool.execute("UPDATE pairing SET client_id = client_id WHERE pairing_no = $1", first)  # is past by then
    async with own.pool.acquire() as deleting, deleting.transaction():
        held = "SELECT FROM pairing WHERE patient_id = $1 AND pairing_no = $2 FOR UPDATE"
        await deleting.execute(held, patient_id, first)
        forgetting = asyncio.create_task(forget_pairings(own.pool, [patient_id], clock() - 1096 * DAY_MS))
        await until_it_waits(own.pool)
        await deleting.execute(held, patient_id, second)
        for table in ("consent", "pairing"):
            assert await deleting.execute(f"DELETE FROM {table} WHERE patient_id = $1", patient_id) == "DELETE 2"
    assert await forgetting == 0


async def test_nothing_goes_by_how_much_a_clock_leapt(own: Core, clock: Clock, tmp_path: Path) -> None:
    core = replace(own, settings=replace(own.settings, ended_pairings_days=1096, journal_dir=str(tmp_path)))
    stored = await register(own.pool)
    await stored.upload([(START, 100), (START + DAY, 100)], START)
    await ended_pairing(core, stored.patient_id, START - 1094 * DAY)  # no younger one is deleted, by the real clock
    (tmp_path / f"ends-host-{datetime.fromtimestamp(START / 1000, UTC):%Y-%m}.jsonl").touch()

    async def left() -> tuple[int, int, int]:
        pairings = await own.pool.fetchval("SELECT count(*) FROM pairing")
        return len(await stored.chunks()), pairings, len(journal.files(tmp_path))

    before = await left()
    assert before == (2, 1, 1)
    await own.pool.execute("INSERT INTO clock_gap VALUES ($1, $2)", START + DAY, START + 3000 * DAY)
    await days_later(core, clock, 3000)
    assert await left() == before
    await own.pool.execute("DELETE FROM clock_gap")
    await days_later(core, clock, 3002)
    assert await left() == (1, 0, 0)


@pytest.mark.parametrize("values", [{"ended_pairings_days": 1095}, {"ended_pairings_days": 1100, "audit_days": 1101}])
def test_proof_is_not_given_away_early(values: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="ended_pairings_days: must be 0, or at least"):
        load_settings({}, allow_builtin_accounts=True, **values)
