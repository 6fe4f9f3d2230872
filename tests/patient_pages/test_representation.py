"""A login acts for others: the choice, consent and its proof, the trail, and the end (docs/representatives.md)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from html import unescape
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from httpx import Cookies

from ddr.http.core import Core
from ddr.operations.housekeeping import steps
from ddr.patient_pages.dates import ZONE
from ddr.series.days import midnight
from ddr.store.audit.acting import ACTING, Acting
from ddr.store.audit.trail import Event
from ddr.store.authorization.pairings import alive
from ddr.store.authorization.representations import End, Relation, SetBy, end, of_patient, stated_terms
from ddr.store.database.digest import sha256
from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.database.rights import Moment
from ddr.store.gateways import apps, tokens
from ddr.store.patients import export
from ddr.store.patients.erasure import contents, delete_patient
from tests.patient_pages.browser import FORM, Browser, form_token, inputs
from tests.patient_pages.test_consent import CGM, scope
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.counting import counted
from tests.support.patients import PASSWORD, Patient, add_device, list_diga, new_patient, push_request, represent
from tests.support.proofs import records

DAY = 86_400
ANSWER = {"code", "state", "iss"}  # all that a DiGA is told: neither the name nor who acted


@pytest.fixture
async def mother(core: Core) -> Patient:
    return await new_patient(core, "mother")


@pytest.fixture
async def mia(core: Core) -> Patient:
    return await new_patient(core, "mia")


@pytest.fixture
async def right(core: Core, mother: Patient, mia: Patient) -> Any:
    """Mother acts for Mia."""
    return await represent(core, mother, mia)


async def acting(core: Core, mother: Patient, name: str = "Mia", lang: str = "de") -> Browser:
    """The mother's browser, after she has chosen the child."""
    browser = await Browser(core, lang).logged_in(mother)
    assert (await browser.act_for(name)).status_code == 303
    return browser


async def allowed(core: Core, browser: Browser, name: str = "Mia", number: str = "00001") -> str:
    """The request that was allowed to one DiGA for this person."""
    request_uri = await push_request(core, list_diga(core, number), CGM)
    assert (await browser.act_for(name, request_uri)).status_code == 303
    answer = await browser.decide(request_uri, "approve", scope(core, CGM))
    assert "code=" in answer.headers["location"]
    return request_uri


async def events(core: Core, patient: Patient) -> list[tuple[str, str | None]]:
    """The patient's trail: tag, and in which role."""
    rows = await core.pool.fetch(
        "SELECT event, detail FROM audit WHERE patient_id = $1 ORDER BY audit_no", patient.patient_id
    )
    return [(row["event"], row["detail"].get("by")) for row in rows]


async def finish(core: Core, mia: Patient, right: Any) -> None:
    """The operator ends it."""
    async with core.pool.acquire() as conn, conn.transaction():
        assert await end(conn, mia.patient_id, right, SetBy.OPERATOR, End.RELATION, core.clock())


async def test_without_representation_nothing_is_added(core: Core, mother: Patient) -> None:
    browser = Browser(core)
    assert (await browser.login(mother)).headers["location"] == "/me"
    for path in ("/me", "/me/access", "/me/data", "/me/devices", "/me/delete"):
        page = await browser.get(path)
        assert not re.search("vertr[eit]|/me/person", page.text, re.IGNORECASE), path
    assert (await browser.get("/me/person")).headers["location"] == "/me"
    request_uri = await push_request(core, list_diga(core), CGM)
    assert (
        (await browser.get(f"/me/person?request_uri={quote(request_uri)}")).headers["location"].startswith("/consent")
    )
    assert "/me/person" not in (await browser.consent_page(request_uri)).text


async def test_people_of_one_name_are_told_apart(core: Core, mother: Patient, mia: Patient) -> None:
    """A child by its birthday; of a grown-up none is known."""
    other, third = await new_patient(core), await new_patient(core)
    await represent(core, mother, mia, born=date(2019, 3, 5))
    await represent(core, mother, third, "Ole", born=date(2020, 4, 6))
    browser = await Browser(core).logged_in(mother)
    page = (await browser.get("/me/person")).text
    assert "geboren" not in page and "seit" not in page
    await represent(core, mother, other, relation=Relation.CARER)
    page = (await browser.get("/me/person")).text
    assert "geboren am 5. März 2019" in page and "seit 22. November 2026" in page
    assert "6. April" not in page


