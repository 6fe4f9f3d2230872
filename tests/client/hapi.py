"""The client at another vendor's server with the specification's examples: python -m tests.client.hapi BASE.

BASE is the FHIR base URL of an empty server (HAPI's JPA starter, see docs/performance.md) over plain HTTP without
authorization; DDR_HDDT_ARTIFACTS names the folder of the examples. Anything wrong is an AssertionError.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from ddr.client import Change, Cursor, Diga, FileTokens, Grant, Kind, Recorder, Series
from ddr.client.instants import instant
from tests.client.foreign import PAIRING
from tests.spec.examples import Examples, folder

Json = dict[str, Any]
KINDS = ("Patient", "Device", "DeviceMetric", "Observation")
PAGE = 4


def examples() -> list[Json]:
    """Every resource of the examples that a recorder serves, and whom it is about."""
    files = [file for kind in KINDS for file in sorted(folder().glob(f"{kind}-*.json"))]
    return [Examples().load(file.stem.replace("-", "/", 1)) for file in files]


async def fill(http: httpx.AsyncClient, base: str, resources: list[Json]) -> None:
    """In one transaction, under their own ids."""
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources
    ]
    answer = await http.post(base, json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.is_success, answer.text


async def recorder(http: httpx.AsyncClient, base: str, place: Path) -> Recorder:
    """A client with a token that nobody asks for."""
    tokens = FileTokens(place)
    await tokens.save(Grant(PAIRING, "", "r", "a", 4e9))
    diga = Diga("urn:diga:bfarm:00001", "https://diga.example/cb", "https://as.example", base, Path(), Path())
    return Recorder(diga, http, tokens, PAIRING)


async def everything(one: Recorder, since: Cursor | None = None) -> tuple[list[Change], Cursor]:
    """All changes, and how far that was."""
    found, cursor = list[Change](), since or Cursor()
    async for step in one.steps(since):
        found += step.changes
        cursor = step.cursor
    return found, cursor


def compare(series: Series, resources: list[Json]) -> int:
    """Each example's values, times, limits and serial number are in the series; how many readings there are."""
    found = series.readings()
    by_id = {one["id"]: one for one in resources}
    total = 0
    for example in resources:
        if example["resourceType"] != "Observation":
            continue
        mine = [one for one in found if one.observation_id == example["id"]]
        data = example.get("valueSampledData")
        texts = data["data"].split() if data else []
        start = instant(example["effectivePeriod"]["start"]) if data else None
        wanted = [(at, text) for at, text in enumerate(texts) if text != "E"]
        if data and start:
            assert len(mine) == len(wanted), example["id"]
            for reading, (at, text) in zip(mine, wanted, strict=True):
                assert (reading.time - start).total_seconds() * 1000 == at * data["period"]
                if text in ("L", "U"):
                    limit = data["lowerLimit" if text == "L" else "upperLimit"]
                    assert (reading.sign, reading.value) == (text, None) and reading.limit == limit
                else:
                    assert float(reading.value or 0) == float(text)
        for part in (example, *example.get("component", ())):
            if quantity := part.get("valueQuantity"):
                code = part["code"]["coding"][0]["code"]
                (reading,) = (one for one in mine if one.code == code)
                told = reading.limit if "comparator" in quantity else reading.value  # "< 30" is a limit, no value
                assert told is not None and float(told) == float(quantity["value"]), example["id"]
        device = by_id.get(example.get("device", {}).get("reference", "").rpartition("/")[2], {})
        if "source" in device:
            device = by_id[device["source"]["reference"].rpartition("/")[2]]
        assert {one.serial for one in mine} <= {device.get("serialNumber")}, example["id"]
        total += len(mine)
    (unavailable,) = (one for one in series.expected() if one.observation_id == "example-cgm-series-data-unavailable")
    assert unavailable.end > unavailable.start
    return total


async def check(base: str, http: httpx.AsyncClient, place: Path) -> str:
    """Fill the server and try everything; what was done."""
    resources = examples()
    await fill(http, base, resources)
    one = await recorder(http, base, place)
    found, cursor = await everything(one)
    observations = {each["id"] for each in resources if each["resourceType"] == "Observation"}
    assert {change.id for change in found} == observations and {change.kind for change in found} == {Kind.NEW}
    total = compare(Series(found), resources)

    again, cursor = await everything(one, cursor)
    assert again == []
    chunk = next(each for each in resources if each["id"] == "example-cgm-series-incomplete")
    chunk["valueSampledData"]["data"] += " 130"
    wrong = next(each for each in resources if each["id"] == "example-blood-glucose-measurement-1")
    await fill(http, base, [chunk, {**wrong, "status": "entered-in-error"}])
    changed, cursor = await everything(one, cursor)
    assert {change.id: change.kind for change in changed} == {
        chunk["id"]: Kind.CHANGED,
        wrong["id"]: Kind.ENTERED_IN_ERROR,
    }
    assert len(Series(changed).readings()) == len(chunk["valueSampledData"]["data"].split())
    gone = "example-blood-glucose-measurement-2"
    (await http.delete(f"{base}/Observation/{gone}")).raise_for_status()
    deleted, _ = await everything(one, cursor.whole())
    assert [(change.id, change.kind) for change in deleted] == [(gone, Kind.DELETED)]

    pages = [bundle async for bundle in one.pages("Observation", {"_count": str(PAGE)})]
    matches = [entry["resource"]["id"] for bundle in pages for entry in bundle["entry"]]
    assert sorted(matches) == sorted(observations - {gone}) and len(pages) >= len(matches) // PAGE
    async with httpx.AsyncClient(event_hooks={"request": [as_xml]}, timeout=120) as only_xml:
        in_xml, _ = await everything(await recorder(only_xml, base, place))
    kept = Series([*found, *changed, *deleted])
    assert [vars(each) for each in Series(in_xml).readings()] == [vars(each) for each in kept.readings()]
    return f"{len(observations)} Observations, {total} readings, {len(pages)} pages: as they shall be, in JSON and XML"


async def as_xml(request: httpx.Request) -> None:
    """A server that speaks nothing else."""
    request.headers["accept"] = "application/fhir+xml"


async def main(base: str) -> None:
    """Say how it went."""
    with tempfile.TemporaryDirectory() as place:
        async with httpx.AsyncClient(timeout=120) as http:
            print(await check(base.rstrip("/"), http, Path(place)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
