"""The patient's copy holds consents with their proof, pairings and accesses (GDPR Article 15), valid and bounded."""

from __future__ import annotations

import base64
import csv
import io
import re
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class

from ddr.durations import DAY_MS
from ddr.fhir.instants import instant
from ddr.http.core import Core
from ddr.store.audit import patients as trail
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.representations import End, Relation, SetBy, end
from ddr.store.gateways import tokens
from ddr.store.patients import export
from tests.fhir.validity import assert_no_empties
from tests.patient_pages.browser import Browser, inputs
from tests.patient_pages.test_consent import CGM, PRESSURE, logged_in, scope
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.patients import Patient, list_diga, new_patient, push_request, record_read, represent
from tests.support.touched import touched

Json = dict[str, Any]


@pytest.fixture
async def told(core: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> tuple[Patient, Browser]:
    """A patient who allowed two kinds of data, chose an earlier end for one, was read, and withdrew the other."""
    monkeypatch.setattr(export, "CONSENTS_PER_PAGE", 1)
    monkeypatch.setattr(trail, "FRESH", 2)
    patient, browser = await logged_in(core, "en")
    diga = list_diga(core)
    for days, kinds in (("365", (CGM, PRESSURE)), ("30", (CGM,))):
        request_uri = await push_request(core, diga, *kinds)
        page = await browser.consent_page(request_uri)
        digest = next(str(one["value"]) for one in inputs(page.text) if one.get("name") == "text")
        ticked = [("scope", scope(core, kind)) for kind in kinds]
        named = {"request_uri": request_uri, "decision": "approve", "days": days, "text": digest}
        assert (await browser.post("/consent", page, *ticked, **named)).status_code == 303
        clock.advance(60)
    for _ in range(5):
        await record_read(core, patient, diga, CGM, "0" * 64)
    miv = core.catalog.by_name(PRESSURE)
    assert miv is not None
    withdrawal = {"client_id": diga.client_id, "kind": miv.valueset}
    assert (await browser.post("/me/withdraw", await browser.get("/me"), **withdrawal)).status_code == 303
    return patient, browser


def of(bundle: Json, kind: str) -> list[Json]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


@pytest.mark.requirement("PRIV-008", "AUD-005")
async def test_the_bundle_holds_consents_and_accesses(core: Core, told: tuple[Patient, Browser]) -> None:
    patient, browser = told
    bundle = orjson.loads((await browser.get("/me/data.json")).content)
    get_fhir_model_class("Bundle").model_validate_json(orjson.dumps(bundle))
    assert_no_empties(bundle)
    assert len({entry["fullUrl"] for entry in bundle["entry"]}) == len(bundle["entry"])
    consents = of(bundle, "Consent")
    assert [one["status"] for one in consents] == ["inactive", "active", "active"]
    for one in consents:
        text = base64.b64decode(one["sourceAttachment"]["data"]).decode()
        assert text.startswith("May GlucoPilot read your data?") and one["sourceAttachment"]["language"] == "en"
        assert one["provision"]["actor"][0]["reference"]["display"] == "GlucoPilot"
        assert len(one["identifier"][0]["value"]) == 64
    assert "you chose an earlier end" in consents[1]["text"]["div"]
    assert "You withdrew your consent." in consents[0]["text"]["div"]
    events = of(bundle, "AuditEvent")
    assert [one["subtype"][0]["code"] for one in events] == [
        *["patient:pairing:granted"] * 2,
        *["diga:data:read"] * 5,
        "patient:consent:withdrawn",
    ]
    assert events[2]["outcomeDesc"].startswith("GlucoPilot read: ")
    assert patient.username not in orjson.dumps(bundle).decode()


async def test_the_tables_hold_the_same(told: tuple[Patient, Browser]) -> None:
    _, browser = told
    answer = await browser.get("/me/consents.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["ended_by"], row["ended_because"]) for row in rows] == [
        ("patient", "You withdrew your consent."),
        ("", ""),
        ("", ""),
    ]
    assert rows[1]["first_until"] > rows[1]["until"] == rows[2]["until"]
    assert {row["app"] for row in rows} == {"GlucoPilot"} and {row["language"] for row in rows} == {"en"}
    assert all(row["text"].startswith("May GlucoPilot") and len(row["text_sha256"]) == 64 for row in rows)
    accesses = list(csv.DictReader(io.StringIO((await browser.get("/me/accesses.csv")).text)))
    assert [row["event"] for row in accesses].count("diga:data:read") == 5
    assert accesses[-1]["event"] == "patient:data:downloaded", "the table before; not this one"


async def test_a_german_excel_opens_them(told: tuple[Patient, Browser]) -> None:
    """Umlauts, columns and times are right: without the mark, and with commas, all was one column of broken letters."""
    _, browser = told
    for name in ("consents", "accesses"):
        exact = list(csv.reader(io.StringIO((await browser.get(f"/me/{name}.csv")).text)))
        answer = await browser.get(f"/me/{name}-excel.csv")
        assert answer.headers["content-disposition"].endswith('-excel.csv"')
        assert answer.content.startswith(b"\xef\xbb\xbf")
        rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), delimiter=";"))
        assert {len(row) for row in rows} == {len(exact[0])}
        assert len(rows) == len(exact) + (name == "accesses"), "the download before it"
        for row, same in zip(rows[1:], exact[1:], strict=False):
            for cell, was in zip(row, same, strict=True):
                in_words = "Ihnen" if was == "patient" else was
                assert cell == (in_germany(was) if re.fullmatch(r"2\d{3}-\d\d-\d\dT.*Z", was) else in_words)
    page = (await browser.get("/me/data")).text
    assert all(f'href="/me/{name}-excel.csv"' in page for name in ("consents", "accesses"))


