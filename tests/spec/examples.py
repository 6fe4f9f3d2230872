"""What a gateway would have to send for the recorder to serve an example of the specification.

The examples are not part of this repository; DDR_HDDT_ARTIFACTS names their folder.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tests.spec.world import HIIS, MINUTE, Json

_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}")
LONG_AGO = "2025-01-01T00:00:00Z"


def folder() -> Path:
    """The artifacts of the specification."""
    return Path(os.environ["DDR_HDDT_ARTIFACTS"])


@dataclass(frozen=True)
class Examples:
    """The examples with all their dates moved by this many days."""

    days: int = 0

    @classmethod
    def moved(cls, reference: str, to: date) -> Examples:
        """All examples, moved so that this one begins on the day `to`."""
        found = cls().load(reference)
        begins = found.get("effectiveDateTime") or found["effectivePeriod"]["start"]
        return cls((to - date.fromisoformat(begins[:10])).days)

    def load(self, reference: str) -> Json:
        """The example that a relative reference names."""
        text = (folder() / f"{reference.replace('/', '-')}.json").read_text()
        found: Json = json.loads(_DATE.sub(self._move, text))
        return found

    def origin(self, observation: Json) -> tuple[Json, Json | None]:
        """The Device behind an Observation, and its DeviceMetric if the Observation refers to one."""
        found = self.load(observation["device"]["reference"])
        if found["resourceType"] == "Device":
            return found, None
        return self.load(found["source"]["reference"]), found

    def _move(self, match: re.Match[str]) -> str:
        return (date.fromisoformat(match[0]) + timedelta(self.days)).isoformat()


def device(example: Json) -> Json:
    """The registration of a device."""
    members = {name: example[name] for name in ("manufacturer", "modelNumber", "serialNumber")}
    expiration = {"expirationDate": example["expirationDate"]} if "expirationDate" in example else {}
    return {
        **members,
        **expiration,
        "name": example["deviceName"][0]["name"],
        "type": example["type"]["coding"][0]["code"],
        "definition": HIIS + example["definition"]["reference"].rpartition("/")[2],
        "startedAt": LONG_AGO,
    }


def sensor(metric: Json, observation: Json) -> Json:
    """The registration of the sensor that has measured `observation`."""
    fixed = ("type", "operationalStatus", "category", "measurementPeriod")
    unit = metric["unit"]["coding"][0]["code"]
    return {
        "code": observation["code"]["coding"][0]["code"],
        "unit": unit,
        "displayUnit": unit,
        "metric": {name: metric[name] for name in fixed if name in metric},
        "calibration": metric["calibration"][0],
        **(_series(observation) if "effectivePeriod" in observation else {}),
    }


def _series(observation: Json) -> Json:
    sampled = observation.get("valueSampledData", {})
    limits = {"lower": sampled.get("lowerLimit"), "upper": sampled.get("upperLimit")}
    members: Json = {
        "samplingPeriodMs": step(observation),
        "limits": {name: limit for name, limit in limits.items() if limit is not None} or None,
        "method": observation.get("method"),
        "note": observation["note"][0]["text"],
        "startedAt": observation["effectivePeriod"]["start"],
    }
    return {name: value for name, value in members.items() if value is not None}


def step(observation: Json) -> int:
    """Milliseconds between readings of a series; the example without data does not state them otherwise."""
    found: int = observation.get("valueSampledData", {}).get("period", MINUTE)
    return found


def values(observation: Json) -> list[float | str]:
    """The readings of a series, in order."""
    texts = observation.get("valueSampledData", {}).get("data", "").split()
    return [text if text in {"L", "U", "E"} else float(text) for text in texts]


def measurement(observation: Json) -> Json:
    """A single measurement without its device, sensor and sources."""
    effective = observation.get("effectiveDateTime") or observation["effectivePeriod"]
    found: Json = {"code": observation["code"]["coding"][0]["code"], "effective": effective}
    found |= {name: observation[name] for name in ("interpretation", "method", "status") if name in observation}
    if "component" in observation:
        return found | {"components": [_value(part) for part in observation["component"]]}
    return found | _quantity(observation)


def _value(component: Json) -> Json:
    return {"code": component["code"]["coding"][0]["code"], **_quantity(component)}


def _quantity(part: dict[str, Any]) -> Json:
    quantity = part["valueQuantity"]
    comparator = {"comparator": quantity["comparator"]} if "comparator" in quantity else {}
    return {"value": quantity["value"], "unit": quantity["code"], **comparator}
