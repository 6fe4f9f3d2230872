"""With three years of values the patient's page costs the same as with 30 days; its first and last day are right."""

from __future__ import annotations

from uuid import uuid4

from ddr.http.core import Core
from ddr.store.patients.measured import measured_between
from tests.diga_api.world import CGM, DAY, HOUR, Body
from tests.patient_pages.browser import Browser
from tests.patient_pages.test_consent import logged_in
from tests.support.history import measure, wear
from tests.support.touched import touched
from tests.support.work import among_others

MONTH, YEARS = 30, 3 * 365
MOST = 1.2  # times as many blocks
WARM = 6  # a statement that was executed so often has its plan
# As they are packed: 144 readings, the first at the start of the chunk (ddr.series.packing).
_READABLE = r"UPDATE chunk SET times = '\xff000000007f10'"
_CONTENT = (
    b'{"code":{"coding":[{"code":"2339-0"}]},"effectiveDateTime":"2026-11-22T10:00:00Z",'
    b'"valueQuantity":{"value":100,"code":"mg/dL"}}'
)
PATHS = ("/me/data", "/me/data?days=7", "/me/data/values")


async def blocks(core: Core, browser: Browser, path: str) -> int:
    """How many blocks the page takes when it is asked for again and again."""
    found = []
    for at in range(WARM + 3):
        async with touched(core.pool) as work:
            assert (await browser.get(path)).status_code == 200
        if at >= WARM:
            found.append(work.blocks)
    return min(found)


async def test_years_of_values_cost_no_blocks(core: Core) -> None:
    """Among others like them: how many values a patient has on average decides the plan."""
    async with among_others(core) as core:
        (young, young_browser), (old, old_browser) = await logged_in(core), await logged_in(core)
        others = [uuid4() for _ in range(50)]
        for fill in (wear, measure):
            await fill(core, [*others, young.patient_id], MONTH)
            await fill(core, [old.patient_id], YEARS)
        await core.pool.execute(_READABLE)
        await core.pool.execute("UPDATE measurement SET content = $1", _CONTENT)
        await core.pool.execute("VACUUM ANALYZE")
        for path in PATHS:
            few, many = [await blocks(core, browser, path) for browser in (young_browser, old_browser)]
            assert many <= MOST * few, path
        assert "144" in (await old_browser.get("/me/data")).text  # readings of the day


async def test_the_first_and_the_last_instant_are_those_of_all_sensors(core: Core) -> None:
    body, now = Body(core), core.clock()
    valueset = body.miv(CGM).valueset
    assert await measured_between(core.pool, body.patient_id, valueset) is None
    device = await body.device()

    async def epoch(from_ms: int, until_ms: int | None, miv: str = CGM) -> int:
        sensor = await body.sensor(device, miv, **({"code": "99504-3"} if miv == CGM else {}))
        return await body.epoch(device, sensor, from_ms, until_ms=until_ms)

    await epoch(now - 40 * DAY, None)  # registered first, for ever, and never heard of
    early = await epoch(now - 35 * DAY, now + 5 * DAY)  # began before the one that measured first
    first = await epoch(now - 30 * DAY, now - 10 * DAY)
    other = await epoch(now - 25 * DAY, now - HOUR)
    assert await measured_between(core.pool, body.patient_id, valueset) is None
    await body.chunk(early, 12, now - 23 * DAY, [100])
    assert await measured_between(core.pool, body.patient_id, valueset) == (now - 23 * DAY,) * 2
    await body.chunk(first, 0, now - 30 * DAY, [])  # nothing came on its first day
    await body.chunk(first, 1, now - 29 * DAY, [100, 101])
    await body.chunk(other, 0, now - 25 * DAY, [100])
    await body.chunk(other, 20, now - 5 * DAY, [100, 101])
    await body.chunk(other, 21, now - 4 * DAY, [])
    last = now - 5 * DAY + 300_000
    assert await measured_between(core.pool, body.patient_id, valueset) == (now - 29 * DAY, last)
    assert await measured_between(core.pool, uuid4(), valueset) is None
    assert await measured_between(core.pool, body.patient_id, "urn:other") is None
