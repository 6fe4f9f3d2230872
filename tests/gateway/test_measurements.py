"""Storing, correcting and deleting measurements, one and many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from uuid import UUID

import httpx
import orjson
import pytest

from ddr.gateway.same_value import MOST_TIMES, Deduplicated, deduplicated, minutes_around
from ddr.http.core import Core
from ddr.store.measurements.appearance import targets_appear
from ddr.store.measurements.measurements import by_keys
from ddr.store.patients.retention import forget_readings
from tests.gateway.conftest import Client, make_client, put_device, put_sensor
from tests.gateway.samples import Json, fev1, glucose, peak_flow, pressure, reference, relative
from tests.support.clock import Clock


@pytest.fixture(autouse=True)
async def meter(client: Client) -> None:
    """A device that measures everything."""
    await put_device(client, "meter")


async def put(client: Client, key: str, body: Json) -> httpx.Response:
    """Send one measurement."""
    return await client.put(f"/measurements/{key}", json=body)


async def post(client: Client, **items: Json) -> Any:
    """Send measurements by key; the response's items by key, and its counts."""
    body = {"measurements": [{"key": key, **item} for key, item in items.items()]}
    answer = (await client.post("/measurements", json=body)).json()
    return {item["key"]: item for item in answer["items"]}, {n: answer[n] for n in answer if n != "items"}


async def stored(core: Core, patient_id: UUID, key: str) -> dict[str, Any]:
    """The row of a measurement, its content parsed."""
    row = (await by_keys(core.pool, patient_id, [key]))[key]
    return {**row, "content": orjson.loads(row["content"] or b"null")}


async def versions(core: Core, patient_id: UUID) -> list[tuple[int, str, Any]]:
    """The former versions: version, status, value."""
    rows = await core.pool.fetch("SELECT * FROM measurement_version WHERE patient_id = $1 ORDER BY version", patient_id)
    return [(row["version"], row["status"], orjson.loads(row["content"])["valueQuantity"]["value"]) for row in rows]


async def test_a_repetition_changes_nothing(client: Client, core: Core, patient_id: UUID, clock: Clock) -> None:
    clock.advance(60)
    first = await put(client, "m1", glucose())
    row = await stored(core, patient_id, "m1")
    clock.advance(60)
    again = await put(client, "m1", glucose())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "result": "unchanged"}
    assert await stored(core, patient_id, "m1") == row
    assert (row["version"], row["status"], row["updated_ms"]) == (1, "final", clock() - 60_000)


async def test_a_correction_makes_a_version(client: Client, core: Core, patient_id: UUID, clock: Clock) -> None:
    first = (await put(client, "m1", glucose())).json()
    clock.advance(60)
    corrected = await put(client, "m1", glucose(value=129))
    assert corrected.status_code == 200
    assert corrected.json() == {**first, "result": "updated", "version": 2, "status": "corrected"}
    row = await stored(core, patient_id, "m1")
    assert (row["value"], row["updated_ms"], row["content"]["status"]) == (Decimal(129), clock(), "corrected")
    assert await versions(core, patient_id) == [(1, "final", 120)]
    amended = await put(client, "m1", glucose(value=129, note="before a meal"))
    assert (amended.json()["version"], amended.json()["status"]) == (3, "amended")
    assert (await put(client, "m1", glucose(value=129, note="before a meal"))).json()["result"] == "unchanged"


async def test_entered_in_error_stays_so(client: Client, core: Core, patient_id: UUID) -> None:
    await put(client, "m1", glucose())
    wrong = await put(client, "m1", glucose(status="entered-in-error"))
    assert (wrong.json()["status"], wrong.json()["version"]) == ("entered-in-error", 2)
    assert (await put(client, "m1", glucose(status="entered-in-error"))).json()["result"] == "unchanged"
    again = await put(client, "m1", glucose())
    assert (again.status_code, again.json()["code"]) == (409, "entered-in-error")
    assert (await stored(core, patient_id, "m1"))["status"] == "entered-in-error"


