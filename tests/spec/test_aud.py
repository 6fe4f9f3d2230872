"""The audit trail, black box (area AUD)."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from ddr.cli.main import main
from ddr.fhir.instants import date_time
from ddr.operations import audit_reading, housekeeping
from ddr.operations.audit_verifying import verify
from ddr.store.audit import packs
from ddr.store.audit.entries import WANTED
from tests.spec.backend import Backend
from tests.spec.patient_pages import pages_of
from tests.spec.world import BP, CGM, DAY, Home, Scene, later
from tests.support.recorder import PASSWORD, Patient, Recorder

Json = dict[str, Any]
FIELDS = {"no", "at", "event", "client_id", "pairing_id", "detail"}
DETAILS = {
    *{"scope", "valueset", "valuesets", "interaction", "type", "until_ms", "language", "version", "text"},
    *{"reason", "endpoint", "error", "description", "kid", "keys", "secrets", "sha256"},
    *{"by", "representation", "kind"},  # a person who acts for somebody; the credential used
}


async def trail(ddr: Recorder, capsys: pytest.CaptureFixture[str], *options: str) -> list[Json]:
    """What `ddr audit export` writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDR_DATABASE_URL", ddr.settings.database_url)
        patch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
        assert await asyncio.to_thread(main, ["audit", "export", *options]) == 0
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def events(entries: list[Json]) -> list[str]:
    """The tags of entries, in order."""
    return [entry["event"] for entry in entries]


@pytest.fixture
async def backend(ddr: Recorder) -> Backend:
    """A new DiGA, whose entries are easily distinguished from others."""
    return Backend(ddr, await ddr.diga(CGM, BP))


def of(backend: Backend) -> tuple[str, str]:
    """The options that select the entries of this DiGA."""
    return "--client-id", backend.diga.entry.client_id


