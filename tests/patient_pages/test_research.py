"""Consent to research: the page, its proof, the copy, representatives, and the end (docs/research.md)."""

from __future__ import annotations

import asyncio
import csv
import io
from dataclasses import replace
from html import unescape
from pathlib import Path

import asyncpg
import httpx
import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class

from ddr.http.core import Core
from ddr.operations.restore import replay
from ddr.patient_pages.research_text import VERSION
from ddr.store.audit.journal import JOURNAL, entries
from ddr.store.authorization import research
from ddr.store.authorization.representations import End, Relation, SetBy, end
from ddr.store.patients import administration
from ddr.store.patients.erasure import delete_patient
from tests.fhir.validity import assert_no_empties
from tests.patient_pages.browser import Browser, inputs
from tests.patient_pages.test_consent import CGM, logged_in, scope
from tests.patient_pages.test_pages import paired
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.patients import Patient, list_diga, new_patient, push_request, represent

PATH = "/me/research"


@pytest.fixture
async def core(core: Core) -> Core:
    """The operator has switched it on."""
    core.settings = replace(core.settings, research=True)
    return core


async def agree(browser: Browser, **fields: str) -> httpx.Response:
    """Tick the box and send the form."""
    page = await browser.get(PATH)
    digest = next((str(one["value"]) for one in inputs(page.text) if one.get("name") == "text"), "")
    return await browser.post(PATH, page, **{"text": digest, "agree": "yes", "decision": "give", **fields})


async def take_back(browser: Browser) -> httpx.Response:
    return await browser.post(PATH, await browser.get(PATH), decision="withdraw")


async def acts(core: Core, patient: Patient) -> list[tuple[str, str | None, str | None]]:
    """What the proof says: the act, by whom it ended, in which role."""
    rows = await core.pool.fetch(
        "SELECT act, ended_by, role FROM research_consent WHERE patient_id = $1 ORDER BY act_no", patient.patient_id
    )
    return [tuple(row) for row in rows]


async def events(core: Core, patient: Patient) -> list[str]:
    rows = await core.pool.fetch("SELECT event FROM audit WHERE patient_id = $1 ORDER BY audit_no", patient.patient_id)
    return [row["event"] for row in rows if ":research:" in row["event"]]


async def test_switched_off_there_is_no_page_and_no_link(core: Core) -> None:
    core.settings = replace(core.settings, research=False)
    _, browser = await logged_in(core)
    page = await browser.get("/me")
    assert PATH not in page.text
    assert (await browser.get(PATH)).status_code == 404
    assert (await browser.post(PATH, page, decision="give", agree="yes")).status_code == 404


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_it_is_off_until_the_box_is_ticked(core: Core, lang: str) -> None:
    patient, browser = await logged_in(core, lang)
    assert f'href="{PATH}"' in (await browser.get("/me")).text
    page = await browser.get(PATH)
    (box,) = [one for one in inputs(page.text) if one.get("type") == "checkbox"]
    assert "checked" not in box
    answer = await agree(browser, agree="")
    assert answer.status_code == 422
    assert {"de": "Setzen Sie den Haken", "en": "Tick the box"}[lang] in answer.text
    assert (await agree(browser, decision="")).status_code == 403
    assert await acts(core, patient) == []


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_one_agrees_and_takes_it_back(core: Core, lang: str) -> None:
    patient, browser = await logged_in(core, lang)
    for times in (1, 2):
        assert (await agree(browser)).headers["location"] == f"{PATH}?given"
        page = await browser.get(f"{PATH}?given")
        assert {"de": "Zugestimmt am", "en": "Agreed on"}[lang] in page.text and "checkbox" not in page.text
        assert (await take_back(browser)).headers["location"] == f"{PATH}?withdrawn"
        page = await browser.get(f"{PATH}?withdrawn")
        assert {"de": "Sie haben nicht zugestimmt", "en": "You have not agreed"}[lang] in page.text
        assert await acts(core, patient) == [("given", None, None), ("ended", "patient", None)] * times
    assert await events(core, patient) == ["patient:research:given", "patient:research:withdrawn"] * 2
    trail = (await browser.get("/me/access")).text
    assert {"de": "Zustimmung zur Forschung widerrufen", "en": "withdrew your consent to research"}[lang] in trail


async def test_a_notice_says_what_holds(core: Core) -> None:
    """A tab that is loaded again after another one has decided otherwise; a link that somebody sends."""
    _, browser = await logged_in(core)
    given, withdrawn = "Ihre Zustimmung ist gespeichert", "Die Zustimmung ist widerrufen"
    assert given not in (await browser.get(f"{PATH}?given")).text
    await agree(browser)
    assert given in (await browser.get(f"{PATH}?given")).text
    assert withdrawn not in (await browser.get(f"{PATH}?withdrawn")).text
    await take_back(browser)
    assert given not in (await browser.get(f"{PATH}?given")).text
    assert withdrawn in (await browser.get(f"{PATH}?withdrawn")).text


