"""The cast of the demonstration: DiGA, patients, and the devices of each patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ddr.demo.curves import blood_pressure_at, glucose_at, peak_flow_at
from ddr.demo.gateway_client import instant
from ddr.demo.sensor import GlucoseSensor
from ddr.demo.trace import Trace, decimals
from ddr.durations import DAY_MS, HOUR_MS

Json = dict[str, Any]

HDDT_CODES = "https://gematik.de/fhir/hddt/CodeSystem/"
LUNG_CODES = HDDT_CODES + "hddt-lung-function-temporary-codes"
REFERENCE_METHOD = HDDT_CODES + "hddt-lung-function-reference-value-method-codes"
PERSONAL_BEST = 460  # L/min


@dataclass(frozen=True)
class CastDiga:
    """A DiGA: its entry in the DiGA-VZ. `issued`: its certificate comes from a CA of its own."""

    number: str
    name: str
    manufacturer: str
    mivs: tuple[str, ...]  # names of MIV packages
    issued: bool

    @property
    def client_id(self) -> str:
        return f"urn:diga:bfarm:{self.number}"

    @property
    def redirect_uri(self) -> str:
        """The URL to which browsers return."""
        return f"https://{self.name.lower()}.example/callback"


GLUKOBUCH = CastDiga(
    "00101",
    "GlukoBuch",
    "Beispiel Health GmbH",
    ("continuous-glucose-measurement", "blood-glucose-measurement"),
    issued=False,
)
ATEMDRUCK = CastDiga(
    "00102", "AtemDruck", "Muster Digital AG", ("blood-pressure-value", "lung-function-testing"), issued=True
)
# Those in demo.json, for developers who try the recorder: their pairings survive the demonstration.
DIGAS = (GLUKOBUCH, ATEMDRUCK)
# Those in the story, which pairs and unpairs at every start.
ZUCKERHEFT = replace(GLUKOBUCH, number="00201", name="ZuckerHeft")
LUFTPOST = replace(ATEMDRUCK, number="00202", name="LuftPost")
STORY_DIGAS = (ZUCKERHEFT, LUFTPOST)

FIRST_NAMES = ("anna", "bernd", "clara")


def username(index: int) -> str:
    """The account name of patient number `index` (from 0)."""
    return FIRST_NAMES[index] if index < len(FIRST_NAMES) else f"patient-{index + 1}"


@dataclass(frozen=True)
class Device:
    """A device as its gateway registers it, and the single measurements that it holds."""

    key: str
    body: Json
    sensors: Mapping[str, Json]
    measurements: tuple[Json, ...] = field(default=(), repr=False)


def glucose_device(index: int, sensor: GlucoseSensor) -> Device:
    """The simulated glucose sensor of patient `index`."""
    body = _body(f"GS-{index + 1:06}", "GlucoView 2", "700585005", sensor.start_ms)
    metric = _glucose_metric(sensor.unit, sensor.period_ms, sensor.decimals, sensor.start_ms)
    return Device("glucose-sensor", body, {"glucose": {**metric, "limits": sensor.limits}})


def trace_device(trace: Trace) -> Device:
    """The glucose sensor that recorded `trace`."""
    start_ms, name = trace.samples[0][0], trace.digest[:8]
    body = _body(f"TR-{name.upper()}", "Recorded sensor", "700585005", start_ms)
    metric = _glucose_metric("mg/dL", trace.period_ms, decimals(trace.samples), start_ms)
    return Device(f"trace-{name}", body, {"glucose": metric})


def _glucose_metric(unit: str, period_ms: int, places: int, start_ms: int) -> Json:
    return {
        "code": "99504-3" if unit == "mg/dL" else "105272-9",
        "unit": unit,
        "samplingPeriodMs": period_ms,
        "decimals": places,
        "calibration": {"state": "calibrated", "type": "unspecified", "time": instant(start_ms)},
    }


def second_device(index: int, start_ms: int, until_ms: int) -> Device:
    """The second device of patient `index`: in turn a blood pressure cuff, a blood glucose meter, a peak flow meter."""
    build = (_blood_pressure_cuff, _glucose_meter, _peak_flow_meter)[index % 3]
    return build(index, start_ms, until_ms)


def _body(serial: str, name: str, kind: str, start_ms: int) -> Json:
    return {
        "serialNumber": serial,
        "name": name,
        "manufacturer": "Muster Medizintechnik AG",
        "type": kind,
        "startedAt": instant(start_ms),
    }


def _blood_pressure_cuff(index: int, start_ms: int, until_ms: int) -> Device:
    panel = []
    for at_ms in _times(start_ms, until_ms, 7, 20):
        systolic, diastolic = blood_pressure_at(index, at_ms)
        parts = {"8480-6": systolic, "8462-4": diastolic}
        components = [{"code": code, "value": value, "unit": "mm[Hg]"} for code, value in parts.items()]
        panel.append(_measurement("bp", at_ms, "85354-9", {"components": components}, "cuff"))
    body = _body(f"BP-{index + 1:06}", "CardioCuff", "70665002", start_ms)
    return Device("cuff", body, {}, tuple(panel))


def _glucose_meter(index: int, start_ms: int, until_ms: int) -> Device:
    found = []
    for at_ms in _times(start_ms, until_ms, 7, 12, 18, 22):
        value = {"value": round(glucose_at(index, at_ms)), "unit": "mg/dL", "sensor": "strip"}
        found.append(_measurement("bg", at_ms, "41653-7", value, "meter"))
    strip = {"code": "41653-7", "unit": "mg/dL", "calibration": {"state": "calibrated", "time": instant(start_ms)}}
    return Device(
        "meter", _body(f"BG-{index + 1:06}", "GlucoDrop", "337414009", start_ms), {"strip": strip}, tuple(found)
    )


def _peak_flow_meter(index: int, start_ms: int, until_ms: int) -> Device:
    best = f"best-{start_ms // 60_000}"
    found: list[Json] = [
        {
            "key": best,
            "code": "83368-1",
            "effective": {"start": instant(start_ms)},
            "value": PERSONAL_BEST,
            "unit": "L/min",
            "method": {"coding": [{"system": REFERENCE_METHOD, "code": "personal-best"}]},
            "device": "flow",
        }
    ]
    for at_ms in _times(start_ms, until_ms, 7, 21):
        flow = peak_flow_at(index, at_ms)
        reading = _measurement("pef", at_ms, "19935-6", {"value": flow, "unit": "L/min"}, "flow")
        share = {
            "codeSystem": LUNG_CODES,
            "value": round(flow / PERSONAL_BEST * 100),
            "unit": "%",
            "derivedFrom": [reading["key"], best],
        }
        found += [reading, _measurement("rel", at_ms, "PEF-measured/predicted", share, "flow")]
    return Device("flow", _body(f"PF-{index + 1:06}", "AtemMeter", "334990001", start_ms), {}, tuple(found))


def _measurement(prefix: str, at_ms: int, code: str, value: Json, device: str) -> Json:
    return {
        "key": f"{prefix}-{at_ms // 60_000}",
        "code": code,
        "effective": instant(at_ms),
        "device": device,
        **value,
    }


def _times(start_ms: int, until_ms: int, *hours: int) -> Iterator[int]:
    """The instants from start to end at these hours (UTC) of each day, with an offset of some minutes."""
    for day in range(start_ms // DAY_MS, until_ms // DAY_MS + 1):
        for hour in hours:
            at_ms = day * DAY_MS + hour * HOUR_MS + (day * 7 + hour * 13) % 50 * 60_000
            if start_ms <= at_ms < until_ms:
                yield at_ms