@pytest.mark.requirement("AUD-001", "CON-008")
async def test_pairing_and_unpairing(backend: Backend, patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """By the DiGA, by the patient in part and as a whole, and a refusal."""
    first = await backend.pair(patient, CGM)
    await backend.revoke(first["refresh_token"])
    await backend.decide(patient, await backend.request_uri(CGM), None)
    await backend.pair(patient, CGM, BP)
    pages, miv = await pages_of(backend.ddr, patient), backend.ddr.core.catalog.by_name(CGM)
    assert miv is not None
    await pages.withdraw(backend.diga.entry.client_id, miv.valueset)
    await pages.withdraw(backend.diga.entry.client_id)
    assert events(await trail(backend.ddr, capsys, *of(backend))) == [
        "patient:pairing:granted",
        "diga:pairing:ended",
        "patient:pairing:denied",
        "patient:pairing:granted",
        "patient:consent:withdrawn",
        "patient:pairing:ended",
    ]


@pytest.mark.requirement("AUD-001")
async def test_failed_attempts(backend: Backend, patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    ddr, tokens = backend.ddr, await backend.pair(patient, CGM)
    other = Backend(ddr, await ddr.diga(CGM))
    foreign = await other.pair(patient, CGM)
    code = await backend.code(patient, CGM)
    refused = await backend.request_uri(CGM)
    await backend.decide(patient, refused, None)
    attempts = [
        backend.push(CGM, redirect_uri="https://evil.example/"),
        backend.push("blood-glucose-measurement"),
        ddr.public.get(backend.authorize_url(refused)),
        ddr.public.get(backend.authorize_url(refused)),  # again: recorded once
        ddr.public.get(backend.authorize_url("urn:ietf:params:oauth:request_uri:x")),  # anybody can make this up
        backend.exchange("random"),
        backend.exchange(code, code_verifier="a" * 43),
        backend.refresh({"refresh_token": "random"}),
        backend.revoke("random"),
        backend.revoke(foreign["refresh_token"]),
        backend.revoke(tokens["refresh_token"], http=other.diga.http),
    ]
    for attempt in attempts:
        await attempt
    own = [entry for entry in await trail(ddr, capsys, *of(backend)) if entry["event"].endswith("refused")]
    assert events(own) == [
        *["diga:pairing:refused"] * 3,
        *["diga:token:refused"] * 3,
        *["diga:unpairing:refused"] * 2,
    ]
    (last,) = await trail(ddr, capsys, *of(other), "--event", "diga:unpairing:")
    assert last["detail"]["error"] == "invalid_client"  # identified by the certificate, whatever the client_id claims


@pytest.mark.requirement("AUD-001")
async def test_unauthorised_access(backend: Backend, patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    ddr, tokens = backend.ddr, await backend.pair(patient, CGM)
    other = await ddr.diga(CGM)
    await backend.fhir({"access_token": "random"})
    await backend.fhir(tokens, http=other.http)
    await backend.fhir(await backend.pair(patient, BP), "Observation/$hddt-cgm-summary")
    await backend.revoke(tokens["refresh_token"])
    await backend.fhir(tokens)
    refusals = [
        *await trail(ddr, capsys, *of(backend), "--event", "diga:data:refused"),
        *await trail(ddr, capsys, "--client-id", other.entry.client_id, "--event", "diga:data:refused"),
    ]
    reasons = {"token-invalid", "token-foreign", "scope-missing", "not-permitted"}
    assert {entry["detail"]["reason"] for entry in refusals} == reasons


@pytest.mark.requirement("AUD-007")
async def test_one_call_one_entry(backend: Backend, patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    """With the Pairing ID, what was requested, and the kinds of data whose scopes allowed it."""
    await Home(backend.ddr, patient).furnish()
    tokens = await backend.pair(patient, CGM, BP)
    (first, *_) = (await backend.fhir(tokens, "DeviceMetric")).json()["entry"]
    metric = f"DeviceMetric/{first['resource']['id']}"
    paths = ["Observation", "Device", metric, "Observation/$hddt-cgm-summary", f"{metric}/_history/1"]
    for path in paths:
        assert (await backend.fhir(tokens, path)).status_code == 200, path
    entries = await trail(backend.ddr, capsys, "--pairing-id", tokens["sub"], "--event", "diga:data:read")
    read = [(entry["detail"]["interaction"], entry["detail"]["type"]) for entry in entries]
    assert read == [
        ("search", "DeviceMetric"),
        ("search", "Observation"),
        ("search", "Device"),
        ("read", "DeviceMetric"),
        ("operation", "Observation"),
        ("vread", "DeviceMetric"),
    ]
    cgm, bp = (backend.ddr.core.catalog.by_name(name) for name in (CGM, BP))
    assert cgm is not None and bp is not None
    assert sorted(entries[1]["detail"]["valuesets"]) == sorted([cgm.valueset, bp.valueset])
    assert entries[4]["detail"]["valuesets"] == [cgm.valueset]


async def test_a_search_is_told_as_a_reading_of_what_it_may_see_of_what_it_asked_for(
    backend: Backend, patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before, an empty search counted as a reading of all kinds, and so did a read of a single Observation."""
    ddr, home = backend.ddr, Home(backend.ddr, patient)
    await home.furnish()
    tokens = await backend.pair(patient, CGM, BP)
    pressure, glucose = ddr.core.catalog.by_name(BP), ddr.core.catalog.by_name(CGM)
    assert pressure is not None and glucose is not None
    page = await backend.fhir(tokens, "Observation?code=99504-3&_count=1")
    ids = [page.json()["entry"][0]["resource"]["id"], home.ids["bp"], "x"]
    for name, status in zip(ids, (200, 200, 404), strict=True):
        assert (await backend.fhir(tokens, f"Observation/{name}")).status_code == status
    pages = await pages_of(ddr, patient)
    await pages.withdraw(backend.diga.entry.client_id, pressure.valueset)
    for code in ("85354-9", "1234-5"):
        assert (await backend.fhir(tokens, f"Observation?code={code}")).status_code == 200
    entries = await trail(ddr, capsys, "--pairing-id", tokens["sub"], "--event", "diga:data:read")
    read = [entry["detail"]["valuesets"] for entry in entries]
    assert read == [[glucose.valueset]] * 2 + [[pressure.valueset], [], [], []]
    told = (await pages.get("/me/access")).text
    assert "asked for data that does not exist here or is not shared with it, and read nothing" in told


async def test_devices_that_are_not_shown_are_not_told_as_read(
    backend: Backend, patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Devices of another MIV, another patient or nobody: the trail named everything that the pairing allows as read."""
    ddr, home, others = backend.ddr, Home(backend.ddr, patient), Home(backend.ddr, await backend.ddr.patient())
    await home.furnish()
    await others.furnish()
    tokens = await backend.pair(patient, CGM)
    await backend.fhir(tokens, f"Device/{home.ids['cgm']}")
    hidden = [f"Device/{home.ids['cuff']}", f"Device/{others.ids['cgm']}", f"DeviceMetric/{others.ids['metric']}"]
    for path in (*hidden, "Device/x", f"Device/{home.ids['cuff']}/_history/1"):
        assert (await backend.fhir(tokens, path)).status_code == 404, path
    entries = await trail(ddr, capsys, "--pairing-id", tokens["sub"], "--event", "diga:data:read")
    cgm = ddr.core.catalog.by_name(CGM)
    assert cgm is not None
    assert [entry["detail"]["valuesets"] for entry in entries] == [[cgm.valueset], *[[]] * 5]


@pytest.mark.requirement("AUD-003", "AUD-004", "PRIV-001")
async def test_no_entry_identifies_a_patient(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does it contain a token, a value, a serial number, or any text that is not the recorder's own."""
    await scene.reader.get("Observation")
    entries = await trail(scene.reader.ddr, capsys)
    text = orjson.dumps(entries).decode()
    patient, tokens = scene.home.patient, scene.reader.tokens
    secrets = (str(patient.patient_id), patient.username, PASSWORD, tokens.access_token, tokens.refresh_token)
    for secret in (*secrets, "SN-", "GlucoSense", "127.0.0.1", scene.home.ids["bp"]):
        assert secret not in text
    assert all(entry.keys() == FIELDS and entry["detail"].keys() <= DETAILS for entry in entries)


@pytest.mark.requirement("AUD-006")
async def test_what_was_asked_for_is_handed_out_of_what_is_packed(
    alone: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old entries are packed, and the same conditions find them."""
    backends = [Backend(alone, await alone.diga(CGM)) for _ in range(2)]
    tokens = [await each.pair(await alone.patient(), CGM) for each in backends]
    await backends[0].fhir(tokens[0])
    with later(alone, DAY):
        await backends[1].fhir(await backends[1].pair(await alone.patient(), CGM))
        day = date_time(alone.clock() - DAY // 2)
    asked = ((), of(backends[0]), ("--pairing-id", tokens[1]["sub"]), ("--event", "diga:"), ("--from", day))
    options = [*asked, ("--until", day)]
    before = [await trail(alone, capsys, *each) for each in options]
    assert all(before[0] != found != [] for found in before[1:])
    for days in (4, 8):  # sealed on the one day, packed on the other
        with later(alone, days * DAY):
            await housekeeping.one_round(alone.core)
    assert await packs.covering(alone.core.pool, before[0][-1]["no"] - 1) is not None
    assert [await trail(alone, capsys, *each) for each in options] == before


@pytest.mark.requirement("AUD-002")
async def test_entries_are_kept_and_go_in_the_end(alone: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    """After 31 days everything is there; after two years (the default) it is deleted, and the chain stays whole."""
    backend, patient = Backend(alone, await alone.diga(CGM)), await alone.patient()
    await backend.pair(patient, CGM)
    kept = events(await _trail_of(alone))
    for days, expected in ((31, kept), (729, [*kept, "system:pairing:ended"]), (731, ["system:pairing:ended"])):
        with later(alone, days * DAY):
            await housekeeping.one_round(alone.core)
            assert events(await _trail_of(alone)) == expected
            assert (await verify(alone.core.pool, now_ms=alone.core.clock())).faults == ()


async def _trail_of(ddr: Recorder) -> list[Json]:
    return [entry._asdict() async for entry in audit_reading.entries(ddr.core.pool, dict.fromkeys(WANTED))]


@pytest.mark.requirement("AUD-002")
@pytest.mark.parametrize("statement", ["UPDATE audit SET event = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_nobody_changes_entries(alone: Recorder, statement: str) -> None:
    backend = Backend(alone, await alone.diga(CGM))
    await backend.pair(await alone.patient(), CGM)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await alone.core.pool.execute(statement)


@pytest.mark.requirement("AUD-005", "CON-005")
async def test_the_patient_reads_the_trail(backend: Backend, patient: Patient) -> None:
    """In plain words, and only the patient's own one."""
    tokens, stranger = await backend.pair(patient, CGM), await backend.ddr.patient()
    await backend.fhir(tokens)
    await backend.revoke(tokens["refresh_token"])
    await backend.fhir(tokens)
    page = (await (await pages_of(backend.ddr, patient)).get("/me/access")).text
    name = f"<bdi>{backend.diga.entry.name}</bdi>"
    for words in (f"You allowed {name}", f"{name} read", f"{name} ended", f"{name} wanted to read data"):
        assert words in page
    other = (await (await pages_of(backend.ddr, stranger)).get("/me/access")).text
    assert name not in other


@pytest.mark.requirement("AUD-005")
async def test_the_patient_sees_what_others_tried_with_the_own_tokens(backend: Backend, patient: Patient) -> None:
    """A listed DiGA that obtained the code and tokens of another one, and the latter itself after the end."""
    ddr, other = backend.ddr, Backend(backend.ddr, await backend.ddr.diga(CGM, BP))
    code, tokens = await backend.code(patient, CGM), await backend.pair(patient, CGM)
    own, foreign = f"<bdi>{backend.diga.entry.name}</bdi>", f"<bdi>{other.diga.entry.name}</bdi>"

    async def seen() -> str:
        return (await (await pages_of(ddr, patient)).get("/me/access")).text

    assert (await other.fhir(tokens, http=other.diga.http)).status_code == 401
    assert f"{foreign} wanted to read data" in await seen()
    assert (await other.revoke(tokens["refresh_token"])).status_code == 200
    assert f"{foreign} wanted to end a connection" in await seen()
    assert f"{foreign} was not given a new access key" not in await seen()
    assert (await other.refresh(tokens)).status_code == 400
    assert f"{foreign} was not given a new access key" in await seen()
    other = Backend(ddr, await ddr.diga(CGM))
    assert (await other.exchange(code, redirect_uri=backend.diga.entry.redirect_uri)).status_code == 400
    assert f"<bdi>{other.diga.entry.name}</bdi> was not given a new access key" in await seen()
    await backend.revoke(tokens["refresh_token"])
    assert (await backend.refresh(tokens)).status_code == 400
    assert f"{own} was not given a new access key" in await seen()
    stranger = (await (await pages_of(ddr, await ddr.patient())).get("/me/access")).text
    assert foreign not in stranger


@pytest.mark.requirement("AUD-006")
async def test_a_data_protection_officer_gets_what_was_asked_for(
    backend: Backend, patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Filtered by time, DiGA, pairing and event, as JSON lines."""
    ddr, tokens = backend.ddr, await backend.pair(patient, CGM)
    with later(ddr, 1000 * DAY):  # nothing else happens then
        again = await backend.pair(patient, CGM)
        await backend.fhir(again)
        day = "2029-08-18"
        entries = await trail(ddr, capsys, "--from", day, "--until", "2029-08-20", *of(backend))
        assert events(entries) == ["system:pairing:ended", "patient:pairing:granted", "diga:data:read"]
        await backend.fhir(await backend.pair(await ddr.patient(), CGM))  # another patient's, with the same DiGA
        (only,) = await trail(ddr, capsys, "--from", day, "--pairing-id", again["sub"], "--event", "diga:")
        assert (only["event"], only["pairing_id"]) == ("diga:data:read", again["sub"])
    assert tokens["sub"] != again["sub"]
    assert await trail(ddr, capsys, "--until", "2020", *of(backend)) == []
