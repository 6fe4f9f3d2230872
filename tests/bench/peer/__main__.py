"""`python -m tests.bench.peer BASE PID [DATABASE_PID …]`: the searches of tests.bench.serving on another FHIR server.

BASE is its FHIR base URL over plain HTTP without authorisation (a peer does less than the recorder: no TLS, no token,
no consent, no audit trail, no Grace-Period), PID its process, DATABASE_PID the sessions of its database. The server
gets ten patients with a Device, a DeviceMetric and 30 chunks of a day each. docs/performance.md says how to run HAPI
FHIR for it.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import psutil

from ddr.fhir.instants import date_time
from tests.bench.load import Target, load
from tests.bench.turns import seconds

PATIENTS, DAYS, SLOTS = 10, 30, 288
DAY_MS, START = 86_400_000, 1_795_000_000_000
WARM_SECONDS = 20.0  # a JVM compiles what is used often
INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"

Resource = dict[str, Any]


async def main(base: str, server: psutil.Process, sessions: Sequence[psutil.Process]) -> None:
    """Fill the server, then put load on it."""
    async with httpx.AsyncClient(timeout=300) as http:
        for number in range(PATIENTS):
            (await http.post(base, json=_transaction(number))).raise_for_status()
    searches = [f"{base}/Observation?subject=Patient/p{number}&{INCLUDES}" for number in range(PATIENTS)]
    for name, urls in {
        "Observation read": [f"{base}/Observation/p{number}-c{DAYS - 1}" for number in range(PATIENTS)],
        "search: newest chunk, both includes": [f"{url}&_sort=-date&_count=1" for url in searches],
        "search: 30 days, both includes": [f"{url}&_count=200" for url in searches],
        "the same as XML": [f"{url}&_count=200&_format=xml" for url in searches],
    }.items():
        targets = [Target(url) for url in urls]
        await load(targets, None, WARM_SECONDS)
        before, database_before = seconds(server), sum(map(seconds, sessions))
        rate = await load(targets, None)
        cpu, database = seconds(server) - before, sum(map(seconds, sessions)) - database_before
        each = 1e6 / rate.requests
        print(f"{name:40} {rate}, CPU: server {cpu * each:,.0f} us, database {database * each:,.0f} us")


def _transaction(number: int) -> Resource:
    """Everything of one patient, under ids of ours, so that a repetition changes nothing but versions."""
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in _resources(f"p{number}")
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _resources(patient: str) -> Iterator[Resource]:
    chance = random.Random(patient)
    ucum, unit = "http://unitsofmeasure.org", "mg/dL"
    yield {"resourceType": "Patient", "id": patient}
    yield {"resourceType": "Device", "id": f"{patient}-d", "status": "active", "serialNumber": patient}
    yield {
        "resourceType": "DeviceMetric",
        "id": f"{patient}-m",
        "type": {"coding": [{"system": "http://loinc.org", "code": "99504-3"}]},
        "unit": {"coding": [{"system": ucum, "code": unit}]},
        "source": {"reference": f"Device/{patient}-d"},
        "category": "measurement",
    }
    for day in range(DAYS):
        start = START + day * DAY_MS
        yield {
            "resourceType": "Observation",
            "id": f"{patient}-c{day}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "99504-3"}]},
            "subject": {"reference": f"Patient/{patient}"},
            "effectivePeriod": {"start": date_time(start), "end": date_time(start + DAY_MS - 1000)},
            "device": {"reference": f"DeviceMetric/{patient}-m"},
            "valueSampledData": {
                "origin": {"value": 0, "unit": unit, "system": ucum, "code": unit},
                "period": DAY_MS // SLOTS,
                "dimensions": 1,
                "data": " ".join(str(chance.randint(60, 250)) for _ in range(SLOTS)),
            },
        }


if __name__ == "__main__":
    own, *others = (psutil.Process(int(pid)) for pid in sys.argv[2:])
    asyncio.run(main(sys.argv[1].rstrip("/"), own, others))