@one_server_only
async def test_no_page_takes_a_statement_more(core: Core, mother: Patient, mia: Patient) -> None:
    """That a right is in force is asked by the statement that loads the session."""
    browser, seen = await Browser(core).logged_in(mother), []
    await browser.get("/me")
    for name in (None, "Mia"):
        if name:
            await represent(core, mother, mia, name)
            await browser.act_for(name)
        async with counted(core.pool) as statements:
            await browser.get("/me")
        seen.append(statements)
    assert [len(each) for each in seen] == [4, 4], seen  # the session, pairings, those that ended, kinds that were lost


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_one_chooses_by_name_whose_data_it_is(core: Core, mother: Patient, mia: Patient, lang: str) -> None:
    await represent(core, mother, mia, "Mia <i>")
    ben = await new_patient(core, "ben")
    await represent(core, mother, ben, "Ben", Relation.GUARDIAN)
    await add_device(core, mia, "Mias Sensor", CGM, "M-1")
    await add_device(core, ben, "Bens Sensor", CGM, "B-1")
    browser = Browser(core, lang)
    assert (await browser.login(mother)).headers["location"] == "/me/person"
    page = await browser.get("/me/person")
    assert {"Mia &lt;i&gt;", "Ben"} <= set(page.text.replace("</bdi>", "<bdi>").split("<bdi>"))
    assert (await browser.act_for("Ben")).headers["location"] == "/me"
    devices = await browser.get("/me/devices")
    assert "Bens Sensor" in devices.text and "Mias Sensor" not in devices.text
    banner = {"de": "als Vormund", "en": "as a guardian"}[lang]
    assert banner in devices.text and "<bdi>Ben</bdi>" in devices.text
    await browser.act_for("Mia &lt;i&gt;")
    devices = await browser.get("/me/devices")
    assert "Mias Sensor" in devices.text and "Bens Sensor" not in devices.text
    await browser.act_for("")
    assert "Sensor" not in (await browser.get("/me/devices")).text.replace("Glucose sensor", "")


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_consent_and_proof_say_in_which_role(
    core: Core, mother: Patient, mia: Patient, right: Any, lang: str
) -> None:
    browser = Browser(core, lang)
    request_uri = await push_request(core, list_diga(core), CGM)
    landed = await browser.login(mother, request_uri=request_uri)
    assert landed.headers["location"] == f"/me/person?request_uri={quote(request_uri, safe='')}"
    assert (await browser.consent_page(request_uri)).headers["location"] == landed.headers["location"]
    await browser.act_for("Mia", request_uri)
    page = await browser.consent_page(request_uri)
    assert {"de": "als Elternteil", "en": "as a parent"}[lang] in page.text and "<bdi>Mia</bdi>" in page.text
    digest = next(str(one["value"]) for one in inputs(page.text) if one.get("name") == "text")
    form = {"scope": scope(core, CGM), "days": "90", "decision": "approve", "text": digest, "request_uri": request_uri}
    answer = await browser.post("/consent", page, **form)
    location = answer.headers["location"]
    assert location.startswith("https://diga.example/") and set(parse_qs(urlsplit(location).query)) == ANSWER
    (proof,) = await records(core.pool, mia.patient_id)
    assert (proof["act"], proof["role"], proof["representation_id"]) == ("given", "parent", right)
    said = proof["content"].splitlines()
    assert {"de": "Sie entscheiden als Elternteil für …", "en": "You decide as a parent for …"}[lang] in said[1]
    assert "Mia" not in proof["content"] and said[1].split("…")[0] in unescape(page.text).replace("<bdi>Mia</bdi>", "…")
    assert await alive(core.pool, mother.patient_id, core.clock()) == []
    assert (await browser.post("/consent", page, **form)).headers["location"] == location  # a second click


