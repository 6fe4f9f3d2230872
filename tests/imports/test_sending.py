"""Files sent to a real gateway API: found devices, periods, repeats, gaps of an app's series, and taking back."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import httpx
import pytest

from ddr.http.core import Core
from ddr.imports.calls import Answer, Refused, Report, Steps, instant
from ddr.imports.formats import read
from ddr.imports.model import CGM, CGM_SYSTEM, Source, Value
from ddr.imports.naming import measurement_key
from ddr.imports.sending import sending, unsent_by_app
from ddr.imports.taking_back import taking_back
from ddr.store.gateways import tokens
from ddr.store.series.chunks import readings_between
from ddr.store.series.sensors import load
from tests.gateway.conftest import make_client
from tests.gateway.samples import reference, relative
from tests.imports import samples
from tests.support.clock import Clock

BERLIN = ZoneInfo("Europe/Berlin")
JSON = {"content-type": "application/json"}


@pytest.fixture
async def gateway(core: Core, patient_id: uuid.UUID) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway API with the token of a patient, two days after the samples."""
    async with make_client(core, await tokens.create(core.pool, patient_id, core.clock())) as client:
        yield client


async def walk(gateway: httpx.AsyncClient, steps: Steps) -> Report:
    """Make the requests that `steps` asks for."""
    try:
        call = next(steps)
        while True:
            response = await gateway.request(call.method, f"/{call.path}", content=call.content, headers=JSON)
            is_json = "json" in response.headers.get("content-type", "")
            call = steps.send(Answer(response.status_code, response.json() if is_json else None))
    except StopIteration as end:
        report: Report = end.value
        return report


async def give(gateway: httpx.AsyncClient, text: str, digest: str = "a") -> Report:
    return await walk(gateway, sending(read(text.encode(), BERLIN), digest))


async def sensors(gateway: httpx.AsyncClient) -> dict[str, dict[str, object]]:
    found = {}
    for device in (await gateway.get("/devices")).json()["devices"]:
        for sensor in (await gateway.get(f"/devices/{device['key']}/sensors")).json()["sensors"]:
            found[f"{device['serialNumber']} {sensor['code']}"] = sensor
    return found


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (samples.CLARITY, 3),
        (samples.CLARITY_DE, 3),
        (samples.LIBREVIEW, 3),
        (samples.CARELINK, 3),
        (samples.GLOOKO, 2),
        (samples.TIDEPOOL, 3),
        (samples.NIGHTSCOUT, 4),
        (samples.OPEN_MHEALTH, 2),
        (samples.OMRON, 1),
        (samples.SPIROMETRY, 2),
        (samples.TABLE, 4),
    ],
)
async def test_each_form_goes_in_once(gateway: httpx.AsyncClient, text: str, taken: int) -> None:
    report = await give(gateway, text)
    assert report.counts["taken"] == taken and not report.refusals
    again = await give(gateway, text)
    assert again.counts == {"there": taken}


def five_minutes(count: int, step: int = 5) -> str:
    start = datetime(2026, 11, 19, 8)
    rows = "".join(
        f"FreeStyle Libre 3,L3,{start + timedelta(minutes=step * at):%d-%m-%Y %H:%M},0,{100 + at % 50}\n"
        for at in range(count)
    )
    return f"Device,Serial Number,Device Timestamp,Record Type,Historic Glucose mg/dL\n{rows}"


@pytest.mark.parametrize("minutes", [1, 5, 15])
async def test_the_period_is_measured(gateway: httpx.AsyncClient, minutes: int) -> None:
    report = await give(gateway, five_minutes(60, minutes))
    assert report.counts == {"taken": 60}
    sensor = (await sensors(gateway))["L3 99504-3"]
    assert sensor["samplingPeriodMs"] == minutes * 60_000
    assert sensor["limits"] == {"lower": 40, "upper": 500}


