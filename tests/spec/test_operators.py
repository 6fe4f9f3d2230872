"""What operators do for patients who send a letter, black box: `ddr patient …`, `ddr gateway token …`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.store.gateways import tokens
from ddr.store.patients import export as copied
from ddr.store.patients import identities
from ddr.store.patients.erasure import delete_patient
from tests.spec.backend import Backend
from tests.spec.patient_pages import pages_of
from tests.spec.world import BP, CGM
from tests.support.recorder import Patient, Recorder

Output = pytest.CaptureFixture[str]


async def operator(ddr: Recorder, *arguments: str) -> int:
    """The exit status of an operator's command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDR_DATABASE_URL", ddr.settings.database_url)
        patch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
        patch.setenv("DDR_STATE_DIR", str(ddr.settings.state_dir))
        return await asyncio.to_thread(main, list(arguments))


async def told(ddr: Recorder, output: Output, *arguments: str) -> str:
    """The output of a command that succeeds."""
    output.readouterr()
    assert await operator(ddr, *arguments) == 0
    return output.readouterr().out


@pytest.fixture
async def backend(ddr: Recorder) -> Backend:
    """A new DiGA."""
    return Backend(ddr, await ddr.diga(CGM, BP))


async def sends(patient: Patient) -> int:
    """The status of a request of the patient's app."""
    return (await patient.gateway.get("devices")).status_code


@pytest.mark.requirement("AUD-001")
async def test_a_disabled_account(ddr: Recorder, backend: Backend, patient: Patient, capsys: Output) -> None:
    """Everything stops with the next request; enabling the account admits the patient and the app, but no DiGA."""
    tokens, pages = await backend.pair(patient, CGM), await pages_of(ddr, patient)
    code = await backend.code(patient, BP)
    described = await told(ddr, capsys, "patient", "disable", patient.username)
    assert "nothing was done" in described and (await backend.fhir(tokens)).status_code == 200
    await told(ddr, capsys, "patient", "disable", patient.username, "--yes")
    assert (await backend.fhir(tokens)).status_code == 401
    assert (await backend.refresh(tokens)).json()["error"] == "invalid_grant"
    assert (await backend.exchange(code)).json()["error"] == "invalid_grant"
    assert await sends(patient) == 401
    assert (await pages.get("/me")).url.path == "/login"
    with pytest.raises(AssertionError):
        await pages_of(ddr, patient)
    assert await operator(ddr, "patient", "disable", patient.username, "--yes") == 1
    assert "disabled since" in await told(ddr, capsys, "patient", "find", patient.username)
    await told(ddr, capsys, "patient", "enable", patient.username)
    assert await operator(ddr, "patient", "enable", patient.username) == 1
    assert await sends(patient) == 200
    assert (await backend.fhir(tokens)).status_code == 401
    assert (await backend.refresh(tokens)).json()["error"] == "invalid_grant"
    assert "The operator disabled your account" in (await (await pages_of(ddr, patient)).get("/me/access")).text
    assert (await backend.fhir(await backend.pair(patient, CGM))).status_code == 200


async def test_finding_whose_it_is(ddr: Recorder, backend: Backend, patient: Patient, capsys: Output) -> None:
    tokens = await backend.pair(patient, CGM)
    serial = f"SN-{ddr.number()}"
    device = {"serialNumber": serial, "name": "Meter", "manufacturer": "M", "type": "337414009"}
    assert (await patient.gateway.put("devices/one", json=device | {"startedAt": "2026-11-01T00:00:00Z"})).is_success
    for question in ([patient.username], ["--serial", serial], ["--pairing-id", tokens["sub"]]):
        answer = await told(ddr, capsys, "patient", "find", *question)
        assert answer.startswith(f"{patient.username}: active") and "1 devices, 1 connected apps, 1 pairings" in answer
        assert str(patient.patient_id) not in answer
    assert await operator(ddr, "patient", "find", "nobody at all") == 1