async def test_a_consent_that_ends_by_others_is_no_act_of_the_representative(
    core: Core, mother: Patient, mia: Patient, right: Any, clock: Clock
) -> None:
    browser = await acting(core, mother)
    await allowed(core, browser)
    (pairing,) = await alive(core.pool, mia.patient_id, clock())
    await browser.post("/me/withdraw", await browser.get("/me"), client_id=pairing.client_id, kind="all")
    acts = [(one["act"], one["ended_by"], one["role"]) for one in await records(core.pool, mia.patient_id)]
    assert acts == [("given", None, "parent"), ("ended", "patient", "parent")]
    await allowed(core, browser)
    clock.advance(400 * DAY)
    await steps(core, clock())["consents"]()
    assert [(one["ended_by"], one["role"]) for one in await records(core.pool, mia.patient_id)][-1] == ("system", None)


async def test_the_trail_shows_each_act_of_a_representative(
    core: Core, mother: Patient, mia: Patient, right: Any
) -> None:
    browser, moment = await acting(core, mother), Moment.at(core.clock(), core.settings)
    await allowed(core, browser)
    request_uri = await push_request(core, list_diga(core, "00002"), CGM)
    await browser.act_for("Mia", request_uri)
    await browser.decide(request_uri, "deny")
    assert "text/csv" in (await browser.get("/me/data.csv")).headers["content-type"]
    code = await apps.offer_code(core.pool, mia.patient_id, core.clock())  # what Mia makes herself is hers
    assert await apps.connect(core.pool, code, "own", 1, moment)
    page = await browser.post("/me/devices/connect", await browser.get("/me/devices"))
    code = page.text.split("<code>")[1].split("<")[0]
    assert await apps.connect(core.pool, code, "hers", 1, moment)
    page = await browser.get("/me/devices")
    app = next(str(one["value"]) for one in inputs(page.text) if one.get("name") == "app")
    await browser.post("/me/devices/disconnect", page, app=app)
    await browser.post("/me/withdraw", await browser.get("/me"), kind="all")
    assert await events(core, mia) == [
        (Event.REPRESENTATION_SET_BY_OPERATOR, "parent"),
        (Event.REPRESENTATIVE_ENTERED, "parent"),
        (Event.PAIRING_GRANTED, "parent"),
        (Event.PAIRING_DENIED, "parent"),
        (Event.DATA_DOWNLOADED, "parent"),
        (Event.GATEWAY_CONNECTED, None),
        (Event.GATEWAY_CONNECTED, "parent"),
        (Event.GATEWAY_DISCONNECTED, "parent"),
        (Event.PAIRING_ENDED_BY_PATIENT, "parent"),
    ]
    assert await events(core, mother) == []
    own = Browser(core)
    assert (await own.login(mia)).headers["location"] == "/me"
    trail = (await own.get("/me/access")).text
    for words in (
        "Ein Elternteil hat für Sie <bdi>GlucoPilot</bdi> erlaubt",
        "Ein Elternteil hat Ihre Daten heruntergeladen",
        "Ein Elternteil hat Ihre Seiten geöffnet",
        "Der Betreiber hat eingetragen: Ein Elternteil vertritt Sie",
    ):
        assert words in trail
    assert mother.username not in trail
    assert "Wer Sie vertritt, hat die Zustimmung widerrufen" in (await own.get("/me")).text
    assert "Elternteil, seit" in (await own.get("/me/representation")).text
    copy = await own.get("/me/consents.csv")
    assert ",parent," in copy.text and "given_as" in copy.text.splitlines()[0]
    assert '"performer":[{"display":"parent"}]' in (await own.get("/me/data.json")).text
    assert ACTING.get() is None  # nothing of a request is left


