"""Attacks on the separation of people represented by one login, and of logins (docs/representatives.md).

Whatever is sent, it affects the patient for whom the page was made, or nobody.
"""

from __future__ import annotations

import asyncio
import logging
import re
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ddr.http.core import Core
from ddr.operations.restore import replay
from ddr.patient_pages.visitor import COOKIE
from ddr.store.audit.journal import JOURNAL, entries
from ddr.store.authorization.representations import End, Relation, SetBy, end, of_patient
from ddr.store.database.able import able
from ddr.store.database.digest import sha256
from ddr.store.gateways import apps
from ddr.store.patients import administration
from tests.patient_pages.browser import Browser, form_token, person
from tests.patient_pages.test_consent import CGM, scope
from tests.support.patients import PASSWORD, Patient, add_device, list_diga, new_patient, push_request, represent

APPROVE = {"decision": "approve", "days": "30"}


class Family:
    """A mother who represents Mia and Ben, and a browser in which she has logged in."""

    def __init__(self, core: Core, mother: Patient, mia: Patient, ben: Patient, rights: dict[str, UUID]) -> None:
        self.core, self.mother, self.mia, self.ben, self.rights = core, mother, mia, ben, rights
        self.browser = Browser(core)

    async def pairings(self) -> list[int]:
        """How many pairings the three have."""
        counts = "SELECT count(*) FROM pairing WHERE patient_id = $1 AND ended_ms IS NULL"
        return [await self.core.pool.fetchval(counts, one.patient_id) for one in (self.mother, self.mia, self.ben)]

    async def pair(self, name: str, number: str = "00001") -> None:
        """Connect a DiGA for whoever is called so."""
        request_uri = await push_request(self.core, list_diga(self.core, number), CGM)
        await self.browser.act_for(name, request_uri)
        await self.browser.decide(request_uri, "approve", scope(self.core, CGM))

    async def finish(self, name: str) -> None:
        """The right to act for whoever is called so ends."""
        one = {"Mia": self.mia, "Ben": self.ben}[name]
        async with self.core.pool.acquire() as conn, conn.transaction():
            assert await end(conn, one.patient_id, self.rights[name], SetBy.OPERATOR, End.RELATION, self.core.clock())


@pytest.fixture
async def family(core: Core) -> Family:
    mother, mia, ben = [await new_patient(core, name) for name in ("mother", "mia", "ben")]
    rights = {"Mia": await represent(core, mother, mia), "Ben": await represent(core, mother, ben, "Ben")}
    found = Family(core, mother, mia, ben, rights)
    await found.browser.logged_in(mother)
    return found


def refused(response: httpx.Response) -> bool:
    """Clearly: nothing was done, and why."""
    return response.status_code == 403 and "Diese Seite war für jemand anderen" in response.text


def signed_out(response: httpx.Response) -> bool:
    """Clearly: nothing was done, because the session has ended."""
    return response.status_code == 403 and "Sie sind nicht mehr angemeldet" in response.text


FORMS: list[tuple[str, str, dict[str, str]]] = [
    ("/me", "/me/withdraw", {"kind": "all"}),
    ("/me/devices", "/me/devices/connect", {}),
    ("/me/devices", "/me/devices/disconnect", {"app": "x"}),
    ("/me/delete", "/me/delete", {"password": PASSWORD}),
    ("/me/data", "/me/data", {"day": "2026-11-01"}),
    ("/me/person", "/me/person", {"person": "self"}),
    ("/me", "/logout", {}),
]


@pytest.mark.parametrize(("shown", "sent", "fields"), FORMS, ids=[form[1] for form in FORMS])
async def test_a_form_made_for_one_child_is_refused_after_another_was_chosen(
    family: Family, shown: str, sent: str, fields: dict[str, str]
) -> None:
    """Two tabs, or the back button and a form sent again."""
    await family.pair("Mia")
    await family.pair("Ben")
    await family.browser.act_for("Mia")
    page = await family.browser.get(shown)
    await family.browser.act_for("Ben")
    answer = await family.browser.post(sent, page, **fields)
    assert refused(answer) or (sent == "/logout" and answer.status_code == 403)
    assert await family.pairings() == [0, 1, 1]
    assert "<bdi>Ben</bdi>" in (await family.browser.get("/me")).text  # the session is still what it was


