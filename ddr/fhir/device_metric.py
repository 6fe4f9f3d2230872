"""A sensor in one calibration state as FHIR DeviceMetric (HDDT fhir-api-devicemetric.md)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ddr.fhir.device_types import metric_type
from ddr.fhir.references import PROFILES, ResourceIds, meta, unit_concept

PROFILE = PROFILES + "hddt-sensor-type-and-calibration-status"


def device_metric_resource(row: Mapping[str, Any], ids: ResourceIds) -> dict[str, Any]:
    """The DeviceMetric of an epoch joined with its sensor; version and time of change have the prefix `epoch_`.

    `metric` contains what the gateway said about the sensor in FHIR form; what it omitted follows from the sensor.
    """
    metric = row["metric"]
    resource: dict[str, Any] = {
        "resourceType": "DeviceMetric",
        "id": ids.metric(row["epoch_no"]),
        "meta": meta(row["epoch_version"], row["epoch_updated_ms"], PROFILE),
        "type": metric.get("type") or metric_type(row["code_system"], row["code"]),
        "unit": unit_concept(row["display_unit"] or row["unit"]),
        "source": {"reference": f"Device/{ids.device(row['device_no'])}"},
        "operationalStatus": "entered-in-error" if row.get("withdrawn") else metric.get("operationalStatus", "on"),
        "category": metric.get("category", "measurement"),
    }
    if period := metric.get("measurementPeriod") or _sampling(row["period_ms"]):
        resource["measurementPeriod"] = period
    if row["calibration_state"]:
        resource["calibration"] = [_calibration(row)]
    return resource


def _calibration(row: Mapping[str, Any]) -> dict[str, str]:
    parts = {"type": row["calibration_type"], "state": row["calibration_state"], "time": row["calibration_time"]}
    return {name: value for name, value in parts.items() if value}


def _sampling(period_ms: int | None) -> dict[str, Any] | None:
    """One measurement per sampling period as Timing, in minutes if these are whole."""
    if not period_ms:
        return None
    minutes, rest = divmod(period_ms, 60_000)
    if rest == 0:
        return {"repeat": {"frequency": 1, "period": minutes, "periodUnit": "min"}}
    return {"repeat": {"frequency": 1, "period": Decimal(period_ms) / 1000, "periodUnit": "s"}}