@pytest.mark.parametrize(("relation", "born", "ends"), [
    (Relation.PARENT, date(2011, 3, 4), End.MAJORITY),
    (Relation.CARER, None, End.DUE),
])  # fmt: skip
async def test_rights_end_at_the_instant(
    core: Core, mother: Patient, mia: Patient, clock: Clock, relation: Relation, born: date | None, ends: End
) -> None:
    last = midnight(date(2029, 3, 4), ZONE) if born else clock() + 3600_000
    clock.advance((last - 600_000 - clock()) / 1000)
    await represent(core, mother, mia, relation=relation, born=born, until_ms=None if born else last)
    browser = await acting(core, mother)
    await allowed(core, browser)
    clock.advance((last - clock()) / 1000 - 1)
    assert "Mia" in (await browser.get("/me")).text
    assert (await Browser(core).login(mia)).headers["location"] == "/me"
    clock.advance(1)
    assert (await browser.get("/me")).headers["location"] == "/login"
    assert (await Browser(core).login(mia)).headers["location"] == "/me/review"
    again = Browser(core)
    assert (await again.login(mother)).headers["location"] == "/me"
    assert [one["ended_ms"] for one in await of_patient(core.pool, mia.patient_id)] == [None]
    await steps(core, clock())["representations"]()
    (row,) = await of_patient(core.pool, mia.patient_id)
    assert (row["ended_ms"], row["end_reason"], row["born"]) == (clock(), ends, None)
    assert (await events(core, mia))[-1] == (Event.REPRESENTATION_ENDED_BY_SYSTEM, relation)


@pytest.mark.parametrize("over", [False, True])
async def test_a_code_for_an_app_is_good_as_long_as_the_right(
    core: Core, mother: Patient, mia: Patient, clock: Clock, over: bool
) -> None:
    """The last minutes before majority, and before housekeeping has closed the right: its app would have a year."""
    majority = midnight(date(2029, 3, 4), ZONE)
    clock.advance((majority - 300_000 - clock()) / 1000)
    right = await represent(core, mother, mia, born=date(2011, 3, 4))
    acts = ACTING.set(Acting(mother.patient_id, right, Relation.PARENT, "Mia", Moment.at(clock(), core.settings)))
    code = await apps.offer_code(core.pool, mia.patient_id, clock())
    ACTING.reset(acts)
    clock.advance((majority - clock()) / 1000 - (not over))
    moment = Moment.at(clock(), core.settings)
    made = await apps.connect(core.pool, code, "app", 365, moment)
    assert (made is None) is over
    assert (await events(core, mia))[-1][0] == (
        Event.REPRESENTATION_SET_BY_OPERATOR if over else Event.GATEWAY_CONNECTED
    )


@pytest.mark.parametrize(("shown", "sent", "fields"), [
    ("/me", "/me/withdraw", {"kind": "all"}),
    ("/me/devices", "/me/devices/connect", {}),
    ("/me/devices", "/me/devices/disconnect", {"app": "x"}),
    ("/me/delete", "/me/delete", {"password": PASSWORD}),
])  # fmt: skip
async def test_a_form_that_is_on_its_way_as_the_right_ends_does_nothing(
    core: Core, mother: Patient, mia: Patient, clock: Clock, shown: str, sent: str, fields: dict[str, str]
) -> None:
    """Whose it is was asked when it began to come; majority is there when it has, and the right not closed yet."""
    majority = midnight(date(2029, 3, 4), ZONE)
    clock.advance((majority - 60_000 - clock()) / 1000)
    await represent(core, mother, mia, born=date(2011, 3, 4))
    browser = await acting(core, mother)
    await allowed(core, browser)
    token = form_token((await browser.get(shown)).text)
    before = await contents(core.pool, mia.patient_id), await events(core, mia)

    async def coming() -> AsyncIterator[bytes]:
        yield urlencode({"form_token": token}).encode()
        clock.advance((majority - clock()) / 1000)
        yield f"&{urlencode(fields)}".encode()

    answer = await browser.http.post(sent, content=coming(), headers={"content-type": FORM})
    assert answer.status_code == 403 and "nicht mehr angemeldet" in answer.text
    assert (await contents(core.pool, mia.patient_id), await events(core, mia)) == before


async def test_the_page_names_the_last_day(core: Core, mother: Patient, mia: Patient) -> None:
    """`--until 2027-12-31`: on the next day the right does not count any more."""
    now = Moment.at(core.clock(), core.settings)
    terms = stated_terms("carer", "Mia", born=None, since=None, until=date(2027, 12, 31), moment=now, zone=ZONE)
    await represent(core, mother, mia, relation=Relation.CARER, until_ms=terms.until_ms)
    page = await (await Browser(core).logged_in(mia)).get("/me/representation")
    assert "Betreuungsperson, seit 22. November 2026, bis 31. Dezember 2027" in page.text


