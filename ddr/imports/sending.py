"""Gives the values of a file to a recorder: which requests of the gateway API, and what their answers mean. No I/O.

`sending` and `taking_back` are generators that yield a Call and are sent its Answer, so that the command line (over
HTTP) and the patient's page (inside the recorder) run the same code. All of it may be repeated: what is there already
is answered as duplicate.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from statistics import median_low
from typing import Any

from ddr.imports.makers import maker_of
from ddr.imports.model import CGM, ImportFile, Source, Value

BATCH = 2000
KEY = "import-"
# Of glucose sensors whose maker is not known, as the summary takes them (ddr.series.glucose).
USUAL_LIMITS = {"mg/dL": (Decimal(40), Decimal(400)), "mmol/L": (Decimal("2.2"), Decimal("22.2"))}
MINUTE_MS = 60_000
_PERIODS = tuple(minutes * MINUTE_MS for minutes in (1, 2, 3, 4, 5, 6, 10, 15, 20, 30, 60))
_GENERATIONS = 9  # an upload that was taken back can come again under a further key
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEVICE = ("serialNumber", "name", "manufacturer", "modelNumber", "type", "expirationDate", "definition", "replaces")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """A request below /gateway/v1; `values` is how many values it carries, for a progress bar."""

    method: str
    path: str
    body: Json | None = None
    values: int = 0


@dataclass(frozen=True)
class Answer:
    """Status and JSON of the answer to a Call."""

    status: int
    body: Any = None


@dataclass(frozen=True)
class Refusal:
    """A value that the recorder did not take: the line of the file, a stable reason, a sentence."""

    line: int
    reason: str
    detail: str


@dataclass
class Report:
    """What became of the values: `taken`, `hidden` (stored, another of the same time is shown), `there`, refusals."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self, values: Iterable[Value], reason: str, detail: str) -> None:
        """Note that none of `values` was taken."""
        self.refusals += [Refusal(value.line, reason, detail) for value in values]


class Refused(Exception):
    """The recorder refused the whole request; the text is one line."""


Steps = Generator[Call, Answer, Report]


def sending(file: ImportFile, digest: str) -> Steps:
    """Send all values of `file`; `digest` names the import, so that it can be taken back. Raises Refused."""
    report = Report()
    known = _checked((yield Call("GET", "devices")))["devices"]
    for source, values in _by_source(file.values).items():
        device = yield from _device(known, source, values[0].time_ms)
        series = [value for value in values if value.continuous]
        for code in sorted({value.code for value in series}):
            yield from _series(report, file, source, device, [value for value in series if value.code == code], digest)
        yield from _measurements(report, device, [value for value in values if not value.continuous])
    return report


def taking_back(file: ImportFile, digest: str) -> Steps:
    """Take back what `sending` the same file stored. Raises Refused."""
    report = Report()
    known = _checked((yield Call("GET", "devices")))["devices"]
    for source, values in _by_source(file.values).items():
        device = _find(known, source)
        if device is None:
            continue
        for value in values:
            if not value.continuous:
                answer = yield Call("DELETE", f"measurements/{_measurement_key(value)}", values=1)
                report.counts["taken back"] += answer.status == 204
        sensors = _checked((yield Call("GET", f"devices/{device['key']}/sensors")))["sensors"]
        for sensor in sensors:
            part = [value for value in values if value.code == sensor["code"]]
            path = f"devices/{device['key']}/sensors/{sensor['key']}/uploads"
            for number, batch in enumerate(_batches(part)):
                found = yield from _take_back(path, digest, number)
                report.counts["taken back"] += len(batch) if found else 0
    return report


def period_ms(values: Sequence[Value], source: Source) -> int:
    """The sampling period that the times of a sensor's values show: what most neighbours are apart, rounded to usual
    minutes; the maker's own when there are too few."""
    times = sorted({value.time_ms for value in values})
    steps = [after - before for before, after in pairwise(times) if after - before <= 65 * MINUTE_MS]
    if len(steps) < 2:
        return maker_of(f"{source.manufacturer} {source.name}").period_ms
    usual = median_low(steps)
    return min(_PERIODS, key=lambda period: abs(period - usual))


def _by_source(values: Iterable[Value]) -> dict[Source, list[Value]]:
    found: dict[Source, list[Value]] = defaultdict(list)
    for value in sorted(values, key=lambda value: (value.time_ms, value.line)):
        found[value.source].append(value)
    return dict(sorted(found.items()))


