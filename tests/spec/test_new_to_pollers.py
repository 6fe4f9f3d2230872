"""Data that becomes visible is new for DiGA that poll by _lastUpdated, however old it is (RS-036, SCO-006, CON-019)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import pytest

from ddr.fhir.instants import date_time, parse_instant
from ddr.miv.loader import load_catalog
from ddr.settings import MivSettings
from tests.spec.series import DELAY, PERIOD, ramp, worn
from tests.spec.world import BG, CGM, DAY, HOUR, LF, METHODS, MINUTE, Home, Json, Reader, entries, later, link, paired
from tests.support.recorder import Recorder

TYPES = ("Observation", "Device", "DeviceMetric")


@dataclass
class Poller:
    """Moves its cursor to the newest timestamp of a response, for all types together."""

    reader: Reader
    cursor: str = "2000-01-01T00:00:00Z"

    async def poll(self, kinds: tuple[str, ...] = TYPES) -> list[str]:
        """References of everything newer than the cursor. What a search shows is also found by `_lastUpdated`."""
        found: list[Json] = []
        newest = self.cursor
        for kind in kinds:
            bundle = await self.reader.search(f"{kind}?_count=1000&_lastUpdated=gt{quote(self.cursor)}")
            found += entries(bundle)
            newest = max(newest, bundle["meta"]["lastUpdated"])
        assert all(self.cursor < resource["meta"]["lastUpdated"] <= newest for resource in found)
        self.cursor = newest
        return sorted(f"{resource['resourceType']}/{resource['id']}" for resource in found)

    async def everything(self) -> list[str]:
        """References of everything visible; search and read give it the same timestamps."""
        found = [each for kind in TYPES for each in entries(await self.reader.search(f"{kind}?_count=1000"))]
        for resource in found:
            read = await self.reader.read(f"{resource['resourceType']}/{resource['id']}")
            assert read["meta"] == resource["meta"]
        return sorted(f"{resource['resourceType']}/{resource['id']}" for resource in found)


@pytest.mark.requirement("RS-036", "SCO-006")
async def test_a_device_is_new_with_its_first_reading(ddr: Recorder) -> None:
    with later(ddr, 2 * HOUR):
        sensor = await worn(ddr)
        poller = Poller(sensor.reader)
        assert await poller.poll() == []
        ddr.clock.advance(60)
        assert await poller.poll() == []
        await sensor.send(0, ramp(1))
        assert len(found := await poller.poll()) == 3
        assert found == await poller.everything()
        ddr.clock.advance(PERIOD / 1000)
        await sensor.send(1, ramp(1))
        assert [name.partition("/")[0] for name in await poller.poll()] == ["Observation"]  # nothing else has changed


@pytest.mark.requirement("RS-036", "SER-014")
async def test_a_device_is_new_with_the_first_chunk_that_lacks_readings(ddr: Recorder) -> None:
    with later(ddr, 3 * HOUR):
        sensor = await worn(ddr)
        poller = Poller(sensor.reader)
        assert await poller.poll() == []
        ddr.clock.advance((PERIOD + DELAY) / 1000)
        assert len(found := await poller.poll()) == 3
        assert found == await poller.everything()


@pytest.mark.requirement("RS-036", "SER-017")
async def test_a_series_that_lost_its_readings_has_no_stamp_of_the_future(ddr: Recorder) -> None:
    with later(ddr, 4 * HOUR):
        sensor = await worn(ddr, "not-calibrated")
        poller = Poller(sensor.reader)
        ddr.clock.advance(2 * PERIOD / 1000)
        await sensor.send(1, ramp(1))
        calibrated = date_time(sensor.start_ms + MINUTE)
        event = {"time": calibrated, "state": "calibrated", "type": "unspecified"}
        path, gateway = "devices/cgm/sensors/s/calibrations", sensor.home.patient.gateway
        assert (await gateway.post(path, json={"calibrations": [event]})).status_code == 200
        assert len(await poller.poll()) == 5  # its former series has lost its reading
        assert (await gateway.delete(f"{path}/{quote(calibrated)}")).status_code == 204
        found = await poller.poll()  # compares every timestamp with that of the Bundle
        assert [name.partition("/")[0] for name in found] == ["DeviceMetric", "Observation", "Observation"]
        assert set(found) < set(await poller.everything())
        await sensor.home.cgm("cgm", sensor.start_ms, "not-calibrated", displayUnit="mmol/L")
        assert [name.partition("/")[0] for name in await poller.poll()] == ["DeviceMetric"]


@pytest.mark.requirement("RS-036", "SER-014")
async def test_a_start_that_is_corrected_shows_nothing_that_is_not_new(ddr: Recorder) -> None:
    calibration = {"state": "calibrated"}
    with later(ddr, 5 * HOUR):
        sensor = await worn(ddr, calibration=calibration)
        poller = Poller(sensor.reader)
        ddr.clock.advance(DELAY / 1000 + 60)
        assert await poller.poll() == []
        before = sensor.start_ms - HOUR
        await sensor.home.device("cgm", startedAt=date_time(before))
        await sensor.home.cgm("cgm", before, calibration=calibration)
        found = set(await poller.poll())
        assert found == set(await poller.everything())
        ddr.clock.advance(DELAY / 1000 + 60)
        found |= set(await poller.poll())
        assert found == set(await poller.everything()) and len(found) == 3


@pytest.mark.requirement("RS-036", "SCO-006")
async def test_a_device_is_new_with_its_first_measurement_of_a_kind(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    await home.device("other")
    metric = await home.sensor("meter", "2339-0", "mg/dL", calibration={"state": "calibrated"})
    await home.glucose("m1", ddr.clock() - HOUR, device="other")
    poller = Poller(await paired(ddr, home.patient, BG))
    assert len(await poller.poll()) == 2
    with later(ddr, HOUR):
        glucose = await home.glucose("m2", ddr.clock() - MINUTE, sensor="s")
        expected = [f"Device/{home.ids['meter']}", f"DeviceMetric/{metric}", f"Observation/{glucose}"]
        assert await poller.poll() == expected
        again = await home.glucose("m3", ddr.clock() - MINUTE, sensor="s")
        assert await poller.poll() == [f"Observation/{again}"]
    with later(ddr, 40 * DAY):  # no data of the device was within the period for ten days
        poller.reader = await paired(ddr, home.patient, BG, diga=poller.reader.diga)
        assert await poller.poll() == []
        expected[2] = f"Observation/{await home.glucose('m4', ddr.clock() - MINUTE, sensor='s')}"
        assert await poller.poll() == expected


@pytest.mark.requirement("RS-036", "LF-028")
async def test_what_a_measurement_is_derived_from_is_new_with_it(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("spirometer")
    start = ddr.clock()
    method = {"coding": [{"system": METHODS, "code": "GLI-2022"}]}
    period = {"start": date_time(start - 100 * DAY), "end": date_time(start - DAY)}
    at_once: dict[str, Any] = {"device": "spirometer", "effective": date_time(start)}
    reference = await home.measure("ref", code="20149-1", value=4.5, unit="L", method=method, effective=period)
    reading = await home.measure("fev1", code="20150-9", value=3.4, unit="L", **at_once)
    poller = Poller(await paired(ddr, home.patient, LF))
    await poller.poll()
    with later(ddr, 20 * DAY):  # beyond the period of 14 days
        assert await poller.poll() == []
        assert await poller.everything() == []
        now: dict[str, Any] = {"device": "spirometer", "effective": date_time(ddr.clock())}
        relative = await home.measure("rel", code="20152-5", value=75.5, unit="%", derivedFrom=["fev1", "ref"], **now)
        found = await poller.poll()
        assert {f"Observation/{each}" for each in (reference, reading, relative)} <= set(found)
        assert found == await poller.everything()


@pytest.mark.requirement("RS-036", "CON-019")
async def test_what_is_consented_to_later_is_new(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    diga = await ddr.diga(BG, CGM)
    narrow = await paired(ddr, home.patient, BG, diga=diga)
    poller = Poller(narrow)
    first = await poller.poll()
    wide = await paired(ddr, home.patient, BG, CGM, diga=diga)
    assert wide.tokens.pairing_id == narrow.tokens.pairing_id
    ddr.clock.advance(10)
    await home.glucose("between", ddr.clock())
    assert len(await poller.poll()) == 1  # the DiGA still uses its former token
    poller.reader = wide
    found = await poller.poll()
    assert set(found) >= set(await poller.everything()) - set(first) - {f"Observation/{home.ids['between']}"}
    assert f"Device/{home.ids['cgm']}" in found and f"DeviceMetric/{home.ids['metric']}" in found
    assert await poller.poll() == []
    # agreeing again to the same data shows nothing new
    poller.reader = await paired(ddr, home.patient, BG, CGM, diga=diga)
    assert await poller.poll() == []


@pytest.mark.requirement("RS-036", "CON-019")
async def test_what_is_consented_to_again_is_new(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    diga = await ddr.diga(BG, CGM)
    poller = Poller(await paired(ddr, home.patient, BG, CGM, diga=diga))
    first = await poller.poll()
    narrow = await paired(ddr, home.patient, BG, diga=diga)
    poller.reader = narrow
    ddr.clock.advance(10)
    await home.readings("cgm", ddr.clock(), [111])  # while the DiGA does not request such values
    assert await poller.poll() == []
    poller.reader = await paired(ddr, home.patient, BG, CGM, diga=diga)
    found = await poller.poll()
    assert {name for name in first if home.ids["metric"] in name} <= set(found)
    assert {f"Observation/{chunk}" for chunk in await poller.reader.ids("Observation?code=99504-3")} <= set(found)


@pytest.mark.requirement("RS-036")
async def test_a_type_that_is_granted_later_is_new(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    diga = await ddr.diga(BG)
    scopes = ddr.scopes
    ddr.scopes = lambda *mivs: scopes(*mivs)[:-2]  # type: ignore[method-assign]
    try:
        poller = Poller(await paired(ddr, home.patient, BG, diga=diga))
    finally:
        ddr.scopes = scopes  # type: ignore[method-assign]
    await poller.poll(("Observation",))
    assert (await poller.reader.get("Device")).status_code == 404
    poller.reader = await paired(ddr, home.patient, BG, diga=diga)
    assert await poller.poll() == [f"Device/{home.ids['meter']}"]


@pytest.mark.requirement("RS-036", "CON-018")
async def test_another_pairing_shows_everything_to_a_former_cursor(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    diga = await ddr.diga(BG, CGM)
    poller = Poller(await paired(ddr, home.patient, diga=diga))
    first = await poller.poll()
    await diga.client.revoke(poller.reader.tokens)
    ddr.clock.advance(10)
    poller.reader = await paired(ddr, home.patient, diga=diga)
    assert await poller.poll() == first
    assert await poller.poll() == []


@pytest.mark.requirement("RS-036", "SER-018")
async def test_what_was_withheld_until_it_was_calibrated_is_new(ddr: Recorder) -> None:
    settings, kind = ddr.core.settings, "700585005"
    ddr.core.settings = replace(settings, device_overlap_types=f"{kind}=end-when-calibrated")
    try:
        with later(ddr, 3 * HOUR):
            sensor = await worn(ddr)
            home, start_ms = sensor.home, sensor.start_ms - HOUR
            await sensor.send(0, ramp(1))
            await home.device("new", startedAt=date_time(start_ms), replaces="cgm", type=kind)
            metric = await home.cgm("new", start_ms, "not-calibrated")
            await home.readings("new", start_ms, ramp(12, 50))
            poller = Poller(sensor.reader)
            assert len(await poller.poll()) == 3
            ddr.clock.advance(60)
            assert await poller.poll() == []
            event = {"time": date_time(start_ms + 30 * MINUTE), "state": "calibrated"}
            path = "devices/new/sensors/s/calibrations"
            answer = await home.patient.gateway.post(path, json={"calibrations": [event]})
            assert answer.json()["accepted"] == 1
            found = await poller.poll()
            assert f"Device/{home.ids['new']}" in found and f"DeviceMetric/{metric}" not in found
            assert {name.partition("/")[0] for name in found} == set(TYPES)
    finally:
        ddr.core.settings = settings


@pytest.mark.requirement("RS-036")
async def test_a_longer_history_is_new(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter", startedAt=home.ago(100 * DAY))
    old = await home.glucose("old", ddr.clock() - 40 * DAY)
    await home.glucose("new", ddr.clock() - DAY)
    poller = Poller(await paired(ddr, home.patient, BG))
    assert len(await poller.poll()) == 2
    catalog = ddr.core.catalog
    terms = {miv.name: MivSettings(0, 60, miv.vendor_holdup_seconds) for miv in catalog.mivs}
    ddr.core.catalog = load_catalog(ddr.settings.miv_packages, terms)
    try:
        ddr.clock.advance(10)
        assert f"Observation/{old}" in (found := await poller.poll())
        assert f"Observation/{home.ids['new']}" not in found  # it was visible before
        assert await poller.poll() == []
        assert len(await poller.everything()) == 3
    finally:
        ddr.core.catalog = catalog


async def test_a_shorter_history_is_not_new(ddr: Recorder) -> None:
    home, catalog = Home(ddr, await ddr.patient()), ddr.core.catalog
    await home.device("meter", startedAt=home.ago(100 * DAY))
    old, new = [await home.glucose(f"{ago}", ddr.clock() - ago * DAY) for ago in (40, 1)]
    longer, shorter = (
        load_catalog(
            ddr.settings.miv_packages,
            {miv.name: MivSettings(0, days, miv.vendor_holdup_seconds) for miv in catalog.mivs},
        )
        for days in (60, 30)
    )
    try:
        ddr.core.catalog = longer
        poller = Poller(await paired(ddr, home.patient, BG))
        assert f"Observation/{old}" in (told := await poller.poll())
        ddr.core.catalog = shorter
        ddr.clock.advance(10)
        assert await poller.poll() == []
        assert set(await poller.everything()) == set(told) - {f"Observation/{old}"} >= {f"Observation/{new}"}
    finally:
        ddr.core.catalog = catalog


@pytest.mark.parametrize("days", [(60, 90), (90, 60, 90)], ids=["longer twice", "longer, shorter, longer"])
@pytest.mark.parametrize("between", ["Device", "Observation?code=20150-9", "read", "unheard"])
async def test_each_longer_history_is_new_whatever_was_asked_between(
    ddr: Recorder, days: tuple[int, ...], between: str
) -> None:
    """What a raised period opened stays new if the next request does not show it or its response is lost."""
    home, now_ms = Home(ddr, await ddr.patient()), ddr.clock()
    for device in ("meter", "cgm"):
        await home.device(device, startedAt=home.ago(100 * DAY))
    await home.cgm("cgm", now_ms - 100 * DAY)
    for ago in (80, 50, 35, 1):
        await home.glucose(f"{ago}", now_ms - ago * DAY)
        await home.readings("cgm", now_ms - ago * DAY, [100])
    poller = Poller(await paired(ddr, home.patient, BG, CGM, LF))
    told = set(await poller.poll())
    catalog = ddr.core.catalog
    path = {
        "read": f"Observation/{home.ids['1']}",
        "unheard": f"Observation?_count=1000&_lastUpdated=gt{quote(poller.cursor)}",
    }.get(between, between)
    try:
        for period in days:
            ddr.clock.advance(10)
            terms = {miv.name: MivSettings(0, period, miv.vendor_holdup_seconds) for miv in catalog.mivs}
            ddr.core.catalog = load_catalog(ddr.settings.miv_packages, terms)
            assert (await poller.reader.get(path)).status_code == 200
        told.update(await poller.poll())
        assert told == set(await poller.everything())
        assert await poller.poll() == []
    finally:
        ddr.core.catalog = catalog


@pytest.mark.requirement("RS-036", "SER-014")
async def test_what_a_shorter_delay_shows_is_new(ddr: Recorder) -> None:
    """A chunk without any reading is expected earlier than at the last search."""
    shorter = ddr.core.catalog
    terms = {
        miv.name: MivSettings(0, shorter.terms[miv.valueset].historic_days, 2 * DELAY // 1000) for miv in shorter.mivs
    }
    ddr.core.catalog = load_catalog(ddr.settings.miv_packages, terms)
    try:
        with later(ddr, 3 * HOUR):
            sensor = await worn(ddr)
            poller = Poller(sensor.reader)
            ddr.clock.advance((PERIOD + DELAY) / 1000 + 120)
            assert await poller.poll() == []
            ddr.core.catalog = shorter
            ddr.clock.advance(1)
            assert len(found := await poller.poll()) == 3
            assert found == await poller.everything()
            assert await poller.poll() == []
    finally:
        ddr.core.catalog = shorter


@pytest.mark.requirement("RS-036", "RS-038")
async def test_an_answer_says_from_where_to_go_on(ddr: Recorder) -> None:
    """Bundle.meta.lastUpdated is the same on all pages, and what changes meanwhile is found by the next search."""
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    reader = await paired(ddr, home.patient, BG)
    for number in range(6):
        await home.glucose(f"m{number}", ddr.clock() - number * MINUTE)
    empty = await reader.search("Observation?code=unknown")
    assert parse_instant(empty["meta"]["lastUpdated"]) >= ddr.clock()
    first = await reader.search("Observation?_count=2&_sort=-date&_lastUpdated=gt2000-01-01")
    ddr.clock.advance(10)
    changed = [await home.glucose(f"m{number}", ddr.clock() - number * MINUTE, 200) for number in (0, 3, 6)]
    bundles = [first]
    while url := link(bundles[-1], "next"):
        bundles.append(await reader.search(url))
    cursor = first["meta"]["lastUpdated"]
    assert [bundle["meta"]["lastUpdated"] for bundle in bundles] == [cursor] * 3
    shown = [resource for bundle in bundles for resource in entries(bundle)]
    assert len(shown) == 5
    assert all(resource["meta"]["lastUpdated"] <= cursor for resource in shown)
    assert set(await reader.ids(f"Observation?_lastUpdated=gt{quote(cursor)}")) == set(changed)
    # a DiGA that does not poll gets every item as it is
    whole = [resource for bundle in await reader.pages("Observation?_count=2") for resource in entries(bundle)]
    assert len(whole) == 7


@pytest.mark.requirement("RS-036")
async def test_the_metadata_say_how_to_poll(ddr: Recorder) -> None:
    statement = (await ddr.public.get("/fhir/metadata")).json()
    assert "Bundle.meta.lastUpdated" in statement["rest"][0]["documentation"]
    for resource in statement["rest"][0]["resource"]:
        (parameter,) = [each for each in resource["searchParam"] if each["name"] == "_lastUpdated"]
        assert "when it became visible" in parameter["documentation"]
