"""Patients who agreed to research, with weeks of readings; for tests of exports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from random import Random
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from ddr.http.core import Core
from ddr.operations.research import Export, Terms, prepare
from ddr.patient_pages.research_text import shown
from ddr.research.approval import Approval
from ddr.research.weeks import monday, week_number
from ddr.series.days import local_day, midnight
from ddr.store.authorization import research
from ddr.store.database.pool import open_pool
from ddr.store.database.rights import Moment
from ddr.store.patients import research as store
from tests.diga_api.world import CGM, DAY, Body
from tests.support.database import migrated_database

BERLIN = ZoneInfo("Europe/Berlin")
LEAST = 5
PER_DAY = 288
Change = Callable[[int, list[int]], list[int]]


@asynccontextmanager
async def recorder_with_research(core: Core, database_url: str) -> AsyncIterator[Core]:
    """A recorder with a database of its own: an export covers all who agreed."""
    async with migrated_database(database_url) as url:
        settings = replace(core.settings, database_url=url, research=True, research_least=LEAST)
        async with await open_pool(settings) as pool:
            yield replace(core, settings=settings, pool=pool)


def last_monday(core: Core, weeks_ago: int) -> date:
    """The Monday of the week this many weeks before the present one."""
    return monday(week_number(local_day(core.clock(), BERLIN)) - weeks_ago)


@dataclass(frozen=True)
class Volunteer:
    """A patient who agreed, and the measurements, by days since Monday `weeks` ago."""

    patient_id: UUID
    days: dict[int, list[int]]


def curve(seed: int, day: int) -> list[int]:
    """Glucose of a day, a value every five minutes, different for each person."""
    random, level = Random(f"{seed}/{day}"), 120
    values = []
    for _ in range(PER_DAY):
        level = min(max(level + random.randint(-9, 9), 70), 220)
        values.append(level)
    return values


async def volunteer(core: Core, seed: int, weeks: int, change: Change = lambda day, values: values) -> Volunteer:
    """A patient who agreed and wore a sensor for this many whole weeks before the present one; `change` alters a
    day."""
    patient_id, from_ms = uuid4(), midnight(last_monday(core, weeks), BERLIN)
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, $2)", patient_id, core.clock())
    body = Body(core, patient_id)
    device_no = await body.device("Annas Sensor", serial_number=f"SERIAL-{seed}")
    sensor_no = await body.sensor(device_no, CGM, "99504-3")
    epoch_no = await body.epoch(device_no, sensor_no, from_ms)
    days = {day: change(day, curve(seed, day)) for day in range(weeks * 7 + 1)}  # clocks may have been set back
    for day, values in days.items():
        if values:
            await body.chunk(epoch_no, day, from_ms + day * DAY, values, status="f")
    assert await research.give(core.pool, patient_id, shown("de"), core.clock())
    return Volunteer(patient_id, days)


async def agree(core: Core, patient_id: UUID) -> None:
    assert await research.give(core.pool, patient_id, shown("de"), core.clock())


def approved(weeks: int = 4, *kinds: str) -> Approval:
    """An approval for glucose, unless `kinds` say otherwise."""
    texts = ("Glucose in everyday life", "EK Musterstadt 2026-114", "University of Musterstadt")
    return Approval(*texts, date(2027, 12, 31), kinds or (CGM,), weeks, b"\0" * 32)


async def prepared(core: Core, weeks: int = 4, *kinds: str) -> Export:
    """What an export would contain now."""
    allowed = approved(weeks, *kinds)
    mivs = [miv for miv in core.catalog.mivs if miv.name in allowed.kinds]
    return await prepare(core.pool, core.pool, mivs, Terms(allowed, LEAST, BERLIN), moment(core))


async def exported(core: Core, weeks: int = 4, *kinds: str) -> Export:
    """An export that was recorded."""
    export = await prepared(core, weeks, *kinds)
    assert await store.note(core.pool, uuid4(), approved(weeks, *kinds), "Team Daten", export.weeks, moment(core))
    return export


def moment(core: Core) -> Moment:
    return Moment.at(core.clock(), core.settings)