async def test_the_copy_says_who_decided(core: Core, mother: Patient, mia: Patient, right: Any) -> None:
    """Mia reads in her copy that a parent agreed, and chose an earlier end; she did neither."""
    browser = await acting(core, mother)
    await allowed(core, browser)
    request_uri = await push_request(core, list_diga(core), CGM)
    await browser.act_for("Mia", request_uri)
    await browser.decide(request_uri, "approve", scope(core, CGM), days="30")
    for lang, told in (
        ("de", ("hat ein Elternteil GlucoPilot für Sie bis", "hat ein Elternteil für Sie ein früheres Ende gewählt")),
        ("en", ("a parent allowed GlucoPilot for you to read", "a parent chose an earlier end for you")),
    ):
        bundle = (await (await Browser(core, lang).logged_in(mia)).get("/me/data.json")).json()
        consents = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Consent"]
        story = " ".join(one["text"]["div"] for one in consents)
        assert all(words in story for words in told)
        assert "haben Sie" not in story and "you allowed" not in story and "you chose" not in story


async def test_a_choice_that_is_pressed_twice_leads_on(core: Core, mother: Patient, mia: Patient, right: Any) -> None:
    """The second form is of the cookie before the choice. The DiGA still waits, and nothing is chosen by it."""
    browser = await Browser(core).logged_in(mother)
    request_uri = await push_request(core, list_diga(core), CGM)
    page = await browser.get(f"/me/person?{urlencode({'request_uri': request_uri})}")
    for _ in range(2):
        answer = await browser.post("/me/person", page, person=str(right), request_uri=request_uri)
        assert answer.headers["location"] == f"/consent?{urlencode({'request_uri': request_uri})}"
    assert "Darf" in (await browser.consent_page(request_uri)).text
    assert (await browser.post("/me/person", page, person="self", request_uri=request_uri)).status_code == 403
    assert [event for event, _ in await events(core, mia)].count(Event.REPRESENTATIVE_ENTERED) == 1


async def test_a_choice_that_is_pressed_twice_before_its_answer_loses_no_request(
    core: Core, mother: Patient, mia: Patient, right: Any
) -> None:
    """The answer to the first click, with the new cookie, is never read; the DiGA still waits."""
    browser = await Browser(core).logged_in(mother)
    request_uri = await push_request(core, list_diga(core), CGM)
    waiting = urlencode({"request_uri": request_uri})
    page, before = await browser.get(f"/me/person?{waiting}"), dict(browser.http.cookies)
    for goal in ("/consent", "/login"):
        browser.http.cookies = Cookies(before)
        answer = await browser.post("/me/person", page, person=str(right), request_uri=request_uri)
        assert answer.headers["location"] == f"{goal}?{waiting}"
    assert (await browser.login(mother, request_uri=request_uri)).headers["location"] == f"/me/person?{waiting}"