async def test_of_the_hour_that_comes_twice_page_and_excel_tell_which_one_it_was(core: Core) -> None:
    """The latter has no exact time beside it."""
    patient, browser = await logged_in(core)
    first = round(datetime(2026, 10, 25, 0, 30, 13, tzinfo=UTC).timestamp() * 1000)
    for at_ms in (first, first + 3_600_000):
        await record(core.pool, Event.DATA_DOWNLOADED, at_ms, patient_id=patient.patient_id)
    assert "2-mal, zuletzt um 02:30 Uhr Winterzeit" in (await browser.get("/me/access")).text
    table = (await browser.get("/me/accesses-excel.csv")).content.decode("utf-8-sig")
    times = [row[0] for row in csv.reader(io.StringIO(table, newline=""), delimiter=";")][1:]
    assert times == ["25.10.2026 02:30:13 Sommerzeit", "25.10.2026 02:30:13 Winterzeit"]


async def test_a_german_excel_says_in_german_who_acted(core: Core) -> None:
    """The child has ended nothing: a parent did."""
    mother, child, diga = await new_patient(core), await new_patient(core), list_diga(core)
    await represent(core, mother, child)
    request_uri = await push_request(core, diga, CGM)
    acting = await Browser(core).logged_in(mother)
    await acting.act_for("Mia", request_uri)
    await acting.decide(request_uri, "approve", scope(core, CGM))
    await acting.post("/me/withdraw", await acting.get("/me"), client_id=diga.client_id, kind="all")
    browser = Browser(core)
    await browser.login(child)
    lines = (await browser.get("/me/consents-excel.csv")).content.decode("utf-8-sig")
    consent, right = csv.DictReader(io.StringIO(lines, newline=""), delimiter=";")
    names = ("zugestimmt als", "beendet von", "beendet als", "beendet, weil")
    assert [consent[name] for name in names] == [
        *("Elternteil", "Ihrer Vertretung", "Elternteil", "Wer Sie vertritt, hat die Zustimmung widerrufen.")
    ]
    assert (right["Daten"], right["zugestimmt als"]) == ("Wer vertritt", "Elternteil")


def in_germany(instant: str) -> str:
    return f"{datetime.fromisoformat(instant).astimezone(ZoneInfo('Europe/Berlin')):%d.%m.%Y %H:%M:%S}"


async def test_the_table_holds_who_sends_who_represents_and_who_got_readings(core: Core) -> None:
    """All of it is stored about the patient and shown on the pages; the patient's copy has no less."""
    patient, browser = await logged_in(core, "en")
    mother = await new_patient(core, "mother")
    right = await represent(core, mother, patient)
    by = ("parent", right)
    await tokens.create(core.pool, patient.patient_id, core.clock(), name="Phone", days=30, by=by)
    async with core.pool.acquire() as conn, conn.transaction():
        assert await end(conn, patient.patient_id, right, SetBy.OPERATOR, End.RELATION, core.clock())
    await core.pool.execute(
        "INSERT INTO research_export VALUES ($1, $2, 'Everyday life', 'EC 1', 'A university', $3, '', 'Team')",
        export_id := uuid4(),
        core.clock(),
        date(2027, 12, 31),
    )
    miv = core.catalog.by_name(PRESSURE)
    assert miv is not None
    await core.pool.execute(
        "INSERT INTO research_given VALUES ($1, $2, $3, '{2900}')", patient.patient_id, export_id, miv.valueset
    )
    answer = await browser.get("/me/consents.csv")
    sender, representative, recipient = csv.DictReader(io.StringIO(answer.text))
    assert None not in sender and None not in sender.values(), "as many cells as columns"
    assert [sender[name] for name in ("app", "connected", "until", "given_as", "client_id")] == [
        *("Phone", "2026-11-22T10:00:00.000Z", "2026-12-22T10:00:00.000Z", "parent", "")
    ]
    assert [representative[name] for name in ("kind", "given_as", "ended_because")] == [
        *("Who represents", "parent", "The representation has ended.")
    ]
    assert recipient["app"] == "A university" and "for “Everyday life”. Approval: EC 1" in recipient["text"]
    assert recipient["valueset"] == miv.valueset and mother.username not in answer.text