async def test_a_key_names_one_measurement(client: Client) -> None:
    await put_device(client, "other")
    await put(client, "m1", glucose())
    for body in (glucose(code="2345-7"), glucose(device="other"), pressure()):
        answer = await put(client, "m1", body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_deletion_erases(client: Client, core: Core, patient_id: UUID, clock: Clock) -> None:
    await put(client, "m1", glucose())
    await put(client, "m1", glucose(value=130))
    clock.advance(60)
    assert [(await client.delete("/measurements/m1")).status_code for _ in range(2)] == [204, 204]
    row = await stored(core, patient_id, "m1")
    assert (row["deleted_ms"], row["value"], row["content"]) == (clock(), None, None)
    assert await versions(core, patient_id) == []
    again = await put(client, "m1", glucose())
    assert (again.status_code, again.json()["code"]) == (409, "deleted")
    assert (await client.delete("/measurements/none")).status_code == 404


async def test_sources_of_relative_values_stay(client: Client) -> None:
    await post(client, reading=fev1(), reference=reference(), r=relative())
    answer = await client.delete("/measurements/reference")
    assert (answer.status_code, answer.json()["code"]) == (409, "in-use")
    for key in ("r", "reference", "reading"):
        assert (await client.delete(f"/measurements/{key}")).status_code == 204


async def test_a_batch_in_any_order(client: Client, core: Core, patient_id: UUID) -> None:
    items, counts = await post(client, r=relative(), reference=reference(), reading=fev1(), bp=pressure())
    assert counts == {"created": 4, "updated": 0, "unchanged": 0, "rejected": 0}
    assert list(items) == ["r", "reference", "reading", "bp"]
    numbers = [(await stored(core, patient_id, key))["measurement_no"] for key in ("reading", "reference")]
    assert (await stored(core, patient_id, "r"))["derived_from"] == numbers
    swapped = relative(derivedFrom=["reference", "reading"])
    items, counts = await post(client, reading=fev1(value=3.5), r=swapped, bp=pressure())
    assert counts == {"created": 0, "updated": 1, "unchanged": 2, "rejected": 0}
    assert items["reading"]["status"] == "corrected"


async def test_a_bad_item_blocks_no_other(client: Client) -> None:
    items = [
        {"key": "a", **glucose()},
        {"key": "b", **glucose(unit="mmol/L")},
        5,
        {"key": "a", **glucose(value=121)},
        glucose(),
        {"key": "c", **glucose(device="unknown")},
        {"key": ["d"], **glucose()},
        {"key": "e", **relative()},
        {"key": "a/b", **glucose()},
        {"key": "f", **glucose()},
    ]
    answer = (await client.post("/measurements", json={"measurements": items})).json()
    assert [item.get("reason", item["result"]) for item in answer["items"]] == [
        "created", "unit", "invalid", "repeated-key", "invalid", "unknown-device", "invalid", "unknown-measurement",
        "invalid-key", "created",
    ]  # fmt: skip
    assert (answer["created"], answer["rejected"]) == (2, 8)
    assert answer["items"][1] == {
        "key": "b", "result": "rejected", "reason": "unit", "field": "unit",
        "detail": "unit must be mg/dL for this code", "retry": False,
    }  # fmt: skip


async def test_a_batch_of_bad_items_only(client: Client) -> None:
    assert (await post(client, a=glucose(value="high")))[1]["rejected"] == 1


@pytest.mark.parametrize("body", [{}, {"measurements": []}, {"measurements": {}}, {"measurements": [1], "more": 1}])
async def test_a_batch_that_is_none(client: Client, body: Json) -> None:
    assert (await client.post("/measurements", json=body)).status_code == 422


async def test_too_many_items(core: Core, token: str) -> None:
    core.settings = replace(core.settings, gateway_max_items=2)
    async with make_client(core, token) as client:
        answer = await client.post("/measurements", json={"measurements": [1, 2, 3]})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-items")


async def test_concurrent_repetitions_store_once(client: Client) -> None:
    answers = await asyncio.gather(*(put(client, "m1", glucose()) for _ in range(8)))
    assert sorted(answer.json()["result"] for answer in answers) == ["created"] + ["unchanged"] * 7
    assert len({answer.json()["id"] for answer in answers}) == 1


async def forgotten_within(
    core: Core, patient_id: UUID, request: Callable[[], Awaitable[httpx.Response]]
) -> httpx.Response:
    """The response to a request when retention runs after it has read what is stored and before it writes."""
    forgetting: list[asyncio.Task[int]] = []

    async def seen(*arguments: Any) -> None:
        forgetting.append(asyncio.create_task(forget_readings(core.pool, [patient_id], core.clock() - 86_400_000)))
        await asyncio.wait(forgetting, timeout=0.5)
        await targets_appear(*arguments)

    with patch("ddr.gateway.storing.targets_appear", seen):
        answer = await request()
    await asyncio.gather(*forgetting)
    return answer


async def test_a_correction_of_what_is_old_is_not_lost_to_retention(
    client: Client, core: Core, patient_id: UUID
) -> None:
    """A meter's date was wrong: its value is sent again with the right one while the wrong one becomes too old."""
    await put(client, "m1", glucose(effective="2026-10-02T12:00:00Z"))
    answer = await forgotten_within(
        core, patient_id, lambda: put(client, "m1", glucose(effective="2026-11-22T09:00:00Z"))
    )
    assert answer.json()["result"] == "updated"
    assert (await stored(core, patient_id, "m1"))["version"] == 2
    assert await versions(core, patient_id) == [(1, "final", 120)]


async def test_what_a_new_value_is_derived_from_is_not_lost_to_retention(
    client: Client, core: Core, patient_id: UUID
) -> None:
    await post(client, reading=fev1(effective="2026-10-02T12:00:00Z"), reference=reference())
    await forgotten_within(core, patient_id, lambda: put(client, "r", relative(effective="2026-11-22T09:00:00Z")))
    (reading, _) = (await stored(core, patient_id, "r"))["derived_from"]
    assert (await stored(core, patient_id, "reading"))["measurement_no"] == reading


@pytest.mark.parametrize("app_first", [True, False])
async def test_an_app_and_an_import_that_say_the_same_at_once_are_there_once(
    client: Client, core: Core, patient_id: UUID, app_first: bool
) -> None:
    keys = ("m1", "import-1") if app_first else ("import-1", "m1")
    items, counts = await post(client, **{key: glucose() for key in keys})
    assert counts == {"created": 1, "updated": 0, "unchanged": 1, "rejected": 0}
    assert items["import-1"] == {**items["m1"], "key": "import-1", "result": "unchanged"}
    assert await core.pool.fetchval("SELECT count(*) FROM measurement WHERE patient_id = $1", patient_id) == 1


MEAN = {"code": "8478-0", "value": 96, "unit": "mm[Hg]"}


@pytest.mark.parametrize(
    ("app", "file"),
    [
        (glucose(), glucose(code="41653-7")),
        (glucose(code="2345-7"), glucose(code="41653-7")),
        (pressure(components=[*pressure()["components"], MEAN]), pressure()),
    ],
)
@pytest.mark.parametrize("app_first", [True, False])
async def test_what_an_app_knows_more_of_than_a_file_is_there_once(
    client: Client, core: Core, patient_id: UUID, app_first: bool, app: Json, file: Json
) -> None:
    for key, body in (("m1", app), ("import-1", file)) if app_first else (("import-1", file), ("m1", app)):
        assert (await put(client, key, body)).is_success
    rows = await core.pool.fetch(
        "SELECT measurement_key FROM measurement WHERE patient_id = $1 AND status <> 'entered-in-error'", patient_id
    )
    assert [row["measurement_key"] for row in rows] == ["m1"]


def test_minutes_that_touch_are_one_and_others_stay_apart() -> None:
    assert minutes_around([300_000, 0, 90_000]) == ([-60_000, 240_000], [150_000, 360_000])
    hours = [hour * 3_600_000 for hour in range(100)]
    begins, ends = minutes_around([*hours, hours[-1] + 7_200_000])
    assert (len(begins), begins[-1], ends[-2]) == (MOST_TIMES, ends[-1] - 120_000, hours[-1] + 60_000)
    assert all(any(begin < hour < end for begin, end in zip(begins, ends, strict=True)) for hour in hours)
    assert all(end < begin for end, begin in zip(ends, begins[1:], strict=False))


async def test_what_lies_between_the_values_of_a_request_is_not_looked_at(client: Client) -> None:
    """Years of a patient's values may lie between two of them."""
    hours = [f"2026-11-20T{hour:02}:00:00Z" for hour in range(8)]
    await post(client, **{f"m{hour}": glucose(effective=at) for hour, at in enumerate(hours)})
    with patch("ddr.gateway.storing.deduplicated", wraps=deduplicated) as told:
        await post(client, **{f"import-{at}": glucose(effective=hours[at], value=130) for at in (0, 7)})
    (_, _, around), _ = told.call_args
    assert [row["measurement_key"] for row in around] == ["m0", "m7"]


async def test_many_values_are_told_apart_beside_the_event_loop(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_loop: list[bool] = []

    def watched(*given: Any) -> Deduplicated:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return deduplicated(*given)

    monkeypatch.setattr("ddr.gateway.storing.deduplicated", watched)
    monkeypatch.setattr("ddr.gateway.storing.LARGE_ITEMS", 2)
    for keys in (("a", "b"), ("c", "d", "e")):
        await post(client, **{key: glucose() for key in keys})
    assert on_the_loop == [True, False]


async def test_a_mean_that_only_a_file_has_does_not_give_way(client: Client, core: Core, patient_id: UUID) -> None:
    await put(client, "import-1", pressure(components=[*pressure()["components"], MEAN]))
    await put(client, "m1", pressure())
    assert (await stored(core, patient_id, "import-1"))["status"] == "final"


async def test_an_import_that_is_corrected_to_what_an_app_says_gives_way(
    client: Client, core: Core, patient_id: UUID
) -> None:
    await post(client, **{"m1": glucose(), "import-1": glucose(value=130)})
    answer = (await put(client, "import-1", glucose())).json()
    assert (answer["result"], answer["version"], answer["status"]) == ("updated", 2, "entered-in-error")
    assert (await stored(core, patient_id, "import-1"))["content"]["status"] == "entered-in-error"
    assert await versions(core, patient_id) == [(1, "final", 130)]


async def test_what_is_corrected_and_gives_way_at_once_has_one_version_more(
    client: Client, core: Core, patient_id: UUID
) -> None:
    await put(client, "import-1", glucose())
    items, _ = await post(client, **{"m1": glucose(), "import-1": glucose(value=130)})
    assert (items["import-1"]["version"], items["import-1"]["status"]) == (2, "corrected")
    row = await stored(core, patient_id, "import-1")
    assert (row["version"], row["status"], row["value"]) == (2, "corrected", Decimal(130))
    assert await versions(core, patient_id) == [(1, "final", 120)]


async def test_what_an_app_enters_in_error_puts_nothing_away(client: Client, core: Core, patient_id: UUID) -> None:
    await put(client, "import-1", glucose())
    await put(client, "m1", glucose(status="entered-in-error"))
    assert (await stored(core, patient_id, "import-1"))["status"] == "final"


async def test_measuring_is_a_sign_of_life(client: Client, clock: Clock) -> None:
    clock.advance(3600)
    await put(client, "m1", glucose())
    assert (await client.get("/devices/meter")).json()["heardAt"] == "2026-11-22T11:00:00Z"


# --- where a measurement comes from ----------------------------------------------------------------------------------


async def test_an_uncalibrated_sensor_means_the_device(client: Client, core: Core, patient_id: UUID) -> None:
    await put_sensor(client, "meter", "plain", code="2339-0", samplingPeriodMs=None)
    await put(client, "m1", glucose())
    await put(client, "m2", glucose(sensor="plain"))
    rows = [await stored(core, patient_id, key) for key in ("m1", "m2")]
    assert [(row["epoch_no"], row["device_no"] is not None) for row in rows] == [(None, True)] * 2


async def test_a_calibrated_sensor_means_its_epoch(client: Client, core: Core, patient_id: UUID) -> None:
    calibration = {"state": "calibrated"}
    await put_sensor(client, "meter", "strip", code="2339-0", samplingPeriodMs=None, calibration=calibration)
    epoch_no = await core.pool.fetchval("SELECT epoch_no FROM epoch WHERE patient_id = $1", patient_id)
    await put(client, "m1", glucose(sensor="strip"))
    assert (await stored(core, patient_id, "m1"))["epoch_no"] == epoch_no
    assert (await put(client, "m2", pressure())).status_code == 201
    unnamed = await put(client, "m3", glucose())
    assert (unnamed.status_code, unnamed.json()["field"]) == (422, "sensor")
    other_kind = await put(client, "m4", pressure(sensor="strip"))
    assert (other_kind.status_code, other_kind.json()["field"], other_kind.json()["retry"]) == (422, "sensor", False)


async def test_the_life_of_device_and_sensor_bounds_measurements(client: Client) -> None:
    members: Json = {"code": "2339-0", "samplingPeriodMs": None, "calibration": {"state": "calibrated"}}
    await put_sensor(client, "meter", "strip", startedAt="2026-11-01T00:00:00Z", **members)
    await put_sensor(client, "meter", "strip", endedAt="2026-11-10T00:00:00Z", **members)
    times = {
        "2026-09-30T23:59:59Z": "before-start",
        "2026-10-31T23:59:59Z": "before-start",
        "2026-11-01T00:00:00Z": "created",
        "2026-11-09T23:59:59.999Z": "created",
        "2026-11-10T00:00:00Z": "after-end",
        "2026-11-22T10:02:01Z": "future",
    }
    items, _ = await post(client, **{f"m{i}": glucose(sensor="strip", effective=t) for i, t in enumerate(times)})
    assert [item.get("reason", item["result"]) for item in items.values()] == list(times.values())
    await put_device(client, "meter", endedAt="2026-11-20T00:00:00Z")
    assert (await put(client, "late", pressure())).json()["code"] == "after-end"


async def test_no_device_ends_before_its_last_value(client: Client) -> None:
    at, end = "2026-11-20T08:00:00Z", {"endedAt": "2026-11-20T08:00:00Z"}
    await put(client, "m1", glucose(effective=at))
    early = await put_device(client, "meter", **end)
    assert (early.status_code, early.json()["code"]) == (409, "readings-after-end")
    assert (await put(client, "m1", glucose(effective=at))).json()["result"] == "unchanged"
    await put(client, "m1", glucose(effective=at, status="entered-in-error"))
    assert (await put_device(client, "meter", **end)).status_code == 200


async def test_no_calibrated_sensor_ends_before_its_last_value_or_calibration(client: Client) -> None:
    members: Json = {"code": "2339-0", "samplingPeriodMs": None, "calibration": {"state": "calibrated"}}
    for key in ("strip", "other"):
        await put_sensor(client, "meter", key, **members)
    await put(client, "m1", glucose(sensor="strip", effective="2026-11-20T08:00:00Z"))
    events = {"calibrations": [{"time": "2026-11-21T08:00:00Z", "state": "calibration-required"}]}
    await client.post("/devices/meter/sensors/strip/calibrations", json=events)
    ends = ("2026-11-20T07:00:00Z", "2026-11-20T09:00:00Z", "2026-11-22T00:00:00Z")
    answers = [await put_sensor(client, "meter", "strip", endedAt=end, **members) for end in ends]
    assert [answer.status_code for answer in answers] == [409, 409, 200]
    assert (await put_sensor(client, "meter", "other", endedAt=ends[0], **members)).status_code == 200


async def test_what_a_replaced_meter_measured_last_is_not_behind_its_end(core: Core, token: str) -> None:
    async with make_client(replace(core, settings=replace(core.settings, device_overlap="end")), token) as client:
        await put(client, "m1", glucose(effective="2026-11-20T08:00:00Z"))
        await put_device(client, "new", serialNumber="SN2", startedAt="2026-11-19T00:00:00Z", replaces="meter")
        assert (await client.get("/devices/meter")).json()["endedAt"] == "2026-11-20T08:00:00.001Z"
        assert (await put(client, "m1", glucose(effective="2026-11-20T08:00:00Z"))).json()["result"] == "unchanged"


async def test_a_reference_value_says_nothing_of_when_its_device_was_used(client: Client) -> None:
    await put(client, "best", reference(device="meter"))
    moved = await put_device(client, "meter", startedAt="2026-10-05T00:00:00Z")
    assert (moved.status_code, moved.json().get("startedAt")) == (200, "2026-10-05T00:00:00Z")
    assert (await put_device(client, "meter", endedAt="2026-10-06T00:00:00Z")).status_code == 200


async def test_reference_values_need_no_device_and_outlive_it(client: Client, core: Core, patient_id: UUID) -> None:
    items, counts = await post(client, a=reference(), b=reference(device="meter"), c=reference(device="unknown"))
    assert (counts["created"], items["c"]["reason"]) == (2, "unknown-device")
    assert (await stored(core, patient_id, "a"))["device_no"] is None
    assert (await stored(core, patient_id, "b"))["device_no"] is not None


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        (["reading", "none"], "unknown-measurement"),
        (["reading", "reading2"], "derivation"),
        (["reference", "reference2"], "derivation"),
        (["peak", "reference"], "derivation"),
        (["glucose", "reference"], "derivation"),
        (["deleted", "reference"], "derivation"),
        (["wrong", "reference"], "derivation"),
        (["reading", "reading"], "invalid"),
        (["reading"], "invalid"),
        (["reading", 5], "invalid"),
        ("reading", "invalid"),
        (["reading", "a b"], "invalid-key"),
        (None, "invalid"),
    ],
)
async def test_relative_values_come_from_one_reading_and_its_reference(
    client: Client, sources: Any, reason: str
) -> None:
    await post(
        client, reading=fev1(), reading2=fev1(), reference=reference(), reference2=reference(), peak=peak_flow(),
        glucose=glucose(), deleted=fev1(), wrong=fev1(status="entered-in-error"),
    )  # fmt: skip
    await client.delete("/measurements/deleted")
    answer = await put(client, "r", relative(derivedFrom=sources))
    assert (answer.status_code, answer.json()["code"]) == (422, reason)