async def test_a_download_from_the_page_of_one_child_is_never_anothers(family: Family) -> None:
    """A link of a tab that was opened before: a file has no name on it by which anybody would notice."""
    await family.browser.act_for("Mia")
    page = await family.browser.get("/me/data")
    links = re.findall(r'href="(/me/[a-z-]+\.(?:csv|json)[^"]*)"', page.text)
    assert len(links) == 7 and [(await family.browser.get(link)).status_code for link in links] == [200] * 7
    for other in ("Ben", ""):
        await family.browser.act_for(other)
        assert all([refused(await family.browser.get(link)) for link in links])
    await family.browser.act_for("Mia")
    assert (await family.browser.get(links[0])).status_code == 200


@pytest.mark.parametrize("seed", range(4))
async def test_no_mix_of_tabs_choices_and_old_pages_reaches_anybody_else(family: Family, seed: int) -> None:
    """At random: choose somebody, log in anew, open a page, send the form of any page that was ever shown.

    What is done is done for whom the page named, or it is refused; what is shown is of whom the session is about.
    """
    core, browser, random = family.core, family.browser, Random(seed)
    people = {"": family.mother, "Mia": family.mia, "Ben": family.ben}
    father = await new_patient(core, "father")
    logged_in, now, shown, done = family.mother, "", [], 0
    for _ in range(60):
        match random.choice(("choose", "open", "open", "send", "send", "send", "login")):
            case "choose" if logged_in is family.mother:
                now = random.choice(list(people))
                await browser.act_for(now)
            case "login":
                logged_in, now = random.choice((family.mother, father)), ""
                await browser.logged_in(logged_in)
            case "open":
                page = await browser.get("/me/devices")
                named = re.findall(r"<bdi>(Mia|Ben)</bdi>", page.text.split("<main")[0])
                assert set(named) == ({now} if now else set())
                shown.append((page, people[now] if logged_in is family.mother else father))
            case "send" if shown:
                page, whose = random.choice(shown[-3:])
                answer = await browser.post("/me/devices/connect", page)
                assert answer.status_code in (200, 403)
                if answer.status_code == 200:
                    code, done = answer.text.split("<code>")[1].split("<")[0], done + 1
                    found = "SELECT patient_id FROM gateway_code WHERE code_sha256 = $1"
                    assert await core.pool.fetchval(found, sha256(apps.normal_code(code))) == whose.patient_id
    assert done, "some of it was allowed"


async def test_a_file_given_for_one_child_is_refused_after_another_was_chosen(family: Family) -> None:
    await family.browser.act_for("Mia")
    page = await family.browser.get("/me/devices")
    await family.browser.act_for("Ben")
    assert refused(await family.browser.give_file(page, b"time,code,value\n"))
    assert await family.core.pool.fetchval(
        "SELECT count(*) FROM patient_file WHERE patient_id = ANY($1)", [family.mia.patient_id, family.ben.patient_id]
    ) == 0  # fmt: skip


async def test_consent_for_one_child_in_one_tab_and_for_the_other_in_another(family: Family) -> None:
    core, browser = family.core, family.browser
    diga = list_diga(core)
    one, two = await push_request(core, diga, CGM), await push_request(core, diga, CGM, state="st-2")
    await browser.act_for("Mia", one)
    first = await browser.consent_page(one)
    await browser.act_for("Ben", two)
    second = await browser.consent_page(two)
    assert "<bdi>Mia</bdi>" in first.text and "<bdi>Ben</bdi>" in second.text
    form = {**APPROVE, "scope": scope(core, CGM)}
    assert refused(await browser.post("/consent", first, **form, request_uri=one))
    assert await family.pairings() == [0, 0, 0]
    again = await browser.consent_page(one)  # a reload asks whose data it is about before anything is shown
    assert again.headers["location"].startswith("/me/person?request_uri=")
    assert (await browser.post("/consent", second, **form, request_uri=two)).status_code == 303
    assert await family.pairings() == [0, 0, 1]


