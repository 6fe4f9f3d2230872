"""A chunk of a continuous series as FHIR Observation (HDDT measurement-cgm.md, retrieving-data.md)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ddr.fhir.instants import date_time
from ddr.fhir.references import ABSENT, ResourceIds, device_reference, meta
from ddr.miv.model import UCUM, MivCode, MivComponent
from ddr.series.status import NAMES, WITHDRAWN
from ddr.series.view import ChunkView


def _absent(code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": ABSENT, "code": code, "display": display}]}


# For a span of which nothing has arrived yet; never together with a value (FHIR obs-6).
TEMP_UNKNOWN = _absent("temp-unknown", "Temporarily Unknown")
# For a chunk whose readings moved to another series because a change of calibration became known late.
MOVED = _absent("error", "Error")


def chunk_resource(row: Mapping[str, Any], view: ChunkView, ids: ResourceIds, code: MivCode) -> dict[str, Any]:
    """The Observation of a chunk row joined with its epoch and sensor. It shares constants, so never change it."""
    epoch_no = row["epoch_no"]
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "id": ids.chunk(epoch_no, row["k"]),
        "meta": meta(view.version, view.updated_ms, code.profile),
        "status": view.status,
        "code": code_concept(code),
        "effectivePeriod": {"start": date_time(view.start_ms), "end": date_time(view.end_ms)},
    }
    if view.data:
        resource["valueSampledData"] = _sampled_data(row, view.data, code)
    else:
        resource["dataAbsentReason"] = MOVED if view.status == NAMES[WITHDRAWN] else TEMP_UNKNOWN
    if row["note"]:
        resource["note"] = [{"text": row["note"]}]
    if row["method"]:
        resource["method"] = row["method"]
    resource["device"] = device_reference(ids, epoch_no if row["calibrated_device"] else None, row["device_no"])
    return resource


@lru_cache(maxsize=256)
def code_concept(code: MivCode | MivComponent) -> dict[str, Any]:
    """Observation.code of a MIV code or of one of its components. Never change it."""
    return {"coding": [{"system": code.system, "code": code.code, "display": code.display}]}


@lru_cache(maxsize=256)
def _origin(unit: str, text: str) -> dict[str, Any]:
    return {"value": 0, "unit": text, "system": UCUM, "code": unit}


def _sampled_data(row: Mapping[str, Any], data: str, code: MivCode) -> dict[str, Any]:
    """SampledData with one value per sampling period, in the unit of measurement; L and U refer to the limits."""
    found: dict[str, Any] = {"origin": _origin(row["unit"], code.unit_text or row["unit"]), "period": row["period_ms"]}
    if row["lower_limit"] is not None:
        found["lowerLimit"] = row["lower_limit"]
    if row["upper_limit"] is not None:
        found["upperLimit"] = row["upper_limit"]
    found["dimensions"] = 1
    found["data"] = data
    return found
