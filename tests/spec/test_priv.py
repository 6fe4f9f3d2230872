"""Privacy, black box: what reaches a DiGA about the patient (area PRIV)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.spec.backend import Backend, claims
from tests.spec.patient_pages import form_of, pages_of
from tests.spec.world import HOUR, Home, Reader, Scene, entries
from tests.support.recorder import ALL_MIVS, PASSWORD, Recorder
from tools import evidence

SEARCHES = ("Observation", "Device", "DeviceMetric", "Observation?_include=Observation:device")
SUMMARY = "Observation/$hddt-cgm-summary?related=true"


async def everything(reader: Reader) -> list[httpx.Response]:
    """All that a DiGA can fetch."""
    responses = [await reader.get(path) for path in (*SEARCHES, SUMMARY)]
    found = [resource for response in responses[:3] for resource in entries(response.json())]
    return [*responses, *[await reader.get(f"{each['resourceType']}/{each['id']}") for each in found]]


def subjects(value: Any) -> list[Any]:
    """The content of every member called subject or patient, at any depth."""
    if isinstance(value, dict):
        own = [member for name, member in value.items() if name in {"subject", "patient"}]
        return own + [each for member in value.values() for each in subjects(member)]
    return [each for member in value for each in subjects(member)] if isinstance(value, list) else []


@pytest.mark.requirement("PRIV-001", "PRIV-004")
async def test_nothing_identifies_the_patient(scene: Scene) -> None:
    patient, backend = scene.home.patient, Backend(scene.reader.ddr, scene.reader.diga)
    request_uri = await backend.request_uri(*ALL_MIVS)
    landed = await backend.decide(patient, request_uri, ALL_MIVS)
    tokens = (await backend.exchange(landed["code"])).json()
    texts = [str(landed), str(tokens), str(claims(tokens["access_token"]))]
    for response in await everything(scene.reader):
        texts += [response.text, str(response.headers)]
    for text in texts:
        for secret in (str(patient.patient_id), patient.patient_id.hex, patient.username, PASSWORD):
            assert secret not in text


@pytest.mark.requirement("PRIV-003", "PRIV-004", "PRIV-005")
async def test_a_subject_is_the_pairing_id_where_a_profile_wants_one(scene: Scene) -> None:
    pairing_id, seen = scene.reader.tokens.pairing_id, 0
    for response in await everything(scene.reader):
        body = response.json()
        resources = [entry["resource"] for entry in body.get("entry", ())] or [body]
        for resource in resources:
            for subject in subjects(resource):
                assert _forced(resource), resource
                assert subject == {"type": "Patient", "identifier": {"value": pairing_id}}
                seen += 1
    assert seen


def _forced(resource: dict[str, Any]) -> bool:
    """Blood pressure and the summary of glucose values."""
    codings = [coding["code"] for coding in resource.get("code", {}).get("coding", ())]
    return "85354-9" in codings or "cgm-summary" in str(resource.get("meta", {}).get("profile"))


async def test_what_identifies_a_patient_lies_only_where_the_table_of_data_says(ddr: Recorder) -> None:
    """All columns are searched for names and serial numbers; docs/evidence/data.toml says where they may be."""
    patient, number = await ddr.patient(), f"SN-{ddr.number()}"
    meter = {"serialNumber": number, "name": "Meter", "manufacturer": "Muster", "startedAt": "2026-01-01T00:00:00Z"}
    answer = await patient.gateway.put("devices/meter", json=meter, headers={"idempotency-key": "one"})
    assert answer.status_code == 201
    pages, app = await pages_of(ddr, patient), f"Phone of {patient.username}"
    form_token = dict(form_of(await pages.get("/me/devices"), "file").hidden)["form_token"]
    made = await pages.http.post("/me/devices/connect", data={"form_token": form_token})
    code = {"code": made.text.split("<code>")[1].split("</code>")[0], "name": app}
    assert (await patient.gateway.post("token", json=code)).status_code == 201
    pool, found = ddr.core.pool, set()
    for row in await pool.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"):
        rows = [each["row"] for each in await pool.fetch(f"SELECT t::text AS row FROM {row['name']} t")]
        needles = [form for one in (number, patient.username) for form in (one, one.encode().hex())]
        if any(needle in text for text in rows for needle in needles):
            found.add(row["name"])
    tables = evidence.load("data")["tables"]
    assert {"account", "device", "browser_session", "gateway_token", "gateway_request"} <= found
    assert {name for name in found if tables[name]["personal"] != "identifying"} == set()


async def test_the_copy_has_a_corrected_value_as_it_is_and_the_page_says_so(ddr: Recorder) -> None:
    """Before, the page promised everything that is stored; docs/data-protection.md lists what the copy lacks."""
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    for value in (104, 117):
        await home.glucose("corrected", ddr.clock() - HOUR, value)
    pages = await pages_of(ddr, home.patient)
    copy = [(await pages.get(path)).text for path in ("/me/data.csv", "/me/data.json")]
    assert ["117" in each for each in copy] == [True, True]
    assert ",104," not in copy[0] and '"value":104' not in copy[1]
    assert "A value that was corrected is in it as it is now." in (await pages.get("/me/data")).text