async def test_a_relative_value_can_be_withdrawn_after_its_reading(client: Client) -> None:
    await post(client, reading=fev1(), reference=reference(), r=relative())
    await put(client, "reading", fev1(status="entered-in-error"))
    assert (await put(client, "r", relative())).json()["result"] == "unchanged"
    assert (await put(client, "r", relative(status="entered-in-error"))).json()["result"] == "updated"


async def test_other_patients_measurements_are_no_source(client: Client, stranger: Client) -> None:
    await post(client, reading=fev1(), reference=reference())
    await put_device(stranger, "meter")
    assert (await put(stranger, "r", relative())).json()["code"] == "unknown-measurement"


async def test_a_relative_value_that_comes_before_its_sources_is_taken_later(client: Client) -> None:
    early = (await put(client, "r", relative())).json()
    assert (early["code"], early["retry"]) == ("unknown-measurement", True)
    await post(client, reading=fev1(), reference=reference())
    assert (await put(client, "r", relative())).json()["result"] == "created"


async def test_implausible_values_are_refused_and_unusual_ones_kept_with_a_warning(client: Client) -> None:
    for value, code, warning in ((-3, "implausible", False), (0, "implausible", False), (5.6, "implausible", False),
                                 (22.5, "implausible", False), (15, None, True), (120, None, False)):  # fmt: skip
        answer = await put(client, f"v{value}", glucose(value=value))
        assert (answer.json().get("code"), "warning" in answer.json()) == (code, warning), value
    low = await put(client, "lo", glucose(value=20, comparator="<"))
    assert (low.status_code, "warning" in low.json()) == (201, False)
    systolic, diastolic = pressure()["components"]
    swapped = [{**systolic, "value": 87}, {**diastolic, "value": 142}]
    answer = await put(client, "swapped", pressure(components=swapped))
    assert (answer.status_code, "swapped" in answer.json()["warning"]) == (201, True)


