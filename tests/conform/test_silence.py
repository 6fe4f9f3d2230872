"""A sensor that has expired, with values long past, is not active; a replaced one has an earlier life."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from ddr.conform.run import run
from ddr.conform.verdict import Verdict
from tests.conform.test_endings import CHECKS, FHIR, bundle, check, kit

NOW = datetime.now(UTC).replace(microsecond=0)


def at(days: float) -> str:
    return (NOW + timedelta(days=days)).isoformat()


def chunk(name: str, metric: str, ends: float) -> dict[str, Any]:
    """An hour of values up to this many days from now."""
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "99504-3"}]},
        "device": {"reference": f"DeviceMetric/{metric}"},
        "effectivePeriod": {"start": at(ends - 1 / 24), "end": at(ends)},
        "valueSampledData": {"period": 300_000, "dimensions": 1, "data": " ".join(["100"] * 13)},
    }


@pytest.mark.parametrize(
    ("status", "expires", "values", "verdict"),
    [
        ("active", -3, (-4,), Verdict.FAILED),
        ("unknown", -3, (-4,), Verdict.PASSED),
        ("inactive", -3, (-4,), Verdict.PASSED),
        ("active", 3, (-4,), Verdict.PERSON),
        ("active", -3, (-4, 0), Verdict.PASSED),  # a former calibration, and values of now
        ("unknown", 3, (-4, 0), Verdict.FAILED),
    ],
)
def test_a_device_is_active_as_long_as_it_measures(
    status: str, expires: float, values: tuple[float, ...], verdict: Verdict
) -> None:
    device = {"resourceType": "Device", "id": "d", "status": status, "expirationDate": at(expires)}
    names = [str(number) for number in range(len(values))]
    metrics = [{"resourceType": "DeviceMetric", "id": one, "source": {"reference": "Device/d"}} for one in names]
    chunks = [chunk(name, name, ends) for name, ends in zip(names, values, strict=True)]
    found = bundle(*chunks, *metrics, device)
    for entry in found["entry"]:
        included = entry["resource"]["resourceType"] != "Observation"
        entry["search"] = {"mode": "include" if included else "match"}
    look = kit(lambda _: httpx.Response(200, headers=FHIR, content=json.dumps(found)))
    look.now_ms = lambda: int(NOW.timestamp() * 1000)
    (result,) = run(look, [check(CHECKS["silent-devices-are-unknown"].run)])
    assert result.verdict is verdict, result.text
