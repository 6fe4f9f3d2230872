"""DeviceMetric of the PHD guide as the bodies of PUT …/sensors/{key} and POST …/calibrations. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal

from ddr.durations import DAY_MS, HOUR_MS, MINUTE_MS
from ddr.fhir.instants import date_time, parse_instant
from ddr.gateway.door.codes import Json, codings, concept, measured, plain, unknown
from ddr.gateway.door.entries import MAX_NAMES, identifier_keys, make_key
from ddr.gateway.door.observations import Observed
from ddr.gateway.fields import Fields, given
from ddr.gateway.plausibility import of_code
from ddr.gateway.problem import Problem, invalid
from ddr.gateway.registration import parse_calibration
from ddr.miv.model import UCUM, Miv, MivCatalog, MivCode
from ddr.miv.ucum import with_litre
from ddr.series.packing import LARGEST
from ddr.series.plausible import Plausible
from ddr.store.database.pool import Row

MAX_CALIBRATIONS = 1000
_UNIT_MS = {"s": 1000, "min": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


def sensor_keys(code: MivCode, metric: Fields | None = None) -> list[str]:
    """The keys of a sensor: from the identifiers of its DeviceMetric, otherwise from what it measures, once per device.

    A new sensor gets the first key, but may already be known under another.
    """
    found = [] if metric is None else identifier_keys("DeviceMetric", metric)[:MAX_NAMES]
    return found or [make_key("sensor", code.system, code.code)]


def metric_code(metric: Fields, catalog: MivCatalog, observed: Sequence[Observed]) -> tuple[Miv, MivCode]:
    """What the metric measures: by its type and unit, otherwise by the Observations made with it.

    Raises Problem: 422, and 200 for what belongs to no supported MIV.
    """
    units = [with_litre(code) for system, code in codings(metric.object("unit")) if system == UCUM and code]
    units += [item.unit for item in observed if item.unit]
    found = codings(metric.object("type"))
    wanted: list[str | None] = [*dict.fromkeys(units)] or [None]
    known = next((entry for unit in wanted if (entry := measured(catalog, found, unit))), None)
    if known is None and observed:
        known = observed[0].miv, observed[0].code
    if known is None:
        raise unknown(catalog, found, ", ".join(units) or None, "type")
    return known


def first_value_ms(observed: Sequence[Observed], metrics: Sequence[Fields], now_ms: int) -> int:
    """When something that is not known yet began: at its first value, else at its first calibration, else now.

    A reference value is valid since long before it was entered, so it says nothing about the device.
    """
    times = [item.earliest_ms for item in observed if item.code.kind != "reference" and item.earliest_ms >= 0]
    for event in (event for metric in metrics for event in calibrations(metric) if "time" in event):
        times = times or [parse_instant(event["time"])]
    return min([*times, now_ms])


def new_sensor(
    miv: Miv, code: MivCode, observed: Sequence[Observed], metric: Fields | None, from_ms: int, now_ms: int
) -> Json:
    """The registration of a sensor that is not known yet and cannot have begun before `from_ms`.

    A series begins with its first value, so that no chunk begins before there is something to show.
    """
    metrics = [] if metric is None else [metric]
    first_ms = max(from_ms, first_value_ms(observed, metrics, now_ms)) if miv.continuous else from_ms
    unit = code.unit or code.components[0].unit
    found = {
        "codeSystem": code.system,
        "code": code.code,
        "unit": unit,
        "startedAt": date_time(first_ms),
        **(_series(observed, metric, unit, of_code(miv, code)) if miv.continuous else {}),
        "calibration": None if metric is None else at_start(calibrations(metric), first_ms),
        "metric": None if metric is None else _metric(metric),
    }
    return given(found)


def known_sensor(stored: Row, code: MivCode, metric: Fields | None) -> Json:
    """The registration of a known sensor: as stored, except what the DeviceMetric says itself."""
    period = None if metric is None else _period_ms(metric)
    said: Json = {"codeSystem": code.system, "code": code.code, "unit": code.unit or code.components[0].unit}
    if stored["continuous"] and period is not None:
        said["samplingPeriodMs"] = period
    return given(stored["registration"]) | said


def calibrations(metric: Fields) -> list[Json]:
    """The calibration events, oldest first, with those without a time before all others. Raises Problem 422."""
    found = []
    for entry in metric.objects("calibration", MAX_CALIBRATIONS) or ():
        entry.instant("time")
        found.append(given({name: entry.text(name) for name in ("time", "state", "type")}))
    return in_order(found)


def in_order(events: Sequence[Json]) -> list[Json]:
    """Calibration events, oldest first, with those without a time before all others."""
    return sorted(events, key=time_of)


def time_of(event: Json) -> int:
    """The time of a calibration in ms; -1 when it has none."""
    return parse_instant(event["time"]) if "time" in event else -1


def readable(events: Sequence[Json]) -> list[Json]:
    """The events with which a sensor can begin, in FHIR's form; earlier ones have not been parsed yet."""
    found = []
    for event in events:
        with suppress(Problem):
            found.append(parse_calibration(Fields(event)))
    return found


