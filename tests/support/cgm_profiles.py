"""The HL7 CGM 1.0.0 profiles of the summary, written by hand from the published rules, for HAPI's validator.

They are not among the specification's artifacts, and without them the validator cannot read hddt-cgm-summary, either.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]

BASE = "http://hl7.org/fhir/uv/cgm/StructureDefinition/"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"

# profile → its LOINC code and, for those with a value, its least number of occurrences, unit text and UCUM code
MEMBERS: dict[str, tuple[str, tuple[int, str, str] | None]] = {
    "cgm-summary-mean-glucose-mass-per-volume": ("97507-8", (0, "mg/dl", "mg/dL")),
    "cgm-summary-mean-glucose-moles-per-volume": ("105273-7", (0, "mmol/l", "mmol/L")),
    "cgm-summary-times-in-ranges": ("106793-3", None),
    "cgm-summary-gmi": ("97506-0", (1, "%", "%")),
    "cgm-summary-coefficient-of-variation": ("104638-2", (1, "%", "%")),
    "cgm-summary-days-of-wear": ("104636-6", (1, "days", "d")),
    "cgm-summary-sensor-active-percentage": ("104637-4", (1, "%", "%")),
}
RANGES = ("104642-4", "104641-6", "97510-2", "104640-8", "104639-0")


def write_cgm_profiles(folder: Path) -> Path:
    """Write one file per profile into `folder`; returns the folder."""
    for name, code, special in _profiles():
        elements = [{"id": "Observation", "path": "Observation"}, *_common(code), *special]
        content = {
            "resourceType": "StructureDefinition",
            "id": name,
            "url": BASE + name,
            "version": "1.0.0",
            "name": name.title().replace("-", ""),
            "status": "active",
            "fhirVersion": "4.0.1",
            "kind": "resource",
            "abstract": False,
            "type": "Observation",
            "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
            "derivation": "constraint",
            "differential": {"element": elements},
        }
        (folder / f"StructureDefinition-{name}.json").write_bytes(orjson.dumps(content))
    return folder


def _profiles() -> Iterator[tuple[str, str, list[Json]]]:
    yield "cgm-summary", "107931-8", list(_members())
    for name, (code, value) in MEMBERS.items():
        yield name, code, list(_ranges()) if value is None else [_quantity("Observation.value[x]", *value)]


def _common(code: str) -> Iterator[Json]:
    yield _element("Observation.code", patternCodeableConcept=_concept(code))
    yield _element("Observation.subject", min=1)
    yield _element("Observation.effective[x]", min=1, type=[{"code": "Period"}])
    yield _element("Observation.effective[x].start", min=1)
    yield _element("Observation.effective[x].end", min=1)


def _members() -> Iterator[Json]:
    path = "Observation.hasMember"
    yield _element(path, min=6, slicing=_slicing("resolve().code"))
    for name, (_, value) in MEMBERS.items():
        least = 0 if value and value[0] == 0 else 1
        target = [{"code": "Reference", "targetProfile": [BASE + name]}]
        yield _element(path, _slice(name), min=least, max="1", type=target)


def _ranges() -> Iterator[Json]:
    path = "Observation.component"
    yield _element(path, min=5, slicing=_slicing("code"))
    for number, code in enumerate(RANGES):
        name = f"range{number}"
        yield _element(path, name, min=1, max="1")
        yield _element(f"{path}.code", name, patternCodeableConcept=_concept(code))
        yield _quantity(f"{path}.value[x]", 1, "%", "%", name)


def _element(path: str, part: str | None = None, **rules: Any) -> Json:
    """One element; `part` is its slice."""
    if part is None:
        return {"id": path, "path": path, **rules}
    head, *rest = path.split(".", 2)[1:]
    name = {} if rest else {"sliceName": part}
    return {"id": ".".join(["Observation", f"{head}:{part}", *rest]), "path": path, **name, **rules}


def _quantity(path: str, least: int, unit: str, code: str, part: str | None = None) -> Json:
    pattern = {"unit": unit, "system": UCUM, "code": code}
    return _element(path, part, min=least, type=[{"code": "Quantity"}], patternQuantity=pattern)


def _slicing(path: str) -> Json:
    return {"discriminator": [{"type": "value", "path": path}], "rules": "open"}


def _slice(profile: str) -> str:
    return profile.removeprefix("cgm-summary-").replace("-", "")


def _concept(code: str) -> Json:
    return {"coding": [{"system": LOINC, "code": code}]}