async def test_the_request_in_a_consent_form_is_changed(family: Family) -> None:
    """Chosen was Mia for the first request; that says nothing about the second."""
    core, browser = family.core, family.browser
    one, two = [await push_request(core, list_diga(core, number), CGM) for number in ("00001", "00002")]
    await browser.act_for("Mia", one)
    page = await browser.consent_page(one)
    answer = await browser.post("/consent", page, **APPROVE, scope=scope(core, CGM), request_uri=two)
    assert answer.headers["location"].startswith("/me/person?request_uri=")
    assert await family.pairings() == [0, 0, 0]


async def test_ids_of_others_are_no_choice(family: Family) -> None:
    """Another family's right, a patient's id, an ended right, none, two: the form names what this login may."""
    core, browser = family.core, family.browser
    father, zoe = await new_patient(core, "father"), await new_patient(core, "zoe")
    theirs = await represent(core, father, zoe, "Zoe")
    await family.finish("Ben")
    page = await browser.get("/me/person")
    for value in (theirs, zoe.patient_id, family.mia.patient_id, family.rights["Ben"], uuid4(), "", "Mia", "%00"):
        assert refused(await browser.post("/me/person", page, person=str(value)))
    both = [("person", str(family.rights["Mia"])), ("person", "self")]
    assert (await browser.post("/me/person", page, *both)).status_code == 403
    assert ">Zoe<" not in page.text and ">Ben<" not in page.text
    assert "eigenen Daten" in (await browser.get("/me")).text
    trail = "SELECT count(*) FROM audit WHERE patient_id = $1 AND event LIKE 'representative:%'"
    assert await core.pool.fetchval(trail, zoe.patient_id) == 0


async def test_rights_are_not_handed_on(family: Family) -> None:
    """Whoever represents the mother does not reach her children by her, nor do the children reach her."""
    core = family.core
    carer = await new_patient(core, "carer")
    await represent(core, carer, family.mother, "Frau M.", Relation.CARER)
    browser = await Browser(core).logged_in(carer)
    await browser.act_for("Frau M.")
    page = await browser.get("/me/person")
    assert ">Mia<" not in page.text and ">Frau M.<" in page.text
    assert refused(await browser.post("/me/person", page, person=str(family.rights["Mia"])))
    child = await Browser(core).logged_in(family.mia)
    assert (await child.get("/me/person")).headers["location"] == "/me"
    page = await child.get("/me/devices")
    answer = await child.post("/me/person", page, person=str(family.rights["Mia"]))
    assert answer.status_code == 403
    assert "Vertretung" in (await child.get("/me")).text  # but the child sees that there is somebody


async def test_two_logins_in_one_browser(family: Family) -> None:
    """The mother's tab is still open when the father logs in: her forms and her cookie are worth nothing."""
    core, browser = family.core, family.browser
    father, zoe = await new_patient(core, "father"), await new_patient(core, "zoe")
    await represent(core, father, zoe, "Zoe")
    await family.pair("Mia")
    await browser.act_for("Mia")
    page, cookie = await browser.get("/me"), browser.http.cookies[COOKIE]
    await browser.login(father)
    assert refused(await browser.post("/me/withdraw", page, kind="all"))
    await browser.act_for("Zoe")
    assert refused(await browser.post("/me/withdraw", page, kind="all"))
    assert refused(await browser.post("/me/person", page, person=str(family.rights["Mia"])))
    assert await family.pairings() == [0, 1, 0]
    thief = Browser(core)
    answer = await thief.http.get("/me", headers={"cookie": f"{COOKIE}={cookie}"})
    assert answer.headers["location"] == "/login"