async def test_whom_two_issuers_call_alike_is_told_with_the_issuer(ddr: Recorder, capsys: Output) -> None:
    """Before, they looked alike, and `ddr patient delete` did not say which of them it meant."""
    issuers, subject = ("https://former.example", "https://konto.example"), f"both-{ddr.number()}"
    for issuer in issuers:
        await identities.patient_of(ddr.core.pool, issuer, subject, ddr.clock())
    lines = (await told(ddr, capsys, "patient", "find", subject)).splitlines()
    assert sorted(line.partition(": active")[0] for line in lines) == [f"{subject} at {one}" for one in issuers]


async def test_ending_a_pairing(ddr: Recorder, backend: Backend, patient: Patient, capsys: Output) -> None:
    other = Backend(ddr, await ddr.diga(CGM))
    mine, theirs = await backend.pair(patient, CGM), await other.pair(patient, CGM)
    client_id = backend.diga.entry.client_id
    shown = await told(ddr, capsys, "patient", "pairings", patient.username)
    assert client_id in shown and mine["sub"] in shown and "continuous-glucose" in shown
    arguments = ("patient", "unpair", patient.username, "--client-id", client_id)
    assert "would end" in await told(ddr, capsys, *arguments)
    assert (await backend.fhir(mine)).status_code == 200
    await told(ddr, capsys, *arguments, "--yes")
    assert [(await one.fhir(token)).status_code for one, token in ((backend, mine), (other, theirs))] == [401, 200]
    assert await operator(ddr, *arguments, "--yes") == 1
    trail = await told(ddr, capsys, "audit", "export", "--client-id", client_id, "--event", "operator:")
    assert '"event":"operator:pairing:ended"' in trail and '"reason":"operator-request"' in trail
    assert "at your request" in (await (await pages_of(ddr, patient)).get("/me")).text


async def test_the_copy_for_a_letter(alone: Recorder, capsys: Output, tmp_path: Path) -> None:
    """The files are those of the patient's pages; the patient sees that they were made."""
    ddr = alone  # the command reads the registries' data, which other tests change
    backend, patient = Backend(ddr, await ddr.diga(CGM, BP)), await ddr.patient()
    await backend.pair(patient, CGM)
    device = {"serialNumber": "S1", "name": "Meter", "manufacturer": "M", "type": "337414009"}
    started = {"startedAt": "2026-11-01T00:00:00Z"}
    assert (await patient.gateway.put("devices/one", json=device | started)).is_success
    value = {"code": "2339-0", "device": "one", "effective": "2026-11-20T10:00:00Z", "value": 120, "unit": "mg/dL"}
    assert (await patient.gateway.put("measurements/m-1", json=value)).is_success
    pages, folder = await pages_of(ddr, patient), tmp_path / "copy"
    export = ("patient", "export", patient.username, "--to", str(folder), "--language", "en")
    said = await told(ddr, capsys, *export)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sorted(said.splitlines()) == sorted(f"{folder / name}: {size} bytes" for name, size in sizes.items())
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    for name, path in (("messwerte.csv", "data.csv"), ("zustimmungen.csv", "consents.csv")):
        page = await pages.get(f"/me/{path}?lang=en")
        assert (page.status_code == 200 and "120" in page.text) or name != "messwerte.csv"
        # the command knows the registry that recorders read; a stand-in replaces it for this one
        written, entry = (folder / name).read_bytes().decode(), backend.diga.entry
        assert written.replace(entry.name, entry.client_id) == page.text.replace(entry.name, entry.client_id)
    bundle = json.loads((folder / "messwerte.json").read_bytes())
    kinds = {entry["resource"]["resourceType"] for entry in bundle["entry"]}
    assert kinds == {"Device", "Observation", "Consent", "AuditEvent"}
    assert "Consent" in kinds and str(patient.patient_id) not in (folder / "messwerte.json").read_text()
    assert "operator made a copy of your data" in (await pages.get("/me/access")).text
    assert await operator(ddr, *export) == 1
    assert "already exists" in capsys.readouterr().err
    assert await operator(ddr, "patient", "export", "nobody at all", "--to", str(tmp_path / "none")) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("fault", ["deleted", "lost"])