async def test_of_many_clicks_one_counts(core: Core) -> None:
    patient, browser = await logged_in(core)
    page = await browser.get(PATH)
    digest = next(str(one["value"]) for one in inputs(page.text) if one.get("name") == "text")
    form = {"text": digest, "agree": "yes", "decision": "give"}
    await asyncio.gather(*(browser.post(PATH, page, **form) for _ in range(6)))
    assert await acts(core, patient) == [("given", None, None)]
    await asyncio.gather(*(browser.post(PATH, page, decision="withdraw") for _ in range(6)))
    assert await acts(core, patient) == [("given", None, None), ("ended", "patient", None)]


async def test_nothing_follows_from_what_a_diga_may_read(core: Core) -> None:
    patient, browser = await paired(core, list_diga(core))
    assert await acts(core, patient) == []
    await agree(browser)
    await browser.post("/me/withdraw", await browser.get("/me"), kind="all")
    assert await acts(core, patient) == [("given", None, None)]
    other, browser = await logged_in(core)
    await agree(browser)
    assert await core.pool.fetchval("SELECT count(*) FROM consent WHERE patient_id = $1", other.patient_id) == 0
    assert await core.pool.fetchval("SELECT count(*) FROM pairing WHERE patient_id = $1", other.patient_id) == 0


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_the_proof_holds_the_words_of_the_page(core: Core, lang: str) -> None:
    patient, browser = await logged_in(core, lang)
    page = unescape((await browser.get(PATH)).text)
    await agree(browser)
    (proof,) = await research.of_patient(core.pool, patient.patient_id)
    assert (proof["language"], proof["version"]) == (lang, VERSION)
    lines = proof["content"].splitlines()
    assert len(lines) > 10
    for line in lines:
        assert line.removeprefix("- ").removeprefix("[x] ").strip("[]") in page, line


async def test_a_page_that_says_something_else_by_now_is_shown_again(core: Core) -> None:
    patient, browser = await logged_in(core)
    answer = await agree(browser, text="0" * 64)
    assert answer.status_code == 422 and "hat sich inzwischen geändert" in answer.text
    assert await acts(core, patient) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE research_consent SET at_ms = 0 WHERE patient_id = $1",
        "UPDATE research_consent SET act = 'given', given_no = NULL WHERE patient_id = $1",
        pytest.param("DELETE FROM research_consent WHERE patient_id = $1", marks=one_server_only),
        pytest.param("DELETE FROM research_consent WHERE patient_id = $1 AND act = 'ended'", marks=one_server_only),
    ],
)
async def test_the_proof_is_only_added_to(core: Core, statement: str) -> None:
    patient, browser = await logged_in(core)
    await agree(browser)
    await take_back(browser)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await core.pool.execute(statement, patient.patient_id)
    assert len(await acts(core, patient)) == 2
    assert await delete_patient(core.pool, patient.patient_id, core.clock())
    assert await acts(core, patient) == [], "it goes with the patient"


async def test_the_copy_holds_it(core: Core) -> None:
    _, browser = await logged_in(core, "en")
    await agree(browser)
    await take_back(browser)
    await agree(browser)
    bundle = orjson.loads((await browser.get("/me/data.json")).content)
    get_fhir_model_class("Bundle").model_validate_json(orjson.dumps(bundle))
    assert_no_empties(bundle)
    assert len({entry["fullUrl"] for entry in bundle["entry"]}) == len(bundle["entry"])
    consents = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Consent"]
    assert [one["status"] for one in consents] == ["inactive", "active"]
    assert {one["scope"]["coding"][0]["code"] for one in consents} == {"research"}
    assert "You withdrew your consent." in consents[0]["text"]["div"]
    rows = list(csv.DictReader(io.StringIO((await browser.get("/me/consents.csv")).text)))
    assert [(row["kind"], row["ended_by"], row["language"], row["text_version"]) for row in rows] == [
        ("Research with your readings", "patient", "en", VERSION),
        ("Research with your readings", "", "en", VERSION),
    ]
    assert all(row["text"].startswith("Research with your readings\n") and not row["pairing"] for row in rows)


# --- representatives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relation", Relation)
async def test_who_decides_what_cannot_be_undone_may_agree(core: Core, relation: Relation) -> None:
    mother, mia = await new_patient(core, "mother"), await new_patient(core, "mia")
    await represent(core, mother, mia, "Mia", relation)
    browser = await Browser(core).logged_in(mother)
    await browser.act_for("Mia")
    if relation is Relation.CARER:
        page = await browser.get(PATH)
        assert "können Sie hier nicht zustimmen" in page.text and "checkbox" not in page.text
        answer = await browser.post(PATH, page, agree="yes", decision="give")
        assert answer.status_code == 403
        assert await acts(core, mia) == []
        own = await Browser(core).logged_in(mia)
        await agree(own)
        await take_back(browser)
        assert await acts(core, mia) == [("given", None, None), ("ended", "patient", "carer")]
        return
    await agree(browser)
    assert await acts(core, mia) == [("given", None, str(relation))] and await acts(core, mother) == []
    (proof,) = await research.of_patient(core.pool, mia.patient_id)
    assert "Mia" not in proof["content"] and "für …" in proof["content"]
    own = await Browser(core, "en").logged_in(mia)
    who = {"parent": "a parent", "guardian": "a guardian"}[relation]
    assert f"{who} agreed for you" in (await own.get(PATH)).text
    assert f"{who.capitalize()} agreed for you" in (await own.get("/me/access")).text


