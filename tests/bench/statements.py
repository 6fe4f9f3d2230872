"""The number of SQL statements of an Observation search with both includes, after a pairing's first reads."""

from __future__ import annotations

from dataclasses import replace

from tests.bench.figure import Figure, Goal
from tests.support.counting import counted
from tests.support.recorder import Recorder

MOST = 3  # the admission, the data, and the record of the request log, which requests that end together share
SEARCH = "Observation?_include=Observation:device&_include:iterate=DeviceMetric:source"


async def run(recorder: Recorder) -> list[Figure]:
    """Searches over real HTTP for a patient with a sensor. The first one of a pairing notes what it was let see."""
    terms = recorder.core.catalog.terms
    terms.update({url: replace(term, grace_seconds=0) for url, term in terms.items()})
    patient, diga = await recorder.patient(), await recorder.diga()
    await patient.gateway.put(
        "/devices/cgm", json={"serialNumber": "S", "name": "CGM", "manufacturer": "M", "type": "700585005"}
    )
    sensor = {"miv": "continuous-glucose-measurement", "code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000}
    await patient.gateway.put("/devices/cgm/sensors/glucose", json=sensor | {"calibration": {"state": "calibrated"}})
    tokens = await recorder.pair(diga, patient)
    headers = {"authorization": f"Bearer {tokens.access_token}"}
    search = f"{recorder.settings.fhir_base}/{SEARCH}"
    (await diga.http.get(search, headers=headers)).raise_for_status()
    async with counted(recorder.core.pool) as statements:
        (await diga.http.get(search, headers=headers)).raise_for_status()
    return [
        Figure(
            "statements_search",
            "SQL statements of a search with both includes",
            len(statements),
            "statements",
            target=Goal(most=MOST, promised=True),
        )
    ]