def _device(known: list[Json], source: Source, first_ms: int) -> Generator[Call, Answer, Json]:
    """The device of the values: the one with this serial number that is there already, else a new one."""
    found = _find(known, source)
    body = {
        "serialNumber": source.serial or None,
        "name": source.name,
        "manufacturer": source.manufacturer,
        "type": source.type,
        "startedAt": _instant(first_ms),
    }
    if found is None:
        registered: Json = _checked((yield Call("PUT", f"devices/{_key(source)}", body)))
        return registered
    if _ms(found["startedAt"]) <= first_ms:
        return found
    same = {name: found[name] for name in _DEVICE if found.get(name) is not None} | {
        "serialNumber": found["serialNumber"]
    }
    moved = yield Call("PUT", f"devices/{found['key']}", {**same, "startedAt": _instant(first_ms)})
    return moved.body if moved.status == 200 else found


def _find(known: Iterable[Json], source: Source) -> Json | None:
    """By serial number and maker; a source without serial number is only what an earlier import registered."""
    for device in known:
        if device["key"] == _key(source):
            return device
    if not source.serial:
        return None
    maker = maker_of(f"{source.manufacturer} {source.name}")
    for device in known:
        same = (device["serialNumber"] or "").strip().casefold() == source.serial.strip().casefold()
        if same and maker_of(f"{device['manufacturer']} {device['name']}", maker) is maker:
            return device
    return None


def _series(
    report: Report, file: ImportFile, source: Source, device: Json, values: list[Value], digest: str
) -> Generator[Call, Answer, None]:
    path, unit = f"devices/{device['key']}/sensors", values[0].unit
    sensors = _checked((yield Call("GET", path)))["sensors"]
    others = [one for one in sensors if one["code"] in CGM.values() and one["unit"] != unit and not _own(one)]
    sensor = next((one for one in sensors if one["code"] == values[0].code), None)
    if sensor is None and others:
        report.refuse(values, "other-unit", f"this sensor sends in {others[0]['unit']}; export the file in that unit")
        return
    if sensor is not None and not _own(sensor):
        values = yield from _missing(report, path, sensor, values)
        if not values:
            return
    sensor = yield from _sensor(path, sensor, file, source, values)
    for number, batch in enumerate(_batches(values)):
        body = {"unit": unit, "readings": [{"time": _instant(one.time_ms), "value": _json(one.value)} for one in batch]}
        answer = yield from _upload(f"{path}/{sensor['key']}/readings", body, digest, number, len(batch))
        _note(report, batch, answer["items"])


def _own(sensor: Json) -> bool:
    """True for a sensor that an import registered: no app sends to it."""
    return str(sensor["key"]).startswith(KEY)


def _missing(report: Report, path: str, sensor: Json, values: list[Value]) -> Generator[Call, Answer, list[Value]]:
    """Of values beside those that the sensor's own app sends, the ones that fall into its gaps.

    An export cuts times to the minute or the second, so a value that is there already would come in a second time.
    """
    found = _checked((yield Call("GET", f"{path}/{sensor['key']}/gaps")))
    from_ms, half = _ms(found["from"]), sensor["samplingPeriodMs"] // 2
    stored_ms = _ms(sensor["storedUntil"]) if sensor["storedUntil"] else 0
    gaps = []  # both ends exclusive
    for gap in found["gaps"]:
        first, last = _ms(gap["from"]), _ms(gap["until"])
        # the beginning of the history and the present are no readings that a value could be the same as
        gaps.append((first - 1 if first == from_ms else first + half, last + 1 if first >= stored_ms else last - half))
    lacking = [
        value
        for value in values
        if value.time_ms < from_ms or any(first < value.time_ms < last for first, last in gaps)
    ]
    report.counts["there"] += len(values) - len(lacking)
    return lacking