async def test_a_consent_ends_with_the_right_by_which_it_was_given(core: Core) -> None:
    mother, mia = await new_patient(core, "mother"), await new_patient(core, "mia")
    right = await represent(core, mother, mia)
    browser = await Browser(core).logged_in(mother)
    await browser.act_for("Mia")
    await agree(browser)
    async with core.pool.acquire() as conn, conn.transaction():
        assert await end(conn, mia.patient_id, right, SetBy.OPERATOR, End.RELATION, core.clock())
    assert await acts(core, mia) == [("given", None, "parent"), ("ended", "system", None)]
    assert await events(core, mia) == ["patient:research:given", "system:research:ended"]
    own = await Browser(core).logged_in(mia)
    assert "Die Vertretung ist beendet." in (await own.get(PATH)).text
    await agree(own)
    again = await represent(core, mother, mia)
    async with core.pool.acquire() as conn, conn.transaction():
        assert await end(conn, mia.patient_id, again, SetBy.OPERATOR, End.RELATION, core.clock())
    assert (await acts(core, mia))[-1] == ("given", None, None), "what the patient gave stays"


async def test_a_form_of_one_child_gives_nothing_for_another(core: Core) -> None:
    mother, mia, ben = [await new_patient(core, name) for name in ("mother", "mia", "ben")]
    await represent(core, mother, mia)
    await represent(core, mother, ben, "Ben")
    browser = await Browser(core).logged_in(mother)
    await browser.act_for("Mia")
    page = await browser.get(PATH)
    digest = next(str(one["value"]) for one in inputs(page.text) if one.get("name") == "text")
    await browser.act_for("Ben")
    answer = await browser.post(PATH, page, text=digest, agree="yes", decision="give")
    assert answer.status_code == 403 and "Diese Seite war für jemand anderen" in answer.text
    await browser.act_for("")
    assert (await agree(browser, text=digest)).status_code == 422, "other words than those for a parent"
    assert [await acts(core, one) for one in (mother, mia, ben)] == [[], [], []]


async def test_nobody_agrees_for_a_disabled_account_or_after_the_right_has_ended(core: Core) -> None:
    mother, mia = await new_patient(core, "mother"), await new_patient(core, "mia")
    right = await represent(core, mother, mia)
    browser = await Browser(core).logged_in(mother)
    await browser.act_for("Mia")
    page = await browser.get(PATH)
    digest = next(str(one["value"]) for one in inputs(page.text) if one.get("name") == "text")
    form = {"text": digest, "agree": "yes", "decision": "give"}

    async def over() -> None:
        async with core.pool.acquire() as conn, conn.transaction():
            await end(conn, mia.patient_id, right, SetBy.OPERATOR, End.RELATION, core.clock())

    await asyncio.gather(over(), *(browser.post(PATH, page, **form) for _ in range(4)))
    given = await research.of_patient(core.pool, mia.patient_id)
    assert all(one["ended_ms"] is not None for one in given), "whichever came first"
    patient, browser = await logged_in(core)
    page = await browser.get(PATH)
    await administration.disable(core.pool, patient.patient_id, core.clock())
    await browser.post(PATH, page, **form)
    assert await acts(core, patient) == []


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_a_withdrawal_is_done_again_after_a_restore(core: Core, clock: Clock, tmp_path: Path) -> None:
    mother, mia = await new_patient(core, "mother"), await new_patient(core, "mia")
    await represent(core, mother, mia)
    patient, own = await logged_in(core)
    browser = await Browser(core).logged_in(mother)
    await browser.act_for("Mia")
    with JOURNAL.kept_in(tmp_path):
        for one in (own, browser):
            await agree(one)
        clock.advance(60)
        withdrawn_ms = clock()
        for one in (own, browser):
            await take_back(one)
    written = list(entries(tmp_path))
    assert [entry["event"] for entry in written] == ["patient:research:withdrawn"] * 2
    for one in (own, browser):  # as if the withdrawals were lost, which a backup from before them is
        await agree(one)
    restored = [{**entry, "at_ms": clock(), "given_ms": [clock()]} for entry in written]
    clock.advance(60)
    assert await replay(core.pool, restored, clock()) == {"patient:research:withdrawn": 2}
    assert (await acts(core, patient))[-1] == ("ended", "patient", None)
    assert (await acts(core, mia))[-1] == ("ended", "patient", "parent")
    assert await replay(core.pool, restored, clock()) == {}
    clock.advance(60)
    await agree(own)
    assert await replay(core.pool, written, clock()) == {} and withdrawn_ms < clock()
    assert (await acts(core, patient))[-1] == ("given", None, None), "what was given later stays"


async def test_a_consent_page_of_a_diga_says_nothing_of_it(core: Core) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core), CGM)
    page = await browser.consent_page(request_uri)
    assert scope(core, CGM) in page.text and "Forschung mit" not in page.text
