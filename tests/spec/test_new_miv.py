"""A MIV unknown to this program: a folder defines it, and it is served from the gateway to the DiGA."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from lxml import etree

from ddr.demo.diga_client import DigaRefused
from ddr.settings import Settings
from tests.spec.world import BG, HOUR, Home, Reader, paired
from tests.support.received import Received
from tests.support.recorder import Recorder, recorder

WEIGHT = "body-weight"
VALUESET = "https://example.org/fhir/ValueSet/miv-body-weight"
PROFILE = "https://example.org/fhir/StructureDefinition/body-weight"
UCUM = "http://unitsofmeasure.org"
MIV = f"""
valueset = "{VALUESET}"
continuous = false
title = "Body weight"
title_de = "Körpergewicht"
description = "Your weight on the scales."
description_de = "Ihr Gewicht auf der Waage."
search_parameters = ["value-quantity"]
operations = []

[limits]
min_historic_days = 60
max_grace_seconds = 3600
vendor_holdup_seconds = 60

[[codes]]
code = "29463-7"
kind = "reading"
profile = "{PROFILE}"
unit = "kg"
"""
CODES = {
    "resourceType": "ValueSet",
    "url": VALUESET,
    "version": "1.0.0",
    "compose": {
        "include": [{"system": "http://loinc.org", "concept": [{"code": "29463-7", "display": "Body weight"}]}]
    },
}

# Its unit is of a kind for which other MIVs use another unit, and people have another name for it.
CRP, CRP_VALUESET = "c-reactive-protein", "https://example.org/fhir/ValueSet/miv-c-reactive-protein"
CRP_MIV = (
    MIV.replace(VALUESET, CRP_VALUESET)
    .replace("29463-7", "1988-5")
    .replace('unit = "kg"', 'unit = "mg/L"\nunit_text = "mg je Liter"')
)
CRP_CODES = {
    "resourceType": "ValueSet",
    "url": CRP_VALUESET,
    "version": "1.0.0",
    "compose": {"include": [{"system": "http://loinc.org", "concept": [{"code": "1988-5", "display": "CRP"}]}]},
}


@pytest.fixture(scope="module")
def packages(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MIV packages of HDDT and a new one beside them."""
    folder = tmp_path_factory.mktemp("packages") / "miv_packages"
    shutil.copytree(settings.miv_packages, folder)
    for name, miv, codes in ((WEIGHT, MIV, CODES), (CRP, CRP_MIV, CRP_CODES)):
        package = folder / name / "package"
        package.mkdir(parents=True)
        (folder / name / "miv.toml").write_text(miv)
        (package / "package.json").write_text(json.dumps({"name": f"example.{name}", "version": "1.0.0"}))
        (package / f"ValueSet-miv-{name}.json").write_text(json.dumps(codes))
    return folder


@pytest.fixture(scope="module")
async def home(
    pool: asyncpg.Pool, settings: Settings, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Home]:
    """A patient with scales, at a recorder that serves the new MIV, too; the validator does not know its profile."""
    changed, folder = replace(settings, miv_packages=packages), tmp_path_factory.mktemp("new-miv")
    async with recorder(pool, changed, folder, Received(), {}) as ddr:
        home = Home(ddr, await ddr.patient())
        await home.device("scales")
        for key, kilograms in (("before", 81.5), ("after", 79.0)):
            members = {"code": "29463-7", "value": kilograms, "unit": "kg", "device": "scales"}
            await home.measure(key, effective=home.ago(HOUR), **members)
        for key, amount in (("inflamed", 12.4), ("well", 3.1)):
            members = {"code": "1988-5", "value": amount, "unit": "mg/L", "device": "scales"}
            await home.measure(key, effective=home.ago(HOUR), **members)
        yield home


@pytest.fixture
async def reader(home: Home) -> Reader:
    """A new DiGA that reads the patient's weight."""
    return await paired(home.ddr, home.patient, WEIGHT)


async def test_it_is_served_as_its_package_says(home: Home, reader: Reader) -> None:
    assert f"patient/Observation.rs?code:in={VALUESET}" in reader.tokens.scopes
    observation = await reader.read(f"Observation/{home.ids['before']}")
    assert observation["meta"]["profile"] == [PROFILE]
    coding = {"system": "http://loinc.org", "code": "29463-7", "display": "Body weight"}
    assert observation["code"] == {"coding": [coding]}
    assert observation["valueQuantity"] == {"value": 81.5, "unit": "kg", "system": UCUM, "code": "kg"}
    assert observation["device"] == {"reference": f"Device/{home.ids['scales']}"}
    xml = await reader.get(f"Observation/{home.ids['before']}", accept="application/fhir+xml")
    quantity = etree.fromstring(xml.content).find("{*}valueQuantity/{*}value")
    assert quantity is not None
    assert quantity.get("value") == "81.5"


async def test_it_is_found_by_its_value(home: Home, reader: Reader) -> None:
    assert await reader.ids(f"Observation?code=29463-7&value-quantity=gt80|{UCUM}|kg") == [home.ids["before"]]


@pytest.mark.parametrize(
    "value",
    [
        "gt10",
        f"gt10|{UCUM}|mg/L",
        "12.4||mg/L",
        "12.4||mg/l",
        f"1.24|{UCUM}|mg/dL",
        "gt0.01||g/L",
        "12.4||mg je Liter",  # Quantity.unit (search.html#quantity)
        f"12.4||mg je Liter,3.1|{UCUM}|mg je Liter",  # which is not a UCUM code
    ],
)
async def test_it_is_found_by_its_value_in_any_unit_of_the_kind(home: Home, value: str) -> None:
    reader = await paired(home.ddr, home.patient, CRP)
    assert await reader.ids(f"Observation?value-quantity={value}") == [home.ids["inflamed"]]


async def test_its_unit_is_checked(home: Home) -> None:
    members = {"code": "29463-7", "value": 81.5, "device": "scales", "effective": home.ago(HOUR)}
    assert await home.unfit(**members, unit="g") == "unit"


async def test_its_grace_period_holds(reader: Reader) -> None:
    assert (await reader.get("Observation")).status_code == 200
    refusal = await reader.get("Observation")
    assert (refusal.status_code, refusal.headers["retry-after"]) == (429, "3600")


async def test_it_is_announced(home: Home, reader: Reader) -> None:
    statement = await reader.read("metadata")
    (observation,) = [each for each in statement["rest"][0]["resource"] if each["type"] == "Observation"]
    assert PROFILE in observation["supportedProfile"]
    assert any(VALUESET in scope for scope in (await reader.diga.client.metadata())["scopes_supported"])


async def test_only_a_diga_that_is_listed_for_it_may_ask(home: Home, ddr: Recorder) -> None:
    other = await home.ddr.diga(BG)
    with pytest.raises(DigaRefused) as refusal:
        await home.ddr.pair(other, home.patient, WEIGHT)
    assert refusal.value.response.json()["error"] == "invalid_scope"
    # A recorder without the package does not know the MIV.
    assert all(VALUESET not in scope for scope in ddr.core.catalog.scopes())