async def test_a_download_ends_with_the_right(
    core: Core, mother: Patient, mia: Patient, right: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads slowly would get what is measured later, too."""
    browser, read = await acting(core, mother), export.chunks

    async def slowly(pool: Any, patient_id: Any) -> AsyncIterator[Any]:
        async for row in read(pool, patient_id):
            yield row
        await finish(core, mia, right)
        clock.advance(1)

    monkeypatch.setattr(export, "chunks", slowly)
    with pytest.raises(ChangedMeanwhile):  # the server cuts the connection then
        await browser.get("/me/data.csv")


async def test_a_representative_decides_nothing_that_the_patient_is_asked(
    core: Core, mother: Patient, mia: Patient, right: Any
) -> None:
    """What the father had allowed is Mia's to keep, also while the mother acts for her."""
    father = await new_patient(core, "father")
    his = await represent(core, father, mia)
    await allowed(core, await acting(core, father))
    await finish(core, mia, his)
    browser = await acting(core, mother)
    assert (await browser.post("/me/review", await browser.get("/me"))).headers["location"] == "/me"
    assert len(await alive(core.pool, mia.patient_id, core.clock())) == 1
    assert (await Browser(core).login(mia)).headers["location"] == "/me/review"


async def test_the_operator_says_when_majority_is(core: Core, mother: Patient, mia: Patient) -> None:
    born = date(2010, 1, 1)
    await represent(core, mother, mia, born=born)
    browser = await acting(core, mother)
    core.settings = replace(core.settings, majority_years=14)
    assert (await browser.get("/me")).headers["location"] == "/login"


async def test_connections_stay_until_the_patient_decides(
    core: Core, mother: Patient, mia: Patient, right: Any
) -> None:
    browser = await acting(core, mother)
    await allowed(core, browser, number="00001")
    await allowed(core, browser, number="00002")
    own = Browser(core)
    assert (await own.login(mia)).headers["location"] == "/me"  # nothing to decide yet
    await finish(core, mia, right)
    assert (await browser.get("/me")).headers["location"] == "/login"
    assert len(await alive(core.pool, mia.patient_id, core.clock())) == 2
    for _ in range(2):  # asked until decided
        assert (await own.login(mia)).headers["location"] == "/me/review"
    page = await own.get("/me/review")
    one, two = "urn:diga:bfarm:00001", "urn:diga:bfarm:00002"
    assert (await own.post("/me/review", page, **{one: "keep"})).status_code == 422
    assert (await own.post("/me/review", page, **{one: "keep", two: "withdraw"})).headers["location"] == "/me"
    assert [pairing.client_id for pairing in await alive(core.pool, mia.patient_id, core.clock())] == [one]
    assert [tag for tag, _ in await events(core, mia)][-2:] == [Event.PAIRING_KEPT, Event.PAIRING_ENDED_BY_PATIENT]
    assert (await own.login(mia)).headers["location"] == "/me"
    assert (await own.get("/me/review")).headers["location"] == "/me"


async def test_nobody_is_asked_about_what_was_withdrawn_before(
    core: Core, mother: Patient, mia: Patient, right: Any
) -> None:
    browser = await acting(core, mother)
    await allowed(core, browser)
    await browser.post("/me/withdraw", await browser.get("/me"), kind="all")
    assert not await alive(core.pool, mia.patient_id, core.clock())
    await finish(core, mia, right)
    assert (await Browser(core).login(mia)).headers["location"] == "/me"


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_an_app_stays_until_the_patient_decides(
    core: Core, mother: Patient, mia: Patient, right: Any, clock: Clock, lang: str
) -> None:
    """No reading is lost, the mother has nothing new, and Mia sees whose app it is and ends it."""
    browser, sending = await acting(core, mother, lang=lang), []
    for name in ("Phone", "Mother's", ""):
        page = await browser.post("/me/devices/connect", await browser.get("/me/devices"))
        code = page.text.split("<code>")[1].split("<")[0]
        made = await apps.connect(core.pool, code, name, 365, Moment.at(clock(), core.settings))
        assert made is not None
        sending.append(made[0])
    shown = [sha256(token).hex()[: tokens.SHOWN] for token in sending]
    renewed = await apps.renew(core.pool, sha256(sending[1]), 365, 0, clock())  # by the mother, who has it
    assert renewed is not None
    sending[1] = renewed.token
    own = Browser(core, lang)
    assert (await own.login(mia)).headers["location"] == "/me"  # nothing to decide yet
    await finish(core, mia, right)
    clock.advance(1)
    assert [await sends(core, token) for token in sending] == [True] * 3
    assert (await own.login(mia)).headers["location"] == "/me/review"
    assert (await own.get("/me/devices")).text.count({"de": "ein Elternteil", "en": "a parent"}[lang]) == 3
    page = await own.get("/me/review")
    assert {"de": "Diese Apps senden Messwerte", "en": "These apps send readings"}[lang] in page.text
    unnamed = {"de": "App ohne Namen</bdi> darf weiter senden", "en": "App without a name</bdi> may go on"}
    assert unnamed[lang] in page.text
    assert {"de": "lesen Ihre Daten weiter", "en": "go on reading your data"}[lang] not in page.text
    assert (await own.post("/me/review", page, **{shown[0]: "keep"})).status_code == 422
    assert [await sends(core, token) for token in sending] == [True] * 3
    answer = await own.post("/me/review", page, **dict(zip(shown, ("keep", "withdraw", "withdraw"), strict=True)))
    assert answer.headers["location"] == "/me"
    assert [await sends(core, token) for token in sending] == [True, False, False]
    assert [tag for tag, _ in await events(core, mia)][-2:] == [Event.GATEWAY_DISCONNECTED] * 2
    assert (await own.login(mia)).headers["location"] == "/me"


async def test_nobody_is_asked_about_what_was_connected_by_who_represents_still(
    core: Core, mother: Patient, mia: Patient, right: Any
) -> None:
    """Other terms are another right of the same person."""
    await allowed(core, await acting(core, mother))
    await finish(core, mia, right)
    other = await represent(core, mother, mia)
    own = Browser(core)
    assert (await own.login(mia)).headers["location"] == "/me"
    await finish(core, mia, other)
    assert (await own.login(mia)).headers["location"] == "/me/review"


async def sends(core: Core, token: str) -> bool:
    """Whether the app with this token is let in."""
    found = await tokens.find(core.pool, sha256(token), core.clock())
    return found is not None and found.good


@pytest.mark.parametrize("gone", ["representative", "patient"])
async def test_who_is_deleted_represents_nobody_and_is_represented_by_nobody(
    core: Core, mother: Patient, mia: Patient, right: Any, gone: str
) -> None:
    browser = await acting(core, mother)
    one = mother if gone == "representative" else mia
    assert await delete_patient(core.pool, one.patient_id, core.clock())
    assert (await browser.get("/me")).headers["location"] == "/login"
    rows = await of_patient(core.pool, mia.patient_id)
    assert [row["end_reason"] for row in rows] == ([End.REPRESENTATIVE_DELETED] if gone == "representative" else [])


async def test_who_deletes_the_own_data_is_told_what_becomes_of_the_people_represented(
    core: Core, mother: Patient, mia: Patient, right: Any
) -> None:
    """Their data stays, and so do their connections, which nobody can end then."""
    browser = await Browser(core).logged_in(mother)
    page = (await browser.get("/me/delete")).text
    assert "Ihr Zugang zu den Daten der Personen, die Sie vertreten" in page and "deren Verbindungen mit Apps" in page
    for other in (await acting(core, mother), await Browser(core).logged_in(mia)):
        assert "die Sie vertreten" not in (await other.get("/me/delete")).text


@pytest.mark.parametrize(("relation", "status"), [(Relation.PARENT, 303), (Relation.CARER, 403)])
async def test_parents_may_delete_everything_of_a_child_with_their_own_password(
    core: Core, mother: Patient, mia: Patient, relation: Relation, status: int
) -> None:
    await represent(core, mother, mia, relation=relation)
    browser = await acting(core, mother)
    page = await browser.get("/me/delete")
    if status == 403:
        assert 'action="/me/delete"' not in page.text
        answer = await browser.post("/me/delete", await browser.get("/me/devices"), password=PASSWORD)
    else:
        assert "Die Daten von <bdi>Mia</bdi> löschen" in page.text
        assert "Ihr eigenes Passwort, nicht das von <bdi>Mia</bdi>" in page.text, (
            "the page says that Mia is meant by “Sie”"
        )
        assert (await browser.post("/me/delete", page, password="wrong")).status_code == 422
        answer = await browser.post("/me/delete", page, password=PASSWORD)
    assert answer.status_code == status
    if status == 303:  # "Ihre Daten sind gelöscht" would frighten whoever acted for a child
        done = (await browser.get(answer.headers["location"])).text
        assert "Ihre eigenen Daten sind noch da" in " ".join(done.split()) and "Ihre Daten sind gelöscht" not in done
    left = [await core.pool.fetchval("SELECT count(*) FROM patient WHERE patient_id = $1", one.patient_id)
            for one in (mother, mia)]  # fmt: skip
    assert left == [1, 0 if status == 303 else 1]
