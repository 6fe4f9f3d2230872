"""The decision in detail: for how long it holds, and what a second click does (CON-006, CON-007)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ddr.http.core import Core
from tests.patient_pages.test_consent import CGM, consents, logged_in, scope
from tests.support.patients import list_diga, push_request


def periods(html: str) -> list[tuple[str, bool]]:
    """The periods offered, in days, and whether one is selected; without selection browsers take the first."""
    options = re.findall(r'<option value="(\d+)"( selected)?>', html)
    return [(days, bool(selected)) for days, selected in options]


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_a_second_click_leads_to_the_diga_like_the_first(core: Core, decision: str) -> None:
    _, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "decision": decision, "scope": scope(core, CGM)}
    first, second = [await browser.post("/consent", page, **form) for _ in range(2)]
    assert first.headers["location"] == second.headers["location"]


async def test_a_second_click_of_another_patient_leads_nowhere(core: Core) -> None:
    _, browser = await logged_in(core)
    _, other = await logged_in(core)
    page = await other.consent_page(request_uri := await push_request(core, list_diga(core)))
    await browser.decide(request_uri, "approve", scope(core, CGM))
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM)}
    assert (await other.post("/consent", page, **form)).status_code == 400


async def test_a_code_that_was_redeemed_is_not_shown_again(core: Core) -> None:
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM)}
    await browser.post("/consent", page, **form)
    await core.pool.execute("UPDATE authorization_code SET redeemed_ms = 1 WHERE patient_id = $1", patient.patient_id)
    assert (await browser.post("/consent", page, **form)).status_code == 400


@pytest.mark.parametrize(("days", "until"), [("365", 365), ("90", 90), ("30", 30), (None, 30)])
async def test_the_patient_chooses_how_long(core: Core, days: str | None, until: int) -> None:
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM)}
    await browser.post("/consent", page, **form, **({"days": days} if days else {}))
    (given,) = (await consents(core, patient)).values()
    assert given["until_ms"] == core.clock() + until * 86_400_000


async def test_90_days_are_preset_and_a_choice_survives_a_mistake(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    assert periods(page.text) == [("90", False), ("30", False), ("365", False)]
    page = await browser.post("/consent", page, request_uri=request_uri, decision="approve", days="30")
    assert periods(page.text) == [("90", False), ("30", True), ("365", False)]


@pytest.mark.parametrize(("longest", "offered"), [(30, ["30"]), (60, ["30", "60"]), (90, ["30", "90"])])
async def test_no_period_is_longer_than_the_operators(core: Core, longest: int, offered: list[str]) -> None:
    core.settings = replace(core.settings, consent_days=longest)
    _, browser = await logged_in(core)
    page = await browser.consent_page(await push_request(core, list_diga(core)))
    assert [days for days, _ in periods(page.text)] == offered


@pytest.mark.parametrize("days", ["366", "0", "-1", "1e9", "x", "045"])
async def test_no_other_period_can_be_chosen(core: Core, days: str) -> None:
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM), "days": days}
    assert (await browser.post("/consent", page, **form)).status_code == 400
    assert await consents(core, patient) == {}