async def test_a_cookie_of_before_the_choice_is_worth_nothing(family: Family) -> None:
    copied = family.browser.http.cookies[COOKIE]
    await family.browser.act_for("Mia")
    thief = Browser(family.core)
    for path in ("/me", "/me/person", "/me/data.csv"):
        answer = await thief.http.get(path, headers={"cookie": f"{COOKIE}={copied}"})
        assert answer.headers["location"] == "/login"


async def test_of_many_choices_at_once_one_holds(family: Family) -> None:
    page = await family.browser.get("/me/person")
    cookie, token = family.browser.http.cookies[COOKIE], form_token(page.text)

    async def choose(name: str) -> tuple[str, httpx.Response]:
        tab = Browser(family.core)
        fields = {"form_token": token, "person": person(page.text, name)}
        return name, await tab.http.post("/me/person", data=fields, headers={"cookie": f"{COOKIE}={cookie}"})

    answers = await asyncio.gather(*map(choose, ["Mia", "Ben"] * 6))
    (won,) = [(name, answer) for name, answer in answers if answer.status_code == 303 and COOKIE in answer.cookies]
    assert all(answer.status_code in (303, 403) for _, answer in answers)
    tab = Browser(family.core)
    shown = await tab.http.get("/me", headers={"cookie": f"{COOKIE}={won[1].cookies[COOKIE]}"})
    assert f"<bdi>{won[0]}</bdi>" in shown.text
    sessions = "SELECT count(*) FROM browser_session WHERE $1 IN (patient_id, login_id)"
    assert await family.core.pool.fetchval(sessions, family.mother.patient_id) == 1


async def test_choosing_does_not_lengthen_a_session(family: Family) -> None:
    first = await family.core.pool.fetchval(
        "SELECT created_ms FROM browser_session WHERE patient_id = $1", family.mother.patient_id
    )
    family.core.clock.advance(600)  # type: ignore[attr-defined]
    await family.browser.act_for("Mia")
    created = "SELECT created_ms, confirmed_ms FROM browser_session WHERE patient_id = $1"
    assert tuple(await family.core.pool.fetchrow(created, family.mia.patient_id)) == (first, None)


@pytest.mark.parametrize("what", ["ended", "representative disabled", "patient disabled"])
async def test_the_end_of_a_right_ends_its_sessions_at_once(family: Family, what: str) -> None:
    core = family.core
    await family.pair("Mia")
    await family.browser.act_for("Mia")
    page, other = await family.browser.get("/me"), await Browser(core).logged_in(family.mother)
    await other.act_for("Ben")
    match what:
        case "ended":
            await family.finish("Mia")
        case "representative disabled":
            await administration.disable(core.pool, family.mother.patient_id, core.clock())
        case _:
            await administration.disable(core.pool, family.mia.patient_id, core.clock())
    for path in ("/me", "/me/data.csv", "/me/person"):
        assert (await family.browser.get(path)).headers["location"] == "/login"
    assert (await family.browser.post("/me/withdraw", page, kind="all")).status_code in (303, 403)
    assert await family.pairings() == [0, 0 if what == "patient disabled" else 1, 0]
    assert (await other.get("/me")).status_code == (303 if what == "representative disabled" else 200)


async def test_a_consent_is_not_given_while_the_right_ends(family: Family) -> None:
    """The form is on its way when the operator ends the right: the consent waits, and finds no right."""
    core, browser = family.core, family.browser
    request_uri = await push_request(core, list_diga(core), CGM)
    await browser.act_for("Mia", request_uri)
    page = await browser.consent_page(request_uri)
    async with core.pool.acquire() as conn, conn.transaction():
        form = {**APPROVE, "scope": scope(core, CGM), "request_uri": request_uri}
        await conn.execute("SELECT FROM representation WHERE patient_id = $1 FOR UPDATE", family.mia.patient_id)
        sending = asyncio.create_task(browser.post("/consent", page, **form))
        async with asyncio.timeout(30):
            while not await _waits(core):  # noqa: ASYNC110 - nothing tells that a lock is waited for
                await asyncio.sleep(0.01)
        await end(conn, family.mia.patient_id, family.rights["Mia"], SetBy.OPERATOR, End.RELATION, core.clock())
    assert signed_out(await sending)
    assert await family.pairings() == [0, 0, 0]