async def test_the_same_time_in_another_zone_is_no_change(client: Client) -> None:
    """Otherwise a phone that travelled, or went to winter time, would make final values `amended` by repeating them."""
    first = await put(client, "a", glucose(effective="2026-11-20T10:00:00+01:00"))
    again = await put(client, "a", glucose(effective="2026-11-20T09:00:00Z"))
    assert (again.json()["result"], again.json()["version"]) == ("unchanged", first.json()["version"])
    changed = await put(client, "a", glucose(effective="2026-11-20T09:00:00Z", value=121))
    assert (changed.json()["result"], changed.json()["status"]) == ("updated", "corrected")
    for effective in ("2026-11-20T09:00:00.000Z", "2026-11-20T09:00:01Z"):  # more precise, another time
        answer = await put(client, "a", glucose(effective=effective, value=121))
        assert (answer.json()["result"], answer.json()["status"]) == ("updated", "amended")


async def test_the_same_period_in_another_zone_is_no_change(client: Client) -> None:
    first, last = "2026-11-01T00:00:00+01:00", "2026-11-09T00:00:00+01:00"
    await put(client, "r", reference(effective={"start": first, "end": last}))
    answers = [
        await put(client, "r", reference(effective=effective))
        for effective in (
            {"start": "2026-10-31T23:00:00Z", "end": "2026-11-08T23:00:00Z"},
            {"start": first, "end": "2026-11-09"},
            {"start": first},
        )
    ]
    assert [answer.json()["result"] for answer in answers] == ["unchanged", "updated", "updated"]