async def test_a_copy_is_there_as_a_whole_or_not_at_all(
    alone: Recorder, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    patient, folder = await alone.patient(), tmp_path / "copy"
    consents = copied.consents

    async def spoilt(pool: asyncpg.Pool, patient_id: UUID) -> AsyncIterator[Any]:
        async for row in consents(pool, patient_id):
            yield row
        if fault == "lost":
            raise ConnectionError("the database is gone")
        await delete_patient(pool, patient_id, 0)

    monkeypatch.setattr(copied, "consents", spoilt)
    assert await operator(alone, "patient", "export", patient.username, "--to", str(folder)) == 1
    assert ("nothing was written" in capsys.readouterr().err) == (fault == "deleted")
    assert not list(folder.iterdir())


async def test_erasing_tells_what_and_how_far(ddr: Recorder, patient: Patient, capsys: Output) -> None:
    before = await told(ddr, capsys, "patient", "erase", patient.username)
    assert "would delete" in before and "  gateway_token: 1 rows\n" in before and "nothing was done" in before
    after = await told(ddr, capsys, "patient", "erase", patient.username, "--yes")
    rows = [line for line in before.splitlines() if line.startswith("  ")]
    assert [line for line in after.splitlines() if line.startswith("  ")] == rows and "deleted;" in after
    assert await operator(ddr, "patient", "erase", patient.username) == 1


async def test_deleting(ddr: Recorder, backend: Backend, patient: Patient, capsys: Output) -> None:
    tokens = await backend.pair(patient, CGM)
    assert "would delete" in await told(ddr, capsys, "patient", "delete", patient.username)
    assert await sends(patient) == 200
    await told(ddr, capsys, "patient", "delete", patient.username, "--yes")
    assert await sends(patient) == 401
    assert (await backend.fhir(tokens)).status_code == 401
    assert await operator(ddr, "patient", "find", patient.username) == 1


async def test_tokens_of_apps(ddr: Recorder, patient: Patient, capsys: Output) -> None:
    token = (await told(ddr, capsys, "gateway", "token", "add", patient.username, "--name", "Clinic tablet")).strip()
    base = f"{ddr.settings.gateway_base_url}/gateway/v1"

    async def status(of: str) -> int:
        client = await ddr.client(base_url=base, headers={"authorization": f"Bearer {of}"})
        return (await client.get("devices")).status_code

    assert await status(token) == 200
    lines = (await told(ddr, capsys, "gateway", "token", "list", patient.username)).splitlines()
    assert len(lines) == 2
    (line,) = [line for line in lines if "Clinic tablet" in line]
    app = line.partition(":")[0]
    assert token not in line and "never used" not in line
    renewed = (await told(ddr, capsys, "gateway", "token", "renew", patient.username, app)).strip()
    assert [await status(one) for one in (token, renewed)] == [200, 200]
    assert len((await told(ddr, capsys, "gateway", "token", "list", patient.username)).splitlines()) == 2
    await told(ddr, capsys, "gateway", "token", "revoke", patient.username, app)
    assert [await status(one) for one in (token, renewed)] == [401, 401]
    assert await sends(patient) == 200
    assert await operator(ddr, "gateway", "token", "revoke", patient.username, app) == 1
    await told(ddr, capsys, "gateway", "token", "revoke", patient.username, "--all")
    assert await sends(patient) == 401


async def test_who_connected_an_app_for_the_patient_is_told(ddr: Recorder, patient: Patient, capsys: Output) -> None:
    assert "connected by" not in await told(ddr, capsys, "gateway", "token", "list", patient.username)
    async with ddr.core.pool.acquire() as conn, conn.transaction():
        await tokens.create(conn, patient.patient_id, ddr.core.clock(), name="Family phone", by=("parent", None))
    lines = (await told(ddr, capsys, "gateway", "token", "list", patient.username)).splitlines()
    (line,) = [one for one in lines if "Family phone" in one]
    assert line.endswith("never used, connected by a parent") and len(lines) == 2


@pytest.mark.parametrize("action", ["list", "add"])
async def test_an_account_that_is_not_there(ddr: Recorder, capsys: Output, action: str) -> None:
    assert await operator(ddr, "gateway", "token", action, "nobody at all") == 1
    assert capsys.readouterr().err == "ddr: no account is called 'nobody at all'\n"