async def test_nothing_is_deleted_after_the_right_has_ended(family: Family) -> None:
    """The deletion waits for an upload when the operator ends the right: what cannot be undone is not done."""
    core, browser = family.core, family.browser
    await browser.act_for("Mia")
    page = await browser.get("/me/delete")
    async with core.pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM patient WHERE patient_id = $1 FOR NO KEY UPDATE", family.mia.patient_id)
        sending = asyncio.create_task(browser.post("/me/delete", page, password=PASSWORD))
        async with asyncio.timeout(30):
            while not await _waits(core, "FROM patient%FOR UPDATE"):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        async with core.pool.acquire() as other, other.transaction():
            await end(other, family.mia.patient_id, family.rights["Mia"], SetBy.OPERATOR, End.RELATION, core.clock())
    assert signed_out(await sending)
    assert (await browser.get("/me")).headers["location"] == "/login"
    assert await able(core.pool, family.mia.patient_id), "everything is there"


async def _waits(core: Core, statement: str = "FROM representation%FOR SHARE") -> bool:
    found: bool = await core.pool.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE $1 AND datname = current_database())",
        f"%{statement}%",
    )
    return found


async def test_what_had_ended_ends_again_after_a_restore(family: Family, tmp_path: Any) -> None:
    with JOURNAL.kept_in(tmp_path):
        await family.finish("Mia")
    assert "Mia" not in "".join(path.read_text() for path in tmp_path.iterdir())
    # The database of before: the right is in force again, under the same id.
    await family.core.pool.execute("DELETE FROM representation WHERE patient_id = $1", family.mia.patient_id)
    await family.core.pool.execute(
        "INSERT INTO representation (patient_id, representation_id, representative_id, relation, name, since_ms,"
        " set_by, created_ms) VALUES ($1, $2, $3, 'carer', 'Mia', 0, 'operator', 0)",
        family.mia.patient_id, family.rights["Mia"], family.mother.patient_id,
    )  # fmt: skip
    for done in ({"operator:representation:ended": 1}, {}):
        assert await replay(family.core.pool, entries(tmp_path), family.core.clock()) == done
    (row,) = await of_patient(family.core.pool, family.mia.patient_id)
    assert row["ended_ms"] == family.core.clock()
    with pytest.raises(Exception, match="does not begin again"):
        await family.core.pool.execute(
            "UPDATE representation SET ended_ms = NULL WHERE patient_id = $1", family.mia.patient_id
        )


async def test_names_stay_on_the_pages_of_the_login(family: Family, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a DiGA, nor a trail, nor a log, nor an address has the name or the login."""
    caplog.set_level(logging.DEBUG, "ddr")
    core, name = family.core, f"Mia-{uuid4().hex}"
    right = family.rights["Mia"]
    await core.pool.execute("UPDATE representation SET name = $2 WHERE representation_id = $1", right, name)
    await add_device(core, family.mia, "Sensor", CGM, "M-9")
    request_uri = await push_request(core, list_diga(core), CGM)
    answers = [await family.browser.act_for(name, request_uri), await family.browser.consent_page(request_uri)]
    assert name in answers[1].text
    form = {**APPROVE, "scope": scope(core, CGM), "request_uri": request_uri}
    answers.append(await family.browser.post("/consent", answers[1], **form))
    assert all(name not in str(one.headers) and family.mother.username not in str(one.headers) for one in answers)
    assert name not in caplog.text and str(family.mother.patient_id) not in caplog.text
    found = set()
    for (table,) in await core.pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        rows = await core.pool.fetch(f"SELECT FROM {table} t WHERE t::text LIKE ANY ($1)",
                                     [f"%{name}%", f"%{name.encode().hex()}%"])  # fmt: skip
        found |= {table} if rows else set()
    assert found == {"representation"}
    for path in ("/me/data.json", "/me/consents.csv", "/me/accesses.csv"):
        copy = (await family.browser.get(path)).text
        assert name not in copy and family.mother.username not in copy
