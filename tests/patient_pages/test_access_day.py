"""A day can be chosen on the page that says who read what, so that nobody has to page through years of accesses."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.patient_pages import access
from ddr.patient_pages.dates import ZONE, day
from ddr.series.days import local_day, midnight
from ddr.store.audit.patients import upto
from ddr.store.audit.trail import Event, record
from tests.patient_pages.browser import Browser, inputs
from tests.support.audit import DAY_MS, HOUR_MS, Person, pack_all, people, write_day
from tests.support.day import today
from tests.support.patients import new_patient

PAGE = 7
DAYS = (60, 59, 3, 2)  # ago, with accesses


@pytest.fixture
async def browser(core: Core, own_pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """Of a patient whose trail is packed but for today, among others'."""
    monkeypatch.setattr(access, "PAGE", PAGE)
    core = replace(core, pool=own_pool)
    patient = await new_patient(core)
    who = [*people(2), Person(patient.patient_id, ("p",))]
    for ago in DAYS:
        if ago == 3:  # sealed with what follows, as after a stop
            await record(own_pool, Event.DATA_READ, (today() - 40) * DAY_MS, patient_id=patient.patient_id)
        await write_day(own_pool, today() - ago, who, 60)
    await pack_all(own_pool)
    for hour in range(3):
        await record(own_pool, Event.DATA_READ, today() * DAY_MS + hour * HOUR_MS, patient_id=patient.patient_id)
    return await Browser(core).logged_in(patient)


async def _chosen(browser: Browser, written: str) -> str:
    answer = await browser.post("/me/access", await browser.get("/me/access"), day=written)
    assert answer.status_code == 303 and not re.search(r"\d{4}-\d\d", answer.headers["location"])
    return html.unescape((await browser.get(answer.headers["location"])).text)


@pytest.mark.requirement("AUD-005")
async def test_a_day_leads_to_what_happened_up_to_its_end(browser: Browser, own_pool: asyncpg.Pool) -> None:
    """Days are those of the patients' clocks; of each of two months the page begins where a naive look begins."""
    patient_id = await own_pool.fetchval("SELECT patient_id FROM account")
    times = [row["at_ms"] async for row in upto(own_pool, patient_id, 1 << 40)]
    first = local_day(min(times), ZONE)
    for ago in range((local_day(today() * DAY_MS + DAY_MS, ZONE) - first).days + 1):
        chosen = first + timedelta(days=ago)
        expected = sorted(one for one in times if one < midnight(chosen + timedelta(days=1), ZONE))[-PAGE:]
        shown = await _chosen(browser, chosen.isoformat())
        assert re.findall(r'<h2 id="day-\d+">(.*?)</h2>', shown) == list(
            dict.fromkeys(day("de", one) for one in reversed(expected))
        )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("gestern", "Diesen Tag können wir nicht lesen. Bitte schreiben Sie ihn so: 24.12.2026."),
        ("1.1.2020", "Bis zu diesem Tag gibt es keine Einträge. Hier stehen die neuesten."),
    ],
)
async def test_a_day_without_entries_is_told_at_its_field(browser: Browser, written: str, said: str) -> None:
    page = await _chosen(browser, written)
    assert f'<a href="#choose">{said}</a>' in page and "<title>Fehler: " in page
    (field,) = [one for one in inputs(page) if one.get("id") == "choose"]
    assert (field["aria-invalid"], field["aria-describedby"]) == ("true", "error")


async def test_who_has_one_page_is_asked_for_no_day(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one for one in inputs((await browser.get("/me/access")).text) if one.get("id") == "choose"]
    monkeypatch.setattr(access, "PAGE", 1000)
    assert not [one for one in inputs((await browser.get("/me/access")).text) if one.get("id") == "choose"]
