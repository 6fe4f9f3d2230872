"""The decision in detail: for how long it is valid, and what a second click does (CON-006, CON-007)."""

from __future__ import annotations

import re
from dataclasses import replace

import httpx
import pytest

from ddr.http.core import Core
from ddr.patient_pages.dates import day
from tests.patient_pages.browser import inputs
from tests.patient_pages.test_consent import CGM, PRESSURE, consents, logged_in, scope
from tests.support.clock import Clock
from tests.support.patients import list_diga, push_request


def hidden(page: httpx.Response) -> dict[str, str]:
    """The fields of the page's form that a browser sends along, but its token and the request."""
    fields = {str(one["name"]): str(one["value"]) for one in inputs(page.text) if one.get("type") == "hidden"}
    return {name: value for name, value in fields.items() if name not in ("form_token", "request_uri")}


def periods(html: str) -> list[tuple[str, bool]]:
    """The periods offered, in days, and whether one is selected; without selection browsers take the first."""
    options = re.findall(r'<option value="(\d+)"( selected)?>', html)
    return [(days, bool(selected)) for days, selected in options]


@pytest.mark.parametrize("seconds", [0, 40])
@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_a_second_click_leads_to_the_diga_like_the_first(
    core: Core, clock: Clock, decision: str, seconds: int
) -> None:
    """Also when the first was answered by nothing, or that the database is away: it may be some time until the next."""
    _, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "decision": decision, "scope": scope(core, CGM)}
    first = await browser.post("/consent", page, **form)
    clock.advance(seconds)
    second = await browser.post("/consent", page, **form)
    assert first.headers["location"] == second.headers["location"]


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_a_click_after_the_end_of_a_code_leads_nowhere(core: Core, clock: Clock, decision: str) -> None:
    _, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "decision": decision, "scope": scope(core, CGM)}
    await browser.post("/consent", page, **form)
    clock.advance(core.settings.code_seconds)
    late = await browser.post("/consent", page, **form)
    assert late.status_code == 400 and "Verbindungen" in late.text


@pytest.mark.parametrize("fewer", [(CGM,), ()])
async def test_agreeing_again_to_less_does_not_go_on_with_more(core: Core, fewer: tuple[str, ...]) -> None:
    """By the back button: the page says that the first decision stands, and where it can be ended."""
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core), CGM, PRESSURE))
    form = {"request_uri": request_uri, "decision": "approve"}
    both = [("scope", scope(core, miv)) for miv in (CGM, PRESSURE)]
    first = await browser.post("/consent", page, *both, **form)
    again = await browser.post("/consent", page, *(("scope", scope(core, miv)) for miv in fewer), **form)
    assert "code=" in first.headers["location"]
    assert again.status_code == 400 and "Verbindungen" in again.text
    assert len(await consents(core, patient)) == 2
    assert (await browser.post("/consent", page, *both, **form)).headers["location"] == first.headers["location"]


@pytest.mark.parametrize("seconds", [1, 45])
async def test_a_refusal_after_an_agreement_wins_until_the_diga_has_its_tokens(
    core: Core, clock: Clock, seconds: int
) -> None:
    """In another tab, or by the back button; consents given before stay."""
    patient, browser = await logged_in(core)
    diga = list_diga(core)
    await browser.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM))
    before = await consents(core, patient)
    clock.advance(600)
    page = await browser.consent_page(request_uri := await push_request(core, diga, CGM, PRESSURE))
    form = {"request_uri": request_uri, "scope": scope(core, PRESSURE)}
    assert "code=" in (await browser.post("/consent", page, **form, decision="approve")).headers["location"]
    assert len(await consents(core, patient)) == 2
    clock.advance(seconds)
    refused = await browser.post("/consent", page, **form, decision="deny")
    assert "error=access_denied" in refused.headers["location"] and "code=" not in refused.headers["location"]
    assert await consents(core, patient) == before
    alive = "SELECT count(*) FROM token_grant WHERE patient_id = $1 AND revoked_ms IS NULL"
    assert await core.pool.fetchval(alive, patient.patient_id) == 1, "the one before"
    told = "SELECT event FROM audit WHERE patient_id = $1 ORDER BY audit_no DESC LIMIT 1"
    assert await core.pool.fetchval(told, patient.patient_id) == "patient:pairing:denied"
    repeated = await browser.post("/consent", page, **form, decision="deny")
    assert repeated.headers["location"] == refused.headers["location"]


async def test_a_refusal_after_the_first_agreement_leaves_no_pairing(core: Core) -> None:
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "scope": scope(core, CGM)}
    await browser.post("/consent", page, **form, decision="approve")
    await browser.post("/consent", page, **form, decision="deny")
    living = "SELECT count(*) FROM pairing WHERE patient_id = $1 AND ended_ms IS NULL"
    assert await core.pool.fetchval(living, patient.patient_id) == 0
    assert await consents(core, patient) == {}


async def test_a_refusal_is_too_late_when_the_code_was_redeemed(core: Core) -> None:
    """The page says that the decision stands and where it can be taken back."""
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {"request_uri": request_uri, "scope": scope(core, CGM)}
    await browser.post("/consent", page, **form, decision="approve")
    await core.pool.execute("UPDATE authorization_code SET redeemed_ms = 1 WHERE patient_id = $1", patient.patient_id)
    late = await browser.post("/consent", page, **form, decision="deny")
    assert late.status_code == 400 and "Verbindungen" in late.text
    assert len(await consents(core, patient)) == 1


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


@pytest.mark.parametrize("days", ["365", None])
async def test_the_end_that_was_read_holds_also_after_midnight(core: Core, clock: Clock, days: str | None) -> None:
    clock.advance(13 * 3600 - 60)  # a minute before midnight in Berlin
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    form = {**hidden(page), "request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM)}
    clock.advance(120)
    await browser.post("/consent", page, **form, **({"days": days} if days else {}))
    (given,) = (await consents(core, patient)).values()
    assert f"(bis {day('de', given['until_ms'])})" in page.text


@pytest.mark.parametrize("seconds", [-86_400, -601, 1, 10**14, None])
async def test_a_page_that_was_not_shown_just_now_ends_nothing_otherwise(core: Core, seconds: int | None) -> None:
    patient, browser = await logged_in(core)
    page = await browser.consent_page(request_uri := await push_request(core, list_diga(core)))
    shown = "²" if seconds is None else str(core.clock() + seconds * 1000)
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM), "shown": shown}
    await browser.post("/consent", page, **form, days="90")
    (given,) = (await consents(core, patient)).values()
    assert given["until_ms"] == core.clock() + 90 * 86_400_000


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
