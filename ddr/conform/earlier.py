"""What an earlier run saw, stored in its JSON report: to compare two times, days apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ddr.conform.exchange import Json
from ddr.conform.target import TargetError, text_of

FORMAT = "ddr-conform-state-1"


@dataclass(frozen=True)
class Earlier:
    """Resources of that time, by the view's name and `<Type>/<id>`; `verdicts` by the check's name."""

    fhir_base: str
    seen_ms: int
    resources: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> Json:
        """The stored form: it contains health data of the test patient."""
        return {
            "format": FORMAT,
            "fhirBase": self.fhir_base,
            "seen": self.seen_ms,
            "resources": self.resources,
            "verdicts": self.verdicts,
        }


def read_earlier(file: Path) -> Earlier:
    """The state in the JSON report of an earlier run. Raises TargetError."""
    text = text_of(file)
    try:
        found = json.loads(text)["state"]
        if found.get("format") != FORMAT:
            raise TargetError(f"{file} is not a report of an earlier run")
        return Earlier(found["fhirBase"], found["seen"], found["resources"], found["verdicts"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TargetError(f"{file} is not a report of an earlier run") from None


def digest(resource: Json) -> str:
    """A digest of the content without version, time of change, and pairing (`subject` contains the Pairing ID)."""
    content = {key: value for key, value in resource.items() if key not in ("meta", "subject")}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _object(found: object) -> Json:
    """The object, or {}: whatever a recorder sent must not stop a run from writing its report."""
    return found if isinstance(found, dict) else {}


def remembered(resource: Json) -> Json:
    """What is stored of a resource."""
    meta = _object(resource.get("meta"))
    kept: Json = {
        "digest": digest(resource),
        "version": str(meta.get("versionId", "")),
        "updated": str(meta.get("lastUpdated", "")),
        "status": str(resource.get("status", "")),
    }
    if "effectivePeriod" in resource:
        kept["period"] = resource["effectivePeriod"]
    if "effectiveDateTime" in resource:
        kept["period"] = {"end": resource["effectiveDateTime"]}
    if "valueSampledData" in resource:
        data = _object(resource["valueSampledData"])
        kept["data"], kept["step"] = str(data.get("data", "")), str(data.get("period", ""))
    return kept
