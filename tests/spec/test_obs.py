"""Observation, black box: whose data, which period, which device, and the content of an Observation (area OBS)."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from ddr.fhir.instants import date_time
from tests.spec.world import (
    BG,
    BP,
    CGM,
    DAY,
    HOUR,
    LF,
    MINUTE,
    Home,
    Json,
    Reader,
    Scene,
    code_of,
    entries,
    furnished,
    later,
    paired,
    refused,
    warnings,
)
from tests.support.recorder import Recorder

# The minimum Historic-Data-Period of each MIV in days (HDDT mivs.md), and the requirement that prescribes it.
PERIODS = ((BG, 30, "BG-013"), (BP, 30, "BP-019"), (CGM, 30, "CGM-012"), (LF, 14, "LF-022"))
EXPIRED = (
    "Search includes a time range which is outside the historical time range of this service. "
    "Potentially no matches found."
)


async def observations(reader: Reader, query: str = "") -> list[Json]:
    """The matches of an Observation search."""
    return entries(await reader.search(f"Observation?{query}"))


def valueset_codes(ddr: Recorder, miv: str) -> set[tuple[str, str]]:
    """System and code of every member of the MIV's ValueSet, as the package contains it."""
    folder = ddr.settings.miv_packages / miv / "package"
    return {pair for path in Path(folder).glob("ValueSet-*.json") for pair in _expanded(json.loads(path.read_text()))}


def _expanded(valueset: Json) -> set[tuple[str, str]]:
    return {
        (include["system"], concept["code"])
        for include in valueset["compose"]["include"]
        for concept in include.get("concept", ())
    }


@pytest.mark.requirement("OBS-010", "OBS-012", "OBS-029", "OBS-020")
@pytest.mark.parametrize(("miv", "count"), [(BG, 3), (BP, 1), (CGM, 2), (LF, 4)])
async def test_all_data_of_a_miv(ddr: Recorder, scene: Scene, miv: str, count: int) -> None:
    reader = await paired(ddr, scene.home.patient, miv)
    found = await observations(reader)
    assert len(found) == count
    allowed = valueset_codes(ddr, miv)
    for observation in found:
        (coding,) = observation["code"]["coding"]
        assert (coding["system"], coding["code"]) in allowed
        assert observation["id"] in await reader.ids(f"Observation?code={coding['code']}&date=ge2026-01-01")
    for part in ("_summary=true", "_summary=text", "_elements=code"):
        parts = entries(await reader.search(f"Observation?{part}"))
        assert {one["id"]: one["code"] for one in parts} == {one["id"]: one["code"] for one in found}
    assert await reader.ids("Observation?date=ge2027") == ([] if miv != LF else [scene.home.ids["reference"]])


@pytest.mark.requirement("OBS-013", "OBS-014", "OBS-020", "OBS-035", "RS-033")
async def test_a_search_of_expired_history_is_empty(ddr: Recorder) -> None:
    home = await old(ddr, 32 * DAY)
    reader = await paired(ddr, home.patient)
    for query in (f"date=lt{home.ago(30 * DAY + MINUTE)}", f"date={home.ago(32 * DAY)}", "date=2020,2021"):
        bundle = await reader.search(f"Observation?{query}")
        assert entries(bundle) == []
        assert warnings(bundle) == [EXPIRED]
    assert warnings(await reader.search("Observation")) == []