def _sensor(
    path: str, sensor: Json | None, file: ImportFile, source: Source, values: Sequence[Value]
) -> Generator[Call, Answer, Json]:
    """The sensor, registered or with its start moved back; a recorder that refuses that refuses the early values."""
    unit = values[0].unit
    limits = file.limits.get(source, {}).get(unit)
    if limits is None and any(not isinstance(one.value, Decimal) for one in values):
        limits = USUAL_LIMITS.get(unit)  # L and U mean nothing without
    if sensor is not None:
        early = _ms(sensor["startedAt"]) > values[0].time_ms
        if not _own(sensor) or not (early or (limits and not sensor["limits"])):
            return sensor
    key = f"{KEY}{values[0].code}"
    digits = max((-one.value.as_tuple().exponent for one in values if isinstance(one.value, Decimal)), default=0)  # type: ignore[operator]
    body: dict[str, Any] = {
        "code": values[0].code,
        "unit": unit,
        "samplingPeriodMs": sensor["samplingPeriodMs"] if sensor else period_ms(values, source),
        "decimals": sensor["decimals"] if sensor else min(2, max(digits, 1 if unit == "mmol/L" else 0)),
        "startedAt": _instant(min(values[0].time_ms, _ms(sensor["startedAt"]) if sensor else values[0].time_ms)),
    }
    if limits:
        body["limits"] = {"lower": _json(limits[0]), "upper": _json(limits[1])}
    elif sensor and sensor["limits"]:
        body["limits"] = sensor["limits"]
    answer = yield Call("PUT", f"{path}/{key}", body)
    if sensor is not None and answer.status >= 400:
        return sensor
    found: Json = _checked(answer)
    return found


def _upload(path: str, body: Json, digest: str, number: int, size: int) -> Generator[Call, Answer, Any]:
    """Send a batch under the first key that was not taken back."""
    for generation in range(1, _GENERATIONS + 1):
        named = {**body, "upload": _upload_key(digest, generation, number)}
        answer = yield Call("POST", path, named, size if generation == 1 else 0)
        if answer.status != 409 or answer.body.get("code") != "deleted":
            return _checked(answer)
    raise Refused("this file was taken back too often")


def _take_back(path: str, digest: str, number: int) -> Generator[Call, Answer, bool]:
    found = False
    for generation in range(1, _GENERATIONS + 1):
        answer = yield Call("DELETE", f"{path}/{_upload_key(digest, generation, number)}")
        if answer.status == 404:
            break
        _checked(answer)
        found = True
    return found


def _measurements(report: Report, device: Json, values: list[Value]) -> Generator[Call, Answer, None]:
    for batch in _batches(values):
        items = [_measurement(value, device["key"]) for value in batch]
        answer = _checked((yield Call("POST", "measurements", {"measurements": items}, len(batch))))
        for value, item in zip(batch, answer["items"], strict=True):
            if item["result"] == "rejected":
                report.refusals.append(Refusal(value.line, item["reason"], item.get("detail", "")))
            else:
                report.counts["there" if item["result"] == "unchanged" else "taken"] += 1


def _measurement(value: Value, device_key: str) -> Json:
    body = {
        "key": _measurement_key(value),
        "code": value.code,
        "effective": _instant(value.time_ms),
        "device": device_key,
    }
    if value.parts:
        parts = [{"code": code, "value": _json(amount), "unit": value.unit} for code, amount in value.parts]
        return {**body, "components": parts}
    return {**body, "value": _json(value.value), "unit": value.unit}


def _note(report: Report, batch: Sequence[Value], items: Sequence[Json]) -> None:
    for value, item in zip(batch, items, strict=True):
        if item["status"] == "rejected":
            report.refusals.append(Refusal(value.line, item["reason"], item.get("detail", "")))
        elif item["status"] == "accepted":
            report.counts["taken" if item.get("shown", True) else "hidden"] += 1
        else:
            report.counts["there" if item["status"] == "duplicate" else item["status"]] += 1


def _checked(answer: Answer) -> Any:
    if answer.status >= 400:
        detail = answer.body.get("detail", "") if isinstance(answer.body, dict) else ""
        raise Refused(f"the recorder answers {answer.status}: {detail}".rstrip(": "))
    return answer.body


def _batches(values: Sequence[Value]) -> list[Sequence[Value]]:
    return [values[at : at + BATCH] for at in range(0, len(values), BATCH)]


def _key(source: Source) -> str:
    """A key of the gateway API for a device that only a file knows; other makers and serial numbers have other keys."""
    text = "\n".join((source.manufacturer, source.serial) if source.serial else (source.manufacturer, source.name, ""))
    return KEY + hashlib.sha256(text.encode()).hexdigest()[:24]


def _upload_key(digest: str, generation: int, number: int) -> str:
    return f"{KEY}{digest[:24]}-{generation}-{number}"


def _measurement_key(value: Value) -> str:
    text = f"{value.code}\n{value.time_ms}\n{value.value}\n{value.parts}\n{value.source}"
    return KEY + hashlib.sha256(text.encode()).hexdigest()[:24]


def _json(value: Decimal | str | None) -> Any:
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def _instant(time_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
