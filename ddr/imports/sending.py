"""Sends the values of a file to a recorder: the requests to the gateway API, and the meaning of responses. No I/O.

`sending` and `taking_back` (ddr.imports.taking_back) are generators that yield a Call and are sent its Answer, so that
the command line (over HTTP) and the patient's page (inside the recorder) run the same code. Everything may be repeated:
existing values are answered as duplicates.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from typing import Any

from ddr.durations import MINUTE_MS
from ddr.imports.calls import (
    Answer,
    Call,
    Json,
    Refusal,
    Refused,
    Report,
    Steps,
    as_json,
    checked,
    instant,
    milliseconds,
)
from ddr.imports.model import CGM, ImportFile, Source, Value
from ddr.imports.naming import GENERATIONS, batches, measurement_key, upload_key
from ddr.imports.registering import all_of_app, end_own, find_own, is_own, own_device, own_sensor, rounded

FOREVER = 1 << 62  # ms
SINGLE_DECIMALS = 4  # that the gateway API accepts in a value outside a series


def sending(file: ImportFile, digest: str) -> Steps:
    """Send all values of `file`; `digest` names the import, so that it can be taken back. Raises Refused."""
    report = Report()
    known = checked((yield Call("GET", "devices")))["devices"]
    for source, values in by_source(file.values).items():
        own, apps = find_own(known, source), all_of_app(known, source)
        app = apps[0] if apps else None
        for other in apps[1:]:
            values = yield from unsent_by_app(report, other, values)
        early, late, end_ms = yield from _divided(own, app, values)
        if early and app is not None and own is not None:
            early = yield from unsent_by_app(report, app, early)
        if early:
            own = yield from _guarded(report, early, own_device(own, source, early[0].time_ms))
            if own is not None:
                yield from _send_values(report, file, source, own, early, digest)
        if app is not None:
            yield from _send_values(report, file, source, app, late, digest)
            if own is not None:
                yield from end_own(own, end_ms)
    return report


def by_source(values: Iterable[Value]) -> dict[Source, list[Value]]:
    """The values of each device, ordered by time."""
    found: dict[Source, list[Value]] = defaultdict(list)
    for value in sorted(values, key=lambda value: (value.time_ms, value.line)):
        found[value.source].append(value)
    return dict(sorted(found.items()))


def _divided(
    own: Json | None, app: Json | None, values: list[Value]
) -> Generator[Call, Answer, tuple[list[Value], list[Value], int]]:
    """The values from before the app's registration, the others, and the beginning of the latter's data.

    Where an earlier import has values already, the same values go there again. Values after the end of the app's device
    do not belong to it either, and also go to the import's own device, unless that ended when the app's began.
    """
    if app is None:
        return values, [], 0
    start_ms = milliseconds(app["startedAt"])
    begins = dict.fromkeys((value.code for value in values), start_ms - MINUTE_MS)
    for device in filter(None, (app, own)):
        for sensor in checked((yield Call("GET", f"devices/{device['key']}/sensors")))["sensors"]:
            if device is app:
                time_ms = milliseconds(sensor["startedAt"]) - MINUTE_MS  # exports truncate times to the minute
            else:
                time_ms = milliseconds(sensor["storedUntil"]) + 1 if sensor["storedUntil"] else 0
            if sensor["code"] in begins:
                begins[sensor["code"]] = max(time_ms, begins[sensor["code"]])
    takes_more = own is None or own["endedAt"] is None
    end_ms = milliseconds(app["endedAt"]) if app["endedAt"] is not None and takes_more else FOREVER
    early = [value for value in values if not begins[value.code] <= value.time_ms < end_ms]
    late = [value for value in values if begins[value.code] <= value.time_ms < end_ms]
    return early, late, max((begins[value.code] + MINUTE_MS for value in early), default=start_ms)


def unsent_by_app(report: Report, app: Json, values: list[Value]) -> Generator[Call, Answer, list[Value]]:
    """Those values of an earlier import, or of a later registration of the device, that the app has not sent."""
    path, start_ms = f"devices/{app['key']}/sensors", milliseconds(app["startedAt"]) - MINUTE_MS
    end_ms = FOREVER if app["endedAt"] is None else milliseconds(app["endedAt"])
    for sensor in checked((yield Call("GET", path)))["sensors"]:
        same = [value for value in values if value.code == sensor["code"] and start_ms <= value.time_ms < end_ms]
        if same and same[0].continuous:
            there = set(same) - set((yield from _missing(report, path, sensor, same)))
            values = [value for value in values if value not in there]
    return values


def _guarded(
    report: Report, values: Sequence[Value], steps: Generator[Call, Answer, Json]
) -> Generator[Call, Answer, Json | None]:
    """The result of `steps`; None when the recorder refuses, which affects only `values`."""
    try:
        return (yield from steps)
    except Refused as error:
        if not error.lasting:
            raise
        report.refuse(values, error.code, error.detail)
        return None


def _send_values(
    report: Report, file: ImportFile, source: Source, device: Json, values: Sequence[Value], digest: str
) -> Generator[Call, Answer, None]:
    series = [value for value in values if value.continuous]
    for code in sorted({value.code for value in series}):
        part = [value for value in series if value.code == code]
        yield from _send_series(report, file, source, device, part, digest)
    yield from _send_measurements(report, device, [value for value in values if not value.continuous], digest)


def _send_series(
    report: Report, file: ImportFile, source: Source, device: Json, values: list[Value], digest: str
) -> Generator[Call, Answer, None]:
    path, unit = f"devices/{device['key']}/sensors", values[0].unit
    sensors = checked((yield Call("GET", path)))["sensors"]
    others = [one for one in sensors if one["code"] in CGM.values() and one["unit"] != unit and not is_own(one)]
    sensor = next((one for one in sensors if one["code"] == values[0].code), None)
    if sensor is None and others:
        report.refuse(
            values,
            "other-unit",
            f"this sensor's values are stored in {others[0]['unit']}; export the file in that unit",
        )
        return
    if sensor is not None and not is_own(sensor):
        values = yield from _missing(report, path, sensor, values)
        if not values:
            return
    sensor = yield from _guarded(report, values, own_sensor(path, sensor, file, source, values))
    if sensor is None:
        return
    for number, batch in enumerate(batches(values)):
        readings = [
            {"time": instant(one.time_ms), "value": as_json(_rounded(one.value, sensor["decimals"]))} for one in batch
        ]
        body = {"unit": unit, "readings": readings}
        steps = _upload(f"{path}/{sensor['key']}/readings", body, digest, number, len(batch))
        answer = yield from _guarded(report, batch, steps)
        if answer is not None:
            _note_readings(report, batch, answer["items"])


def _rounded(value: Decimal | str | None, decimals: int) -> Decimal | str | None:
    return rounded(value, decimals) if isinstance(value, Decimal) else value


def _missing(report: Report, path: str, sensor: Json, values: list[Value]) -> Generator[Call, Answer, list[Value]]:
    """The values that fall into gaps of the app's own series for this sensor.

    An export truncates times to the minute or the second, so an existing value would otherwise be stored twice.
    """
    period_ms = sensor["samplingPeriodMs"]
    since = instant(min(one.time_ms for one in values) - period_ms)  # files reach back before the historic period
    found = checked((yield Call("GET", f"{path}/{sensor['key']}/gaps/{since}")))
    from_ms, half = milliseconds(found["from"]), period_ms // 2
    stored_ms = milliseconds(sensor["storedUntil"]) if sensor["storedUntil"] else 0
    end_ms = milliseconds(sensor["endedAt"]) if sensor["endedAt"] else FOREVER
    if not any(milliseconds(gap["from"]) == from_ms for gap in found["gaps"]):
        from_ms -= half  # there is a reading at the beginning
    gaps = []  # both ends excluded, ordered by time
    for gap in found["gaps"]:
        first, last = milliseconds(gap["from"]), milliseconds(gap["until"])
        # beginning of the history and the present are not readings that could equal a value
        gaps.append((first - 1 if first == from_ms else first + half, last + 1 if first >= stored_ms else last - half))
    gaps.sort()
    lacking = [one for one in values if not from_ms <= one.time_ms < end_ms or _within(one.time_ms, gaps)]
    report.counts["there"] += len(values) - len(lacking)
    return lacking


def _within(time_ms: int, gaps: Sequence[tuple[int, int]]) -> bool:
    """True for a time in one of `gaps`, which do not overlap and are ordered by time."""
    after = bisect_left(gaps, (time_ms, 0))
    return after > 0 and time_ms < gaps[after - 1][1]


def _upload(path: str, body: Json, digest: str, number: int, size: int) -> Generator[Call, Answer, Json]:
    """Send a batch under its first key that was not taken back."""
    for generation in range(1, GENERATIONS + 1):
        named = {**body, "upload": upload_key(digest, generation, number)}
        answer = yield Call("POST", path, named, size if generation == 1 else 0)
        if answer.status != 409 or answer.body.get("code") != "deleted":
            found: Json = checked(answer)
            return found
    raise Refused(409, "deleted", "this file has been taken back too often")


def _send_measurements(report: Report, device: Json, values: list[Value], digest: str) -> Generator[Call, Answer, None]:
    """Send single values, each once, under its first key that was not taken back."""
    once = {(one.time_ms, one.code, one.comparator, one.value, one.parts): one for one in reversed(values)}
    if repeated := len(values) - len(once):
        report.counts["there"] += repeated
    for batch in batches([*once.values()][::-1]):
        left: Sequence[Value] = batch
        for generation in range(1, GENERATIONS + 1):
            items = [_measurement(value, device["key"], measurement_key(value, digest, generation)) for value in left]
            size = len(batch) if generation == 1 else 0
            steps = _answer(Call("POST", "measurements", {"measurements": items}, size))
            answer = yield from _guarded(report, left, steps)
            if answer is None:
                break
            last = generation == GENERATIONS
            results = list(zip(left, answer["items"], strict=True))
            _note_measurements(report, [(value, item) for value, item in results if last or not _deleted(item)])
            left = [value for value, item in results if not last and _deleted(item)]
            if not left:
                break


def _answer(call: Call) -> Generator[Call, Answer, Json]:
    found: Json = checked((yield call))
    return found


def _deleted(item: Json) -> bool:
    return item.get("reason") == "deleted"


def _measurement(value: Value, device: str, key: str) -> Json:
    body = {
        "key": key,
        "code": value.code,
        "effective": instant(value.time_ms),
        "device": device,
    }
    if value.parts:
        parts = [{"code": code, "value": _number_of(amount), "unit": value.unit} for code, amount in value.parts]
        return {**body, "components": parts}
    comparator = {"comparator": value.comparator} if value.comparator else {}
    return {**body, "value": _number_of(value.value), "unit": value.unit, **comparator}


def _number_of(value: Decimal | str | None) -> Any:
    """The number of a single value for a body: as written, but without digits that were not measured (a mean pressure
    of 93.3333333, mmol/L converted from mg/dL)."""
    many = isinstance(value, Decimal) and value.as_tuple().exponent < -SINGLE_DECIMALS  # type: ignore[operator]
    return as_json(round(value, SINGLE_DECIMALS) if isinstance(value, Decimal) and many else value)


def _note_measurements(report: Report, results: Iterable[tuple[Value, Json]]) -> None:
    for value, item in results:
        if item["result"] != "rejected":
            report.counts["there" if item["result"] == "unchanged" else "taken"] += 1
        # the key stands for the value: another registration of the device has it, or the app's value replaced it
        elif item["reason"] in ("conflict", "entered-in-error"):
            report.counts["there"] += 1
        else:
            report.refusals.append(Refusal(value.line, item["reason"], item.get("detail", "")))


def _note_readings(report: Report, batch: Sequence[Value], items: Sequence[Json]) -> None:
    for value, item in zip(batch, items, strict=True):
        if item["status"] == "rejected":
            report.refusals.append(Refusal(value.line, item["reason"], item.get("detail", "")))
        elif item["status"] == "accepted":
            report.counts["taken" if item.get("shown", True) else "hidden"] += 1
        else:
            report.counts["there" if item["status"] == "duplicate" else item["status"]] += 1