@pytest.mark.parametrize("text", ["5.50", "7.0", "6", "0.10e1", "1e1", "1.0E+1", "70e-1", "7.000", "5.5"])
async def test_digits_are_kept(client: Client, core: Core, patient_id: UUID, text: str) -> None:
    body = orjson.dumps({**glucose(code="15074-8", unit="mmol/L"), "value": 77777}).replace(b"77777", text.encode())
    answer = await client.put("/measurements/digits", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 201
    async with core.pool.acquire() as conn:
        stored = (await by_keys(conn, patient_id, ["digits"]))["digits"]["content"]
    assert f'"value":{Decimal(text):f},'.encode() in stored
    again = await client.put("/measurements/digits", content=body, headers={"content-type": "application/json"})
    assert again.json()["result"] == "unchanged"


@pytest.mark.parametrize("number", ["0.0e-99999999999999999999", "0.0e99999999999999999999", "1e400", "9" * 5000])
async def test_a_number_that_nothing_can_hold_spoils_one_item_only(client: Client, number: str) -> None:
    item = {"key": "odd", **glucose(value=77777)}
    body = orjson.dumps({"measurements": [item, {"key": "good", **glucose(value=88888)}]})
    body = body.replace(b"77777", number.encode()).replace(b"88888", b"120.0")
    answer = await client.post("/measurements", content=body, headers={"content-type": "application/json"})
    assert [item["result"] for item in answer.json()["items"]] == ["rejected", "created"]