@pytest.mark.requirement("OBS-015", "OBS-034", "OBS-035")
async def test_a_read_of_expired_history_is_not_found(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.furnish()
    reader = await paired(ddr, home.patient)
    chunk = (await reader.ids("Observation?code=99504-3"))[0]
    await home.erase("bg-mmol")
    with later(ddr, 35 * DAY):
        fresh = await paired(ddr, home.patient)
        expired = {home.ids[key]: 30 for key in ("bg-new", "bp")} | {home.ids["pef"]: 14, chunk: 30}
        for logical_id, days in expired.items():
            for path in (f"Observation/{logical_id}", f"Observation/{logical_id}/_history/1"):
                issue = refused(await fresh.get(path), 404)
                assert "historic period" in issue["diagnostics"]
                assert f"{days} days" in issue["diagnostics"]
        refused(await fresh.get(f"Observation/{home.ids['bg-mmol']}"), 404)


async def old(ddr: Recorder, age_ms: int) -> Home:
    """A patient with two values of each single-value MIV, this old and an hour younger, and CGM of the hour between."""
    home = Home(ddr, await ddr.patient())
    for key in ("meter", "cuff", "spirometer"):
        await home.device(key)
    at_ms = ddr.clock() - age_ms
    for number in range(2):
        taken_ms = at_ms + number * HOUR
        flow = {"code": "19935-6", "value": 600, "unit": "L/min", "device": "spirometer"}
        await home.glucose(f"bg-{number}", taken_ms)
        await home.pressure(f"bp-{number}", taken_ms)
        await home.measure(f"pef-{number}", effective=date_time(taken_ms), **flow)
    worn = {"startedAt": date_time(at_ms)}
    await home.device("cgm", **worn)
    await home.cgm("cgm", at_ms)
    await home.readings("cgm", at_ms, [100] * 12)
    await home.device("cgm", **worn, endedAt=date_time(at_ms + HOUR))
    return home


@pytest.mark.requirement("OBS-016", "OBS-039", "OBS-012")
@pytest.mark.parametrize(
    ("miv", "days"), [pytest.param(miv, days, marks=pytest.mark.requirement(own)) for miv, days, own in PERIODS]
)
async def test_all_data_of_the_historic_period_is_served(ddr: Recorder, miv: str, days: int) -> None:
    """A value as old as the period is found; two minutes later it is not."""
    home = await old(ddr, days * DAY)
    reader = await paired(ddr, home.patient, miv)
    first = {BG: "bg-0", BP: "bp-0", LF: "pef-0"}
    before = await reader.ids("Observation")
    assert len(before) == (1 if miv == CGM else 2)
    assert await reader.ids(f"Observation?date=lt{home.ago((days - 1) * DAY - HOUR)}") == before
    for logical_id in before:
        assert (await reader.get(f"Observation/{logical_id}")).status_code == 200
    with later(ddr, 2 * MINUTE):
        after = await reader.ids("Observation")
    # The chunk of CGM ends an hour later and is still found.
    assert after == [found for found in before if miv == CGM or found != home.ids[first[miv]]]
    (valueset,) = [each.valueset for each in ddr.core.catalog.mivs if each.name == miv]
    assert f"({valueset}): history {days} d" in (await reader.read("metadata"))["description"]


@pytest.mark.requirement("OBS-021")
async def test_every_observation_is_complete(scene: Scene) -> None:
    for observation in await observations(scene.reader):
        assert observation["status"] in ("final", "preliminary")
        assert code_of(observation)
        assert {"effectiveDateTime", "effectivePeriod"} & observation.keys()
        for part in observation.get("component", [observation]):
            quantity = part.get("valueQuantity") or part["valueSampledData"]["origin"]
            assert quantity["code"]
            assert quantity["unit"]
            assert isinstance(quantity["value"], int | float)


@pytest.mark.requirement("OBS-022", "OBS-023", "OBS-026", "DEV-030", "DEV-041")
@pytest.mark.parametrize(
    ("code", "value", "unit", "state"),
    [
        ("2339-0", 101, "mg/dL", "calibrated"),
        ("2339-0", 101, "mg/dL", "not-calibrated"),
        ("20150-9", 3.2, "L", "calibration-required"),
        ("85354-9", None, "mm[Hg]", "unspecified"),
    ],
)
async def test_sensors_that_are_calibrated_show_their_state(
    ddr: Recorder, code: str, value: float | None, unit: str, state: str
) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("d")
    metric = await home.sensor("d", code, unit, calibration={"state": state, "time": home.ago(DAY)})
    panel = [{"code": part, "value": pressure, "unit": unit} for part, pressure in (("8480-6", 120), ("8462-4", 80))]
    content = {"components": panel} if value is None else {"value": value, "unit": unit}
    await home.measure("m", code=code, device="d", sensor="s", effective=home.ago(HOUR), **content)
    reader = await paired(ddr, home.patient)
    (observation,) = await observations(reader)
    assert observation["device"] == {"reference": f"DeviceMetric/{metric}"}
    assert (await reader.read(f"DeviceMetric/{metric}"))["calibration"][0]["state"] == state


@pytest.mark.requirement("OBS-022", "OBS-026", "DEV-041")
@pytest.mark.parametrize("state", ["not-calibrated", "calibrated"])
async def test_continuous_data_shows_its_state(ddr: Recorder, state: str) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("cgm")
    started_ms = ddr.clock() - HOUR
    metric = await home.cgm("cgm", started_ms, state)
    await home.readings("cgm", started_ms, [100, 101])
    reader = await paired(ddr, home.patient, CGM)
    (chunk,) = await observations(reader)
    assert chunk["device"] == {"reference": f"DeviceMetric/{metric}"}
    assert (await reader.read(f"DeviceMetric/{metric}"))["calibration"][0]["state"] == state


@pytest.mark.requirement("OBS-027")
async def test_missing_data_can_be_told(ddr: Recorder) -> None:
    """While the gateway is silent, the chunk stays preliminary and the Device unknown; then both show completeness."""
    scene = await furnished(ddr)
    device = f"Device/{scene.home.ids['cgm']}"
    current = "Observation?code=99504-3&_sort=-date&_count=1"
    assert (await scene.reader.read(device))["status"] == "active"
    with later(ddr, HOUR):
        assert (await scene.reader.read(device))["status"] == "unknown"
        (chunk,) = entries(await scene.reader.search(current))
        assert chunk["status"] == "preliminary"
        missing = range(ddr.clock() - HOUR + 5 * MINUTE, ddr.clock() + 1, 5 * MINUTE)
        await scene.home.readings("cgm", missing[0], [90] * len(missing))
        assert (await scene.reader.read(device))["status"] == "active"
    with later(ddr, 2 * DAY):
        placeholder = entries(await scene.reader.search(current))[0]
        assert placeholder["status"] == "preliminary"
        assert placeholder["dataAbsentReason"]["coding"][0]["code"] == "temp-unknown"


@pytest.mark.requirement("OBS-028")
async def test_what_was_sent_is_there(ddr: Recorder, scene: Scene) -> None:
    home = Home(ddr, scene.home.patient)
    logical_id = await home.glucose("just-now", ddr.clock(), 77)
    assert logical_id in await scene.reader.ids("Observation")
    await home.erase("just-now")


@pytest.mark.requirement("OBS-028")
async def test_no_single_value_is_left_out(ddr: Recorder) -> None:
    """Failed measurements, those beyond the range of their device, and those with any status."""
    home, now_ms = Home(ddr, await ddr.patient()), ddr.clock()
    await home.device("meter")
    failed: Json = {"value": None, "unit": None, "dataAbsentReason": "error"}
    await home.glucose("failed", now_ms, **failed)
    await home.glucose("same-time", now_ms, **failed)
    await home.glucose("low", now_ms - MINUTE, 20, comparator="<")
    for status in ("preliminary", "final", "amended", "corrected", "entered-in-error"):
        await home.glucose(status, now_ms - HOUR, status=status)
    reader = await paired(ddr, home.patient, BG)
    sent = {home.ids[key] for key in home.ids.keys() - {"meter"}}
    for query in ("", "code=2339-0", f"date=ge{home.ago(2 * HOUR)}"):
        assert set(await reader.ids(f"Observation?{query}")) == sent


@pytest.mark.requirement("OBS-030")
async def test_data_of_foreign_devices_is_shared(ddr: Recorder) -> None:
    """An rtCGM of another manufacturer, coupled to the operator's pump: its data comes with its own Device."""
    home = Home(ddr, await ddr.patient())
    await home.device("pump", name="Own pump", manufacturer="Own AG")
    await home.device("foreign", name="Foreign rtCGM", manufacturer="Foreign Inc.")
    started_ms = ddr.clock() - HOUR
    await home.cgm("foreign", started_ms)
    await home.readings("foreign", started_ms, [100, 101])
    reader = await paired(ddr, home.patient, CGM)
    query = "_include=Observation:device&_include:iterate=DeviceMetric:source"
    bundle = await reader.search(f"Observation?{query}")
    devices = [each for each in entries(bundle, "include") if each["resourceType"] == "Device"]
    assert [device["manufacturer"] for device in devices] == ["Foreign Inc."]


@pytest.mark.requirement("OBS-032")
async def test_corrections_are_shown(ddr: Recorder) -> None:
    scene = await furnished(ddr)
    path = f"Observation/{scene.home.ids['bg-new']}"
    versions = [await scene.reader.read(path)]
    at_ms = ddr.clock() - 3 * HOUR
    for minutes, value, status in ((1, 150, "final"), (2, 150, "entered-in-error")):
        with later(ddr, minutes * MINUTE):
            await scene.home.glucose("bg-new", at_ms, value, status=status)
            versions.append(await scene.reader.read(path))
    assert [version["status"] for version in versions] == ["final", "corrected", "entered-in-error"]
    assert [version["meta"]["versionId"] for version in versions] == ["1", "2", "3"]
    assert all(a["meta"]["lastUpdated"] < b["meta"]["lastUpdated"] for a, b in pairwise(versions))
    for number, version in enumerate(versions, 1):
        assert await scene.reader.read(f"{path}/_history/{number}") == version