async def test_the_table_holds_whom_the_own_account_represents(core: Core) -> None:
    """The page "Representation" shows it, and it is about whoever represents."""
    mother, browser = await logged_in(core, "en")
    child, later_ms = await new_patient(core, "represented-child"), core.clock() + DAY_MS
    await represent(core, mother, child, "=Mia", until_ms=later_ms)
    (row,) = csv.DictReader(io.StringIO((await browser.get("/me/consents.csv")).text))
    assert None not in row and None not in row.values(), "as many cells as columns"
    assert [row[name] for name in ("kind", "app", "given_as", "given", "until", "ended")] == [
        *("Whom this account represents", "'=Mia", "parent", "2026-11-22T10:00:00.000Z", instant(later_ms), "")
    ]
    await browser.act_for("=Mia")
    table = list(csv.DictReader(io.StringIO((await browser.get("/me/consents.csv")).text)))
    assert [row["kind"] for row in table] == ["Who represents"], "of the child it is the child's"


async def test_a_representative_is_not_told_whom_the_patient_represents(core: Core) -> None:
    """Rights are not handed on, and the name is for the pages of that login."""
    mother, own = await logged_in(core, "en")
    daughter, browser = await logged_in(core, "en")
    await represent(core, mother, await new_patient(core, "represented-child"), "Mia")
    await represent(core, daughter, mother, "Mama", Relation.CARER)
    await browser.act_for("Mama")
    for file in ("consents.csv", "consents-excel.csv"):
        assert "Mia" in (await own.get(f"/me/{file}")).text
        assert "Mia" not in (await browser.get(f"/me/{file}")).text


async def test_a_time_without_a_date_is_shown_as_the_nearest_one(core: Core) -> None:
    patient, browser = await logged_in(core, "en")
    for at_ms in (-(2**63), 2**63 - 1):
        await record(core.pool, Event.FILE_TAKEN, at_ms, patient_id=patient.patient_id)
    assert "31 December 9999" in (await browser.get("/me/access")).text
    bundle = orjson.loads((await browser.get("/me/data.json")).content)
    recorded = [
        one["recorded"][:10] for one in of(bundle, "AuditEvent") if one["subtype"][0]["code"] == Event.FILE_TAKEN
    ]
    assert recorded == ["0001-01-01", "9999-12-31"]
    table = (await browser.get("/me/accesses.csv")).text
    assert "0001-01-01T" in table and "9999-12-31T" in table


async def test_nobody_else_gets_any_of_it(core: Core, told: tuple[Patient, Browser]) -> None:
    _, stranger = await logged_in(core, "en")
    for path in ("/me/data.json", "/me/consents.csv", "/me/accesses.csv"):
        assert "GlucoPilot" not in (await stranger.get(path)).text
        assert (await Browser(core).get(path)).headers["location"] == "/login"


@one_server_only  # elsewhere no trigger writes the proof
async def test_the_proof_of_many_consents_is_read_once(core: Core, patient_id: UUID) -> None:
    """Who agrees and withdraws hundreds of times has a copy that grows with that, and not with its square."""
    pool, count = core.pool, 400
    await pool.execute(
        """
        WITH p AS (INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms)
                   VALUES ($1, gen_random_uuid()::text, 'c', '', 0) RETURNING pairing_no)
        INSERT INTO consent (patient_id, pairing_no, miv_url, granted_ms, until_ms)
        SELECT $1, pairing_no, 'https://x', n, 1000 FROM p, generate_series(1, $2::integer) n
        """,
        patient_id,
        count,
    )
    await pool.execute("UPDATE consent SET withdrawn_ms = 1000 WHERE patient_id = $1", patient_id)
    await pool.execute("ANALYZE consent_record")
    async with touched(pool, "consent_record") as work:
        found = [row async for row in export.consents(pool, patient_id)]
    assert [len(row["acts"]) for row in found] == [2] * count
    assert work.fetched < 3 * len(found)
