"""Resources as a gateway that follows HL7's Personal Health Device guide uploads them, one of each kind."""

from __future__ import annotations

from typing import Any

import httpx

from ddr.fhir.negotiation import Format
from ddr.fhir.representation import parse, render
from tests.gateway.conftest import Client
from tests.gateway.samples import METHODS, TIME

Json = dict[str, Any]

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
MDC = "urn:iso:std:iso:11073:10101"
SYSTEM_IDS = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680"

METER, CGM, METRIC = (f"urn:uuid:00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
SERIES_START = "2026-11-22T08:00:00Z"


def coded(code: str, system: str = LOINC) -> Json:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def quantity(value: Any, unit: str) -> Json:
    """A Quantity in UCUM."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def device(system_id: str = "00-1C-05-04-00-00-78-25", specialization: str = "528401", **members: Any) -> Json:
    """A blood glucose meter."""
    return {
        "resourceType": "Device",
        "meta": {"profile": ["http://hl7.org/fhir/uv/phd/StructureDefinition/PhdDevice"]},
        "identifier": [{"type": coded("SYSID", "urn:x"), "system": SYSTEM_IDS, "value": system_id}],
        "manufacturer": "Glukko Inc.",
        "serialNumber": "SN123456",
        "deviceName": [{"name": "GlukkoCheck plus mg/dL", "type": "user-friendly-name"}],
        "type": coded("65573", MDC),
        "specialization": [{"systemType": coded(specialization, MDC), "version": "1"}],
        **members,
    }


def cgm(**members: Any) -> Json:
    """A continuous glucose monitor."""
    return device("00-1C-05-04-00-00-78-26", "528409", serialNumber="CGM1234567890", **members)


def phg() -> Json:
    """The gateway itself."""
    return {
        "resourceType": "Device",
        "meta": {"profile": ["http://hl7.org/fhir/uv/phd/StructureDefinition/PhgDevice"]},
        "identifier": [{"system": SYSTEM_IDS, "value": "4C-4E-49-12-34-56-FF-FF"}],
        "type": coded("531981", MDC),
    }


def metric(source: str = CGM, **members: Any) -> Json:
    """The sensor of the continuous glucose monitor."""
    return {
        "resourceType": "DeviceMetric",
        "type": coded("160212", MDC),
        "unit": coded("mg/dL", UCUM),
        "source": {"reference": source},
        "operationalStatus": "on",
        "category": "measurement",
        "measurementPeriod": {"repeat": {"frequency": 1, "period": 5, "periodUnit": "min"}},
        "calibration": [{"type": "offset", "state": "calibrated", "time": SERIES_START}],
        **members,
    }


def observation(code: str, made_with: str | None = METER, **members: Any) -> Json:
    """An Observation without value."""
    found = {
        "resourceType": "Observation",
        "status": "final",
        "code": coded(code),
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": TIME,
        **({"device": {"reference": made_with}} if made_with else {}),
        **members,
    }
    return {name: value for name, value in found.items() if value is not None}


def glucose(value: Any = 120, **members: Any) -> Json:
    """Blood glucose in mg/dL."""
    return observation("2339-0", valueQuantity=quantity(value, "mg/dL"), **members)


def pressure(**members: Any) -> Json:
    """Blood pressure, with the codes of the nomenclature beside LOINC or alone."""
    components = [
        {"code": coded("8480-6"), "valueQuantity": quantity(124, "mm[Hg]")},
        {"code": coded("150022", MDC), "valueQuantity": quantity(82, "mm[Hg]")},
    ]
    return observation("85354-9", **{"component": components, **members})


def fev1(**members: Any) -> Json:
    """A lung function reading."""
    return observation("20150-9", **{"valueQuantity": quantity(3.4, "L"), **members})


def reference_value(**members: Any) -> Json:
    """A lung function reference value in force."""
    return observation(
        "20149-1",
        None,
        effectiveDateTime=None,
        effectivePeriod={"start": "2025-05-01"},
        valueQuantity=quantity(4.5, "L"),
        method=coded("GLI-2022", METHODS),
        **members,
    )


def relative_value(reading: str, reference: str, **members: Any) -> Json:
    """A relative value, derived from two entries."""
    return observation(
        "20152-5",
        valueQuantity=quantity(75.5, "%"),
        derivedFrom=[{"reference": reading}, {"reference": reference}],
        **members,
    )


def series(data: str = "100 101 E 103", made_with: str = METRIC, **members: Any) -> Json:
    """Continuous glucose, one value per five minutes; members that are None are left out."""
    sampled = {"origin": quantity(0, "mg/dL"), "period": 300_000, "dimensions": 1, "data": data, **members}
    return observation(
        "99504-3",
        made_with,
        effectiveDateTime=None,
        effectivePeriod={"start": SERIES_START},
        valueSampledData={name: value for name, value in sampled.items() if value is not None},
    )


def bundle(*resources: Json | tuple[str, Json], kind: str = "batch") -> Json:
    """A Bundle of resources, those with a name under it."""
    entries = []
    for item in resources:
        name, resource = item if isinstance(item, tuple) else (None, item)
        entry = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
        entries.append(entry | ({"fullUrl": name} if name else {}))
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


async def send(client: Client, content: Json, fmt: Format = Format.JSON) -> httpx.Response:
    """Send a resource in one format and request the response in the same one."""
    headers = {"content-type": fmt.value, "accept": fmt.value}
    return await client.post(
        "/fhir", content=render(parse(render(content, Format.JSON), Format.JSON), fmt), headers=headers
    )


async def taken(client: Client, content: Json, fmt: Format = Format.JSON) -> list[Json]:
    """The responses to the entries of a Bundle that is accepted."""
    answer = await send(client, content, fmt)
    assert answer.status_code == 200, answer.text
    found = parse(answer.content, fmt)
    assert found["type"] == content["type"] + "-response"
    return [entry["response"] for entry in found.get("entry", [])]


def statuses(responses: list[Json]) -> list[str]:
    """The status of each response."""
    return [response["status"] for response in responses]


def reason(response: Json) -> str:
    """The code of the first issue of a response or an OperationOutcome."""
    outcome = response.get("outcome", response)
    found: str = outcome["issue"][0]["details"]["coding"][0]["code"]
    return found
