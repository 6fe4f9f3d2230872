"""How many SQL statements an Observation search with both includes takes once the token is known."""

from __future__ import annotations

from tests.bench.table import Row
from tests.support.counting import counted
from tests.support.recorder import Recorder

MOST = 2
SEARCH = "Observation?_include=Observation:device&_include:iterate=DeviceMetric:source"


async def run(recorder: Recorder) -> list[Row]:
    """One search over real HTTP for a patient with a sensor."""
    patient, diga = await recorder.patient(), await recorder.diga()
    await patient.gateway.put(
        "/devices/cgm", json={"serialNumber": "S", "name": "CGM", "manufacturer": "M", "type": "700585005"}
    )
    sensor = {"miv": "continuous-glucose-measurement", "code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000}
    await patient.gateway.put("/devices/cgm/sensors/glucose", json=sensor | {"calibration": {"state": "calibrated"}})
    tokens = await recorder.pair(diga, patient)
    headers = {"authorization": f"Bearer {tokens.access_token}"}
    async with counted(recorder.core.pool) as statements:
        (await diga.http.get(f"{recorder.settings.fhir_base}/{SEARCH}", headers=headers)).raise_for_status()
    return [
        Row(
            "SQL statements of a search with both includes",
            str(len(statements)),
            f"at most {MOST}",
            len(statements) <= MOST,
        )
    ]