async def test_beside_the_app_only_what_it_lacks_is_taken(gateway: httpx.AsyncClient) -> None:
    start = datetime(2026, 11, 19, 7, tzinfo=UTC)
    device = {"serialNumber": "l3", "name": "Libre 3", "manufacturer": "Abbott", "type": "700585005"}
    await gateway.put("/devices/app", json={**device, "startedAt": start.isoformat()})
    await gateway.put("/devices/app/sensors/g", json={"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000})
    live = [
        {"time": (start + timedelta(minutes=5 * at, seconds=12)).isoformat(), "value": 100 + at % 50}
        for at in range(60)
        if not 20 <= at < 30
    ]
    await gateway.post("/devices/app/sensors/g/readings", json={"unit": "mg/dL", "readings": live})
    report = await give(gateway, five_minutes(60))
    assert report.counts == {"there": 50, "taken": 10}
    assert len((await gateway.get("/devices")).json()["devices"]) == 1


APP = {"serialNumber": "L3", "name": "Libre 3", "manufacturer": "Abbott", "type": "700585005"}
SENSOR = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000}
START = datetime(2026, 11, 19, 7, tzinfo=UTC)  # of five_minutes


def at_minute(minute: int) -> str:
    return (START + timedelta(minutes=minute)).isoformat()


async def app_sends(gateway: httpx.AsyncClient, key: str, slots: Iterable[int], **members: str) -> None:
    """A registration of the device, and readings of it, seconds beside those of an export."""
    await gateway.put(f"/devices/{key}", json={**APP, "startedAt": at_minute(0), **members})
    await gateway.put(f"/devices/{key}/sensors/g", json=SENSOR)
    live = [{"time": (START + timedelta(minutes=5 * at, seconds=12)).isoformat(), "value": 100 + at} for at in slots]
    await gateway.post(f"/devices/{key}/sensors/g/readings", json={"unit": "mg/dL", "readings": live})


async def test_what_the_app_has_under_its_former_key_is_there(gateway: httpx.AsyncClient) -> None:
    """The app was installed anew, or the next sensor has the number of the transmitter, too."""
    await app_sends(gateway, "old", [at for at in range(40) if not 20 <= at < 30])
    await app_sends(gateway, "new", range(40, 60), startedAt=at_minute(200), replaces="old")
    assert (await give(gateway, five_minutes(60))).counts == {"there": 50, "taken": 10}


async def test_what_the_app_has_from_before_the_history_is_there(gateway: httpx.AsyncClient, clock: Clock) -> None:
    """People export all that they have, and an app may have sent for months."""
    await app_sends(gateway, "app", [at for at in range(40) if not 20 <= at < 30])
    clock.advance(40 * 86_400)
    assert (await give(gateway, five_minutes(60))).counts == {"there": 30, "taken": 30}
    assert (await give(gateway, five_minutes(60), "b")).counts == {"there": 60}


async def test_what_went_to_the_apps_former_registration_is_taken_back(gateway: httpx.AsyncClient) -> None:
    await app_sends(gateway, "old", [at for at in range(40) if not 20 <= at < 30])
    await give(gateway, five_minutes(40), "b")
    await app_sends(gateway, "new", range(40, 60), startedAt=at_minute(200), replaces="old")
    back = await walk(gateway, taking_back(read(five_minutes(40).encode(), BERLIN), "b"))
    assert back.counts["taken back"]
    assert (await give(gateway, five_minutes(60), "c")).counts == {"there": 50, "taken": 10}


@pytest.mark.parametrize("imported", [False, True])
async def test_what_was_measured_after_the_end_of_the_apps_device_is_not_there(
    gateway: httpx.AsyncClient, imported: bool
) -> None:
    """The import's own device takes it, unless that has ended as the app came: then each value is refused."""
    if imported:
        await give(gateway, five_minutes(10), "b")
    await app_sends(gateway, "app", range(10, 20), startedAt=at_minute(50))
    await gateway.put("/devices/app", json={**APP, "startedAt": at_minute(50), "endedAt": at_minute(100)})
    report = await give(gateway, five_minutes(60))
    if imported:
        assert report.counts == {"there": 20} and {one.reason for one in report.refusals} == {"after-end"}
        assert len(report.refusals) == 40
    else:
        assert report.counts == {"there": 10, "taken": 50} and not report.refusals


async def test_another_unit_beside_the_app_is_refused(gateway: httpx.AsyncClient) -> None:
    device = {"serialNumber": "ABC123", "name": "Libre 3", "manufacturer": "Abbott", "type": "700585005"}
    await gateway.put("/devices/app", json={**device, "startedAt": "2026-11-01T00:00:00Z"})
    await gateway.put("/devices/app/sensors/g", json={"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000})
    report = await give(gateway, samples.LIBREVIEW)
    assert {refusal.reason for refusal in report.refusals} == {"other-unit"} and report.counts["taken"] == 1


async def test_a_sensor_that_tidepool_names_is_that_of_the_app(gateway: httpx.AsyncClient) -> None:
    device = {"serialNumber": "8ABCDE", "name": "Dexcom G6", "manufacturer": "Dexcom, Inc.", "type": "700585005"}
    await gateway.put("/devices/app", json={**device, "startedAt": "2026-11-20T00:00:00Z"})
    await gateway.put("/devices/app/sensors/g", json=SENSOR | {"limits": {"lower": 40, "upper": 400}})
    live = [{"time": f"2026-11-20T07:0{minute}:09Z", "value": value} for minute, value in ((0, 100), (5, "L"))]
    await gateway.post("/devices/app/sensors/g/readings", json={"unit": "mg/dL", "readings": live})
    assert (await give(gateway, samples.TIDEPOOL)).counts == {"there": 2, "taken": 1}


async def test_devices_without_serial_number_stay_apart(gateway: httpx.AsyncClient) -> None:
    await give(gateway, samples.CLARITY.replace("8ABCDE", ""))
    await give(gateway, samples.LIBREVIEW_DE.replace("DEF456", ""))
    await give(gateway, samples.CLARITY.replace("8ABCDE", "AB/1"))
    await give(gateway, samples.CLARITY.replace("8ABCDE", "AB 1"))
    devices = (await gateway.get("/devices")).json()["devices"]
    assert sorted(str(device["serialNumber"]) for device in devices) == ["AB 1", "AB/1", "None", "None"]


async def test_an_import_is_taken_back_and_may_come_again(gateway: httpx.AsyncClient) -> None:
    for text, count in ((samples.CLARITY, 3), (samples.OMRON, 1)):
        file = read(text.encode(), BERLIN)
        await give(gateway, text, "d")
        assert (await walk(gateway, taking_back(file, "d"))).counts["taken back"] == count
        assert (await walk(gateway, taking_back(file, "e"))).counts["taken back"] <= count
    assert (await give(gateway, samples.CLARITY, "d")).counts == {"taken": 3}
    assert (await walk(gateway, taking_back(read(samples.CLARITY.encode(), BERLIN), "d"))).counts["taken back"] == 3
    assert all(sensor["storedUntil"] is None for sensor in (await sensors(gateway)).values())


@pytest.mark.parametrize("status", [401, 500, 503])
async def test_what_could_not_be_taken_back_is_not_told_to_be(gateway: httpx.AsyncClient, status: int) -> None:
    await give(gateway, samples.OMRON)
    steps = taking_back(read(samples.OMRON.encode(), BERLIN), "a")
    response = await gateway.get(f"/{next(steps).path}")
    assert steps.send(Answer(response.status_code, response.json())).method == "DELETE"
    with pytest.raises(Refused, match=str(status)):
        steps.send(Answer(status, {"code": "x", "detail": ""}))


async def test_a_value_that_others_are_derived_from_stays_and_is_named(gateway: httpx.AsyncClient) -> None:
    table = "time,code,value,unit\n2026-11-19T07:00:00Z,20150-9,3.00,L\n2026-11-19T08:00:00Z,20150-9,3.10,L\n"
    file = read(table.encode(), BERLIN)
    await give(gateway, table)
    await gateway.put("/devices/meter", json={**APP, "startedAt": at_minute(0)})
    await gateway.put("/measurements/reference", json=reference())
    sources = [measurement_key(file.values[0], "a"), "reference"]
    derived = await gateway.put("/measurements/relative", json=relative(derivedFrom=sources))
    assert derived.status_code == 201, derived.text
    report = await walk(gateway, taking_back(file, "a"))
    assert report.counts == {"taken back": 1}
    assert [(one.line, one.reason) for one in report.refusals] == [(2, "in-use")]


async def test_single_values_come_again_after_they_were_taken_back(gateway: httpx.AsyncClient) -> None:
    file = read(samples.OMRON.encode(), BERLIN)
    for _ in range(3):
        assert (await give(gateway, samples.OMRON)).counts == {"taken": 1}
        assert (await give(gateway, samples.OMRON)).counts == {"there": 1}
        assert (await walk(gateway, taking_back(file, "a"))).counts["taken back"] == 1


async def test_a_single_value_that_a_file_has_twice_is_there(gateway: httpx.AsyncClient) -> None:
    """Two uploaders of one site, or a row that a program writes again; nobody can tell it from a second measurement."""
    row = samples.OMRON.splitlines()[1]
    report = await give(gateway, f"{samples.OMRON}{row}\n{row}\n")
    assert report.counts == {"taken": 1, "there": 2} and not report.refusals


async def test_what_another_file_has_brought_stays_when_one_is_taken_back(gateway: httpx.AsyncClient) -> None:
    """A cuff's app exports all that it has each time."""
    later = samples.OMRON + "2026/11/20 18:00,Europe/Berlin,126,81,66,OMRON X7,\n"
    assert (await give(gateway, samples.OMRON, "a")).counts == {"taken": 1}
    assert (await give(gateway, later, "b")).counts == {"there": 1, "taken": 1}
    file = read(later.encode(), BERLIN)
    assert (await walk(gateway, taking_back(file, "b"))).counts["taken back"] == 1
    assert (await give(gateway, samples.OMRON, "a")).counts == {"there": 1}
    assert (await give(gateway, later, "b")).counts == {"there": 1, "taken": 1}


async def test_what_is_older_than_the_app_goes_to_a_registration_of_its_own(gateway: httpx.AsyncClient) -> None:
    start = datetime(2026, 11, 19, 8, tzinfo=UTC)  # an hour after the first value of the file
    device, sensor = ({**facts, "startedAt": start.isoformat()} for facts in (APP, SENSOR))
    await gateway.put("/devices/app", json=device)
    await gateway.put("/devices/app/sensors/g", json=sensor)
    live = [{"time": (start + timedelta(minutes=5 * at, seconds=20)).isoformat(), "value": 90} for at in range(12)]
    await gateway.post("/devices/app/sensors/g/readings", json={"unit": "mg/dL", "readings": live})
    report = await give(gateway, five_minutes(60))
    assert report.counts == {"taken": 48, "there": 12} and not report.refusals
    assert (await give(gateway, five_minutes(60))).counts["there"] == 60
    devices = {one["key"]: one for one in (await gateway.get("/devices")).json()["devices"]}
    app = devices.pop("app")
    assert app["startedAt"] == "2026-11-19T08:00:00Z" and app["endedAt"] is None
    assert [one["endedAt"] for one in devices.values()] == ["2026-11-19T08:00:00Z"]
    # what the app says of itself still holds
    assert (await gateway.put("/devices/app", json=device)).status_code == 200
    assert (await gateway.put("/devices/app/sensors/g", json=sensor)).status_code == 200
    back = await walk(gateway, taking_back(read(five_minutes(60).encode(), BERLIN), "a"))
    assert back.counts["taken back"] == 60
    assert (await give(gateway, five_minutes(60), "b")).counts["taken"] == 48


async def test_an_app_that_comes_after_the_import_gets_no_value_twice(gateway: httpx.AsyncClient) -> None:
    await give(gateway, five_minutes(30))
    await gateway.put("/devices/app", json={**APP, "startedAt": "2026-11-19T07:00:00Z"})
    await gateway.put("/devices/app/sensors/g", json=SENSOR)
    report = await give(gateway, five_minutes(60), "b")
    assert report.counts == {"there": 30, "taken": 30}
    ended = {one["key"]: one["endedAt"] for one in (await gateway.get("/devices")).json()["devices"]}
    assert ended.pop("app") is None and None not in ended.values()


SEVEN_MS = round(datetime(2026, 11, 19, 7, tzinfo=UTC).timestamp()) * 1000


def live(first: int, last: int, value: int | None = None) -> dict[str, object]:
    """What the app sends of `five_minutes`, with the exact times that an export cuts off."""
    start = datetime(2026, 11, 19, 7, tzinfo=UTC)
    readings = [
        {"time": (start + timedelta(minutes=5 * at, seconds=37)).isoformat(), "value": value or 100 + at % 50}
        for at in range(first, last)
    ]
    return {"unit": "mg/dL", "readings": readings}


async def times_of(core: Core, patient_id: uuid.UUID) -> list[tuple[str, int]]:
    """Whose each stored reading is, and its number in the file."""
    found: list[tuple[str, int]] = []
    for device, sensor in (("app", "g"), (None, "import-99504-3")):
        for row in await core.pool.fetch(
            "SELECT device_key, sensor_key FROM device JOIN sensor USING (patient_id, device_no) WHERE patient_id = $1",
            patient_id,
        ):
            if row["sensor_key"] == sensor and (device is None or row["device_key"] == device):
                known = await load(core.pool, patient_id, *row)
                assert known is not None
                for time_ms, _ in await readings_between(core.pool, known, 0, 2**42):
                    found.append(("app" if device else "import", (time_ms - SEVEN_MS) // 300_000))
    return sorted(found)


@pytest.mark.parametrize("correction", [False, True])
async def test_what_an_app_sends_after_an_import_is_not_there_twice(
    gateway: httpx.AsyncClient, core: Core, patient_id: uuid.UUID, correction: bool
) -> None:
    await give(gateway, five_minutes(30))
    device = await gateway.put("/devices/app", json={**APP, "startedAt": "2026-11-19T07:00:00Z"})
    assert "warning" not in device.json()
    imported = next(one for one in (await gateway.get("/devices")).json()["devices"] if one["key"] != "app")
    assert imported["endedAt"] is not None
    await gateway.put("/devices/app/sensors/g", json=SENSOR)
    for body in (live(0, 6), live(0, 6), live(9, 12), live(25, 40), live(20, 24)):
        answer = await gateway.post("/devices/app/sensors/g/readings", json={**body, "correction": correction})
        assert answer.json()["rejected"] == 0
    sent = {*range(6), *range(9, 12), *range(20, 24), *range(25, 40)}
    both = {("app", at) for at in sent} | {("import", at) for at in range(30) if at not in sent}
    assert set(await times_of(core, patient_id)) == both
    # nor does the same file, or a longer one, bring them back
    assert (await give(gateway, five_minutes(30))).counts == {"there": 30}
    assert (await give(gateway, five_minutes(45), "b")).counts == {"there": 40, "taken": 5}
    assert set(await times_of(core, patient_id)) == both | {("app", at) for at in range(40, 45)}


CUFF = {"serialNumber": "C9", "name": "OMRON X7", "manufacturer": "OMRON", "type": "70665002"}


@pytest.mark.parametrize("app_first", [False, True])
async def test_single_values_of_an_app_and_an_import_are_there_once(
    gateway: httpx.AsyncClient, core: Core, patient_id: uuid.UUID, app_first: bool
) -> None:
    await gateway.put("/devices/cuff", json={**CUFF, "startedAt": "2026-11-01T00:00:00Z"})
    parts = [{"code": code, "value": value, "unit": "mm[Hg]"} for code, value in (("8480-6", 121.0), ("8462-4", 79))]
    panel = {"key": "app-1", "code": "85354-9", "effective": "2026-11-20T07:00:41Z", "device": "cuff"}
    sent = {"measurements": [{**panel, "components": parts}]}
    if app_first:
        await gateway.post("/measurements", json=sent)
    report = await give(gateway, samples.OMRON)
    assert report.counts == {"there" if app_first else "taken": 1}
    assert (await gateway.post("/measurements", json=sent)).json()["items"][0]["result"] != "rejected"
    rows = await core.pool.fetch(
        "SELECT measurement_key FROM measurement WHERE patient_id = $1 AND status <> 'entered-in-error'", patient_id
    )
    assert [row["measurement_key"] for row in rows] == ["app-1"]
    again = await give(gateway, samples.OMRON)
    assert again.counts == {"there": 1} and not again.refusals


@pytest.mark.parametrize("corrected_first", [False, True])
async def test_what_an_app_corrects_to_what_an_import_says_is_there_once(
    gateway: httpx.AsyncClient, core: Core, patient_id: uuid.UUID, corrected_first: bool
) -> None:
    """Whether the file comes before the correction or after it."""
    await gateway.put("/devices/cuff", json={**CUFF, "startedAt": "2026-11-01T00:00:00Z"})

    async def send(systolic: float, status: str) -> None:
        parts = [
            {"code": code, "value": value, "unit": "mm[Hg]"} for code, value in (("8480-6", systolic), ("8462-4", 79))
        ]
        body = {"code": "85354-9", "effective": "2026-11-20T07:00:41Z", "device": "cuff", "components": parts}
        assert (await gateway.put("/measurements/app-1", json={**body, "status": status})).is_success

    await send(112, "preliminary")
    if corrected_first:
        await send(121, "final")
    await give(gateway, samples.OMRON)
    await send(121, "final")
    rows = await core.pool.fetch(
        "SELECT measurement_key FROM measurement WHERE patient_id = $1 AND status <> 'entered-in-error'", patient_id
    )
    assert [row["measurement_key"] for row in rows] == ["app-1"]


async def test_a_device_that_is_refused_stops_no_other(gateway: httpx.AsyncClient) -> None:
    ahead = "FreeStyle Libre 3,AHEAD,19-11-2036 08:00,0,100\n"  # a reader whose clock was never set
    report = await give(gateway, five_minutes(3) + ahead)
    assert report.counts == {"taken": 3}
    assert [(one.line, one.reason) for one in report.refusals] == [(5, "future")]
    assert "future" in report.refusals[0].detail


async def test_mmol_under_a_heading_of_mg_is_refused_whole(gateway: httpx.AsyncClient) -> None:
    """The few high values of such a file would be lows in mg/dL."""
    rows = "".join(
        f"2026-11-19T{at // 12:02}:{at % 12 * 5:02}:00Z,99504-3,{(5.6, 7.4, 21.4, 9.9)[at % 4]},mg/dL,Dexcom G7,X\n"
        for at in range(48)
    )
    report = await give(gateway, f"time,code,value,unit,device,serial\n{rows}")
    assert not +report.counts and len(report.refusals) == 48
    assert {one.reason for one in report.refusals} == {"unit"}


async def test_decimals_that_a_program_made_keep_no_value_out(gateway: httpx.AsyncClient) -> None:
    """A mean of a phone's app, or a unit that was converted, has more digits than any sensor."""
    table = "time,code,value,unit,device,serial\n2026-11-19T07:{},105272-9,{},mmol/L,Dexcom G7,X\n"
    for minute, value in (("00:00Z", "5.6"), ("05:00Z", "5.551"), ("10:00Z", "5.600000000000001")):
        assert (await give(gateway, table.format(minute, value))).counts == {"taken": 1}
    (device,) = (await gateway.get("/devices")).json()["devices"]
    (sensor,) = (await gateway.get(f"/devices/{device['key']}/sensors")).json()["sensors"]
    readings = {"unit": "mmol/L", "readings": [{"time": "2026-11-19T07:05:00Z", "value": 5.6}]}
    again = await gateway.post(f"/devices/{device['key']}/sensors/{sensor['key']}/readings", json=readings)
    assert again.json()["duplicate"] == 1


async def test_decimals_of_mg_per_dl_leave_room_for_high_values(gateway: httpx.AsyncClient) -> None:
    """With two of them neither 400, up to which the sensor measures, nor any value above 327.66 could be kept."""
    rows = [("07:00", "100.456"), ("07:05", "399.123"), ("07:10", "High")]
    table = "".join(f"2026-11-19T{minute}:00Z,99504-3,{value},mg/dL,Dexcom G7,X\n" for minute, value in rows)
    report = await give(gateway, f"time,code,value,unit,device,serial\n{table}")
    assert report.counts == {"taken": 3} and not report.refusals
    (sensor,) = (await sensors(gateway)).values()
    assert (sensor["decimals"], sensor["limits"]) == (1, {"lower": 40, "upper": 400})


@pytest.mark.parametrize(
    ("rows", "limits"),
    [
        (("105272-9,5.6,mmol/L,,", "105272-9,L,mmol/L,2.22,22.2"), (2.22, 22.2)),
        (("105272-9,5.6,mmol/L,2.2222,22.2", "105272-9,L,mmol/L,,"), (2.22, 22.2)),
        (("99504-3,450,mg/dL,,", "99504-3,L,mg/dL,,"), (40, 450)),
        (("99504-3,45,mg/dL,,", "99504-3,U,mg/dL,,"), (40, 400)),
    ],
)
async def test_limits_keep_no_value_out_and_cut_none(
    gateway: httpx.AsyncClient, rows: tuple[str, str], limits: tuple[float, float]
) -> None:
    """They may have more digits than the values; those that a file does not say reach as far as its numbers."""
    table = "".join(f"2026-11-19T07:0{5 * at}:00Z,{row}\n" for at, row in enumerate(rows))
    report = await give(gateway, f"time,code,value,unit,lower_limit,upper_limit\n{table}")
    assert report.counts == {"taken": 2} and not report.refusals
    (sensor,) = (await sensors(gateway)).values()
    assert sensor["limits"] == {"lower": limits[0], "upper": limits[1]}


async def test_single_values_go_in_without_the_digits_that_nobody_measured(
    gateway: httpx.AsyncClient, core: Core, patient_id: uuid.UUID
) -> None:
    """A spreadsheet's mean pressure, and mmol/L that were made of mg/dL."""
    glucose = "2026-11-19T07:00:00Z,14743-9,5.5507469,mmol/L\n2026-11-19T07:01:00Z,14743-9,5.500000,mmol/L\n"
    pressure = "".join(
        f"2026-11-19T07:02:00Z,{code},{value},mm[Hg]\n"
        for code, value in (("8480-6", "121"), ("8462-4", "79"), ("8478-0", "93.3333333"))
    )
    table = f"time,code,value,unit\n{glucose}{pressure}"
    report = await give(gateway, table)
    assert report.counts == {"taken": 3} and not report.refusals
    assert (await give(gateway, table)).counts == {"there": 3}
    rows = await core.pool.fetch("SELECT value FROM measurement WHERE patient_id = $1", patient_id)
    assert {row["value"] for row in rows} == {Decimal("5.5507"), Decimal("5.5"), None}


async def test_what_lies_below_a_meter_goes_in_as_lo(
    gateway: httpx.AsyncClient, core: Core, patient_id: uuid.UUID
) -> None:
    """HDDT measurement-blood-glucose.md: LO is the limit with "<"."""
    table = "time,code,value,unit\n2026-11-19T07:00:00Z,41653-7,<20,mg/dL\n2026-11-19T07:00:00Z,41653-7,20,mg/dL\n"
    assert (await give(gateway, table)).counts == {"taken": 2}
    assert (await give(gateway, table)).counts == {"there": 2}
    rows = await core.pool.fetch("SELECT comparator, value FROM measurement WHERE patient_id = $1", patient_id)
    assert {(row["comparator"], row["value"]) for row in rows} == {("<", 20), (None, 20)}


async def test_a_number_that_another_file_writes_with_zeros_at_its_end_is_there(gateway: httpx.AsyncClient) -> None:
    """As a spreadsheet drops them."""
    rows = ("07:00:00Z,14743-9,5.50,mmol/L", "07:01:00Z,8480-6,121.0,mm[Hg]", "07:01:00Z,8462-4,79.00,mm[Hg]")
    table = "time,code,value,unit\n" + "".join(f"2026-11-19T{row}\n" for row in rows)
    assert (await give(gateway, table)).counts == {"taken": 2}
    shorter = table.replace("5.50", "5.5").replace("121.0", "121").replace("79.00", "79")
    assert (await give(gateway, shorter, "b")).counts == {"there": 2}


async def test_a_device_that_another_file_calls_otherwise_has_no_value_twice(gateway: httpx.AsyncClient) -> None:
    """By its serial number it is the same; another number, instant or kind of value is another value."""
    told = [
        ("07:00:00Z,14743-9,5.5,mmol/L", "Contour"),
        ("07:01:00Z,8480-6,121,mm[Hg]", "Cuff"),
        ("07:01:00Z,8462-4,79,mm[Hg]", "Cuff"),
    ]
    table = "time,code,value,unit,device,serial\n" + "".join(
        f"2026-11-19T{row},{name},{name[1]}1\n" for row, name in told
    )
    assert (await give(gateway, table)).counts == {"taken": 2}
    renamed = table.replace("Contour,", "Contour Next,").replace("Cuff,", "Cuff X7,")
    assert (await give(gateway, renamed, "b")).counts == {"there": 2}
    for at, (old, new) in enumerate(
        (("5.5", "5.6"), ("07:00:00", "07:00:01"), ("14743-9", "15074-8"), (",79,", ",80,"))
    ):
        assert (await give(gateway, renamed.replace(old, new), f"c{at}")).counts == {"taken": 1, "there": 1}


async def test_numbers_and_times_go_in_as_the_file_has_them(gateway: httpx.AsyncClient) -> None:
    table = "time,code,value,unit\n2026-11-19T07:00:00Z,14743-9,5.50,mmol/L\n2026-11-19T07:00:00.250Z,20150-9,2.00,L\n"
    asked = []
    steps = sending(read(table.encode(), BERLIN), "a")
    call = next(steps)
    with suppress(StopIteration):
        while True:
            asked.append((call.content or b"").decode())
            response = await gateway.request(call.method, f"/{call.path}", content=call.content, headers=JSON)
            call = steps.send(Answer(response.status_code, response.json()))
    sent = "".join(asked)
    assert '"value":5.50' in sent and '"value":2.00' in sent
    assert '"effective":"2026-11-19T07:00:00Z"' in sent and '"effective":"2026-11-19T07:00:00.250Z"' in sent


async def test_a_refusal_of_the_recorder_is_one_line(core: Core) -> None:
    async with make_client(core, "no-token") as stranger:
        with pytest.raises(Refused, match="401"):
            await give(stranger, samples.CLARITY)


def test_many_values_beside_an_app_are_told_apart_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: for each value all the others were looked at, hours for a year of a sensor."""
    source, hashed, real = Source("Dexcom, Inc.", "G7", "S", CGM_SYSTEM), list[int](), Value.__hash__
    values = [Value(at, at * 300_000, CGM["mg/dL"], "mg/dL", Decimal(100), source) for at in range(300)]
    sensor = {"key": "s", "code": CGM["mg/dL"], "samplingPeriodMs": 300_000, "endedAt": None}
    sensor["storedUntil"] = instant(90_000_000)
    gaps = [{"from": instant(at * 300_000), "until": instant((at + 2) * 300_000)} for at in range(0, 300, 4)]

    def counted(value: Value) -> int:
        hashed.append(value.line)
        return real(value)

    monkeypatch.setattr(Value, "__hash__", counted)
    steps = unsent_by_app(Report(), {"key": "d", "startedAt": instant(0), "endedAt": None}, values)
    next(steps)
    steps.send(Answer(200, {"sensors": [sensor]}))
    with pytest.raises(StopIteration) as done:
        steps.send(Answer(200, {"from": instant(0), "gaps": gaps}))
    assert [value.line for value in done.value.value] == sorted({0, *range(1, 300, 4)})
    assert len(hashed) < 4 * len(values)


def test_what_another_version_found_in_the_file_is_taken_back_too() -> None:
    """Before: of a file that gives fewer values than when it was taken the last ones stayed."""
    file = read(samples.CLARITY.encode(), BERLIN)
    device = {"key": "import-d", "serialNumber": "8ABCDE", "manufacturer": "Dexcom, Inc.", "name": "Dexcom"}
    sensor = {"key": "s", "code": CGM["mg/dL"]}
    there = {f"devices/import-d/sensors/s/uploads/import-a-1-{number}" for number in range(3)}
    steps, answer = taking_back(file, "a"), None
    with suppress(StopIteration):
        call = next(steps)
        while True:
            if call.method == "DELETE":
                answer = Answer(204 if call.path in there else 404)
                there.discard(call.path)
            else:
                answer = Answer(200, {"devices": [device]} if call.path == "devices" else {"sensors": [sensor]})
            call = steps.send(answer)
    assert not there


async def test_limits_that_were_told_once_stay_when_an_older_file_reaches_further(gateway: httpx.AsyncClient) -> None:
    """Others would be refused, and with them the earlier start: all that is older stayed out."""
    head = "time,code,value,unit\n"
    await give(gateway, f"{head}2026-11-19T07:00Z,99504-3,100,mg/dL\n2026-11-19T07:05Z,99504-3,L,mg/dL\n")
    older = f"{head}2026-11-18T07:00Z,99504-3,450,mg/dL\n2026-11-18T07:05Z,99504-3,L,mg/dL\n"
    report = await give(gateway, older, "b")
    assert report.counts == {"taken": 2} and not report.refusals
    (sensor,) = (await sensors(gateway)).values()
    assert sensor["limits"] == {"lower": 40, "upper": 400}


async def test_limits_that_a_later_file_makes_guess_reach_as_far_as_what_is_there(gateway: httpx.AsyncClient) -> None:
    """A sensor of whom nobody knows the limits; with 400, the 450 of the first file would be "above 400"."""
    head = "time,code,value,unit\n"
    first = f"{head}2026-11-18T07:00Z,99504-3,450,mg/dL\n2026-11-18T07:05Z,99504-3,100,mg/dL\n"
    await give(gateway, first)
    report = await give(gateway, f"{head}2026-11-19T07:00Z,99504-3,100,mg/dL\n2026-11-19T07:05Z,99504-3,L,mg/dL\n", "b")
    assert report.counts == {"taken": 2} and not report.refusals
    (sensor,) = (await sensors(gateway)).values()
    assert sensor["limits"] == {"lower": 40, "upper": 450}
    assert (await give(gateway, first)).counts == {"there": 2}
    older = f"{head}2026-11-17T07:00Z,99504-3,100,mg/dL\n2026-11-17T07:05Z,99504-3,U,mg/dL\n"
    assert (await give(gateway, older, "c")).counts == {"taken": 2}


async def test_an_older_file_with_other_limits_than_the_sensor_moves_its_start(gateway: httpx.AsyncClient) -> None:
    """Those of a sensor reach as far as what is there, and its maker's, in each file, do not: it was all too early."""
    head = "time,code,value,unit,lower_limit,upper_limit\n"
    await give(gateway, f"{head}2026-11-18T07:00Z,99504-3,450,mg/dL,,\n2026-11-18T07:05Z,99504-3,100,mg/dL,,\n")
    for day, word in ((19, "L"), (17, "U")):
        rows = (f"2026-11-{day}T07:00Z,99504-3,100,mg/dL,40,400", f"2026-11-{day}T07:05Z,99504-3,{word},mg/dL,40,400")
        report = await give(gateway, "\n".join((head.strip(), *rows)), f"of-{day}")
        assert report.counts == {"taken": 2} and not report.refusals
    (sensor,) = (await sensors(gateway)).values()
    assert (sensor["startedAt"], sensor["limits"]) == ("2026-11-17T07:00:00Z", {"lower": 40, "upper": 450})


async def test_zeros_of_limits_are_no_decimals_of_values(gateway: httpx.AsyncClient) -> None:
    """40.0 is 40: with the decimal of the limit 100 would be shown as 100.0, finer than it was measured."""
    head = "time,code,value,unit,lower_limit,upper_limit\n"
    await give(gateway, f"{head}2026-11-19T07:00Z,99504-3,100,mg/dL,40.0,400.0\n2026-11-19T07:05Z,99504-3,L,mg/dL,,\n")
    (sensor,) = (await sensors(gateway)).values()
    assert (sensor["decimals"], sensor["limits"]) == (0, {"lower": 40, "upper": 400})