def later_events(events: Sequence[Json], stored: Row) -> list[Json]:
    """The events after the start of a sensor whose registration gives its first state. Raises Problem 422."""
    for event in events:
        if "time" not in event and len(events) == 1 and event.get("state") != stored["calibration_state"]:
            raise invalid("calibration[0].time", "is required where the state changes")
    return [event for event in events if time_of(event) > stored["started_ms"]]


def at_start(events: Sequence[Json], first_ms: int) -> Json | None:
    """The calibration at the start: the last one known then; unspecified when all are later."""
    before = [event for event in events if time_of(event) <= first_ms]
    if before:
        return before[-1]
    return {"state": "unspecified"} if events else None


def state_since_ms(events: Sequence[Json], ms: int) -> int:
    """Since when the state lasts that the sensor had at `ms`; -1 when no event with a time began it."""
    since_ms, state = -1, None
    for event in events:
        if time_of(event) <= ms and event["state"] != state:
            since_ms, state = time_of(event), event["state"]
    return since_ms


def _series(observed: Sequence[Observed], metric: Fields | None, unit: str, plausible: Plausible | None) -> Json:
    """What only a continuous sensor has, as far as DeviceMetric and values say it."""
    samples = [item.samples for item in observed if item.samples is not None]
    period = None if metric is None else _period_ms(metric)
    limits = next((found.limits for found in samples if found.limits), None)
    decimals = max((found.decimals() for found in samples), default=1 if unit == "mmol/L" else 0)
    bounds = [bound for found in samples for bound in found.bounds()]
    if plausible is not None:  # impossible values do not influence the number of decimals
        bounds = [bound for bound in bounds if plausible.least <= bound <= plausible.most]
    bounds += (limits or {}).values()
    while decimals and any(abs(bound) * 10**decimals > LARGEST for bound in bounds):
        decimals -= 1  # with more decimals, the limits would not fit
    return {
        "samplingPeriodMs": period or next((found.period_ms for found in samples if found.period_ms), None),
        "decimals": decimals,
        "limits": limits,
    }


def _metric(metric: Fields) -> Json:
    timing = metric.object("measurementPeriod")
    repeat = timing and timing.object("repeat")
    names = ("frequency", "period", "periodUnit")
    found = {
        "type": concept(metric.object("type")),
        "operationalStatus": metric.raw("operationalStatus"),
        "category": metric.raw("category"),
        "measurementPeriod": {"repeat": given({n: plain(repeat.raw(n)) for n in names})} if repeat else None,
    }
    return given(found)


def _period_ms(metric: Fields) -> int | None:
    """The sampling period in DeviceMetric.measurementPeriod, or None."""
    timing = metric.object("measurementPeriod")
    repeat = timing and timing.object("repeat")
    if repeat is None:
        return None
    frequency, period = repeat.integer("frequency", 1, 1_000_000) or 1, plain(repeat.raw("period"))
    unit_ms = _UNIT_MS.get(repeat.text("periodUnit") or "")
    if unit_ms is None or isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period <= 1e6:
        raise invalid("measurementPeriod.repeat", "must have frequency, period and a periodUnit of s, min, h or d")
    found = Decimal(repr(period)) * unit_ms / frequency
    if found != found.to_integral_value():
        raise invalid("measurementPeriod.repeat", "must be a whole number of milliseconds")
    return int(found)
