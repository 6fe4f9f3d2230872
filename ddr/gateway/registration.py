"""What a gateway says about a sensor, checked against the MIV of its code. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ddr.gateway.concepts import concept, measurement_period
from ddr.gateway.fields import Fields, Number, decimal, decimals_of, given
from ddr.gateway.problem import invalid
from ddr.miv.model import LOINC, Miv, MivCatalog, MivCode
from ddr.series.grid import grid_problem
from ddr.series.packing import LARGEST
from ddr.settings import DAY, Settings
from ddr.store.database.pool import Row

# FHIR R4 metric-category, metric-operational-status, metric-calibration-state and metric-calibration-type.
CATEGORIES = ("measurement", "setting", "calculation", "unspecified")
OPERATIONAL = ("on", "off", "standby", "entered-in-error")
STATES = ("not-calibrated", "calibration-required", "calibrated", "unspecified")
TYPES = ("unspecified", "offset", "gain", "two-point")

MAX_DECIMALS = 2


@dataclass(frozen=True)
class Registration:
    """A sensor as the gateway described it.

    `facts` are the members that may not change, by their JSON names; None where the gateway did not say.
    """

    miv: Miv
    facts: dict[str, Any]
    span_ms: int
    default_buffering_ms: int
    display_unit: str | None
    started_ms: int | None
    ended_ms: int | None

    def columns(self, device: Row) -> dict[str, Any]:
        """The columns of the table sensor; what the gateway did not say comes from its device or the settings."""
        facts = self.facts
        buffering = facts["bufferingSeconds"]
        return {
            "miv_url": self.miv.valueset,
            "code_system": facts["codeSystem"],
            "code": facts["code"],
            "unit": facts["unit"],
            "continuous": self.miv.continuous,
            "calibrated_device": facts["calibration"] is not None,
            "registration": facts,
            "metric": facts["metric"],
            "method": facts["method"],
            "note": facts["note"],
            "period_ms": facts["samplingPeriodMs"],
            "decimals": facts["decimals"] or 0,
            **self.limit_columns(),
            "span_ms": self.span_ms if self.miv.continuous else None,
            "buffering_ms": self.default_buffering_ms if buffering is None else buffering * 1000,
            "started_ms": device["started_ms"] if self.started_ms is None else self.started_ms,
        }

    def limit_columns(self) -> dict[str, Any]:
        """The columns of its limits."""
        limits = self.facts["limits"] or {}
        return {f"{side}_limit": decimal(limits[side]) if side in limits else None for side in ("lower", "upper")}

    def first_epoch(self, from_ms: int) -> dict[str, Any]:
        """The columns of the first epoch."""
        calibration = self.facts["calibration"] or {}
        return {
            "from_ms": from_ms,
            "until_ms": None,
            "calibration_state": calibration.get("state"),
            "calibration_type": calibration.get("type"),
            "calibration_time": calibration.get("time"),
            "display_unit": self.display_unit,
        }


def parse_sensor(body: Any, catalog: MivCatalog, settings: Settings, now_ms: int) -> Registration:
    """The registration in `body`. Raises Problem 422.

    The code determines the MIV, and thus the unit and whether the sensor is continuous.
    """
    fields, latest_ms = Fields(body), now_ms + settings.gateway_future_seconds * 1000
    miv, code = parse_code(fields, catalog)
    span_ms = settings.chunk_span_seconds * 1000
    first = fields.object("calibration")
    facts = {
        "codeSystem": code.system,
        "code": code.code,
        "unit": _unit(fields, code),
        **_sampling(fields, miv, span_ms),
        "metric": _metric(fields.object("metric")),
        "calibration": None if first is None else parse_calibration(first, latest_ms),
    }
    registration = Registration(
        miv=miv,
        facts=facts,
        span_ms=span_ms,
        default_buffering_ms=settings.buffering_seconds * 1000,
        display_unit=fields.choice("displayUnit", _units(miv)),
        started_ms=fields.instant("startedAt", latest_ms),
        ended_ms=fields.instant("endedAt", latest_ms),
    )
    fields.done()
    return registration


def parse_code(fields: Fields, catalog: MivCatalog) -> tuple[Miv, MivCode]:
    """The MIV and the code of a request: `code`, `codeSystem` (LOINC if absent), and `miv` as a check (OBS-020).

    Raises Problem 422.
    """
    system = fields.uri("codeSystem") or LOINC
    code = fields.need("code", fields.text)
    found = catalog.code(system, code)
    if found is None:
        raise invalid(fields.at("code"), "is not in any ValueSet of the supported MIVs", "unknown-code")
    name = fields.text("miv")
    if name not in {None, found[0].name}:
        raise invalid(fields.at("miv"), f"does not match: the code belongs to {found[0].name}", "unknown-code")
    return found


def _unit(fields: Fields, code: MivCode) -> str:
    """The unit, which the code prescribes (BG-005, CGM-005, LF-006, BP-006)."""
    unit = fields.need("unit", fields.text)
    expected = {code.unit} if code.unit else {part.unit for part in code.components}
    if unit not in expected:
        raise invalid(fields.at("unit"), f"must be {' or '.join(sorted(expected))} for this code", "unit")
    return unit


def _units(miv: Miv) -> set[str]:
    return {code.unit for code in miv.codes if code.unit} | {p.unit for code in miv.codes for p in code.components}


def _sampling(fields: Fields, miv: Miv, span_ms: int) -> dict[str, Any]:
    """What only a continuous sensor has; these members are refused for others."""
    names = ("samplingPeriodMs", "decimals", "limits", "bufferingSeconds", "method", "note")
    if not miv.continuous:
        for name in names:
            if fields.raw(name) is not None:
                raise invalid(fields.at(name), "is allowed for continuous measurements only")
        return dict.fromkeys(names)
    decimals = fields.integer("decimals", 0, MAX_DECIMALS)
    return {
        "samplingPeriodMs": _period(fields, span_ms),
        "decimals": decimals,
        "limits": _limits(fields.object("limits"), decimals or 0),
        "bufferingSeconds": fields.integer("bufferingSeconds", 0, 366 * DAY),
        "method": concept(fields.object("method")),
        "note": fields.note("note"),
    }


def _period(fields: Fields, span_ms: int) -> int:
    period = fields.need("samplingPeriodMs", lambda name: fields.integer(name, 1, span_ms))
    if problem := grid_problem(period, span_ms):
        raise invalid(fields.at("samplingPeriodMs"), f"does not fit the chunk span of {span_ms} ms: {problem}")
    return period


def _limits(fields: Fields | None, decimals: int) -> dict[str, Number] | None:
    """The sensor's range: values outside it are shown as "L" and "U" (CGM-008, CGM-009)."""
    if fields is None:
        return None
    limits = given({name: fields.number(name) for name in ("lower", "upper")})
    fields.done()
    for name, value in limits.items():
        if decimals_of(value) > decimals or abs(value) * 10**decimals > LARGEST:
            most = decimal(LARGEST).scaleb(-decimals)
            raise invalid(fields.at(name), f"must be at most {most} with at most {decimals} decimals, like the values")
    if not limits or ("lower" in limits and "upper" in limits and limits["lower"] >= limits["upper"]):
        raise invalid(fields.where, "must have a lower limit below the upper one, or only one of the two")
    return limits


def _metric(fields: Fields | None) -> dict[str, Any]:
    """The constant parts of a DeviceMetric, in FHIR's form; ddr/fhir/device_metric.py completes them."""
    if fields is None:
        return {}
    found = {
        "type": concept(fields.object("type")),
        "operationalStatus": fields.choice("operationalStatus", OPERATIONAL),
        "category": fields.choice("category", CATEGORIES),
        "measurementPeriod": measurement_period(fields.object("measurementPeriod")),
    }
    fields.done()
    return given(found)


def parse_calibration(fields: Fields, latest_ms: int | None = None) -> dict[str, str]:
    """The calibration at the start; its presence makes observations refer to the DeviceMetric (OBS-023, DEV-031).

    Raises Problem 422.
    """
    fields.instant("time", latest_ms)
    found = {
        "state": fields.need("state", lambda name: fields.choice(name, STATES)),
        "type": fields.choice("type", TYPES),
        "time": fields.instant_text("time"),
    }
    fields.done()
    return given(found)
