"""Shared by black-box tests: a patient's devices with data of every MIV, and a DiGA's backend that reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from ddr.demo.diga_client import Tokens
from ddr.fhir.instants import date_time
from tests.support.recorder import Patient, Recorder, TestDiga

Json = dict[str, Any]

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BG, BP = "blood-glucose-measurement", "blood-pressure-value"
CGM, LF = "continuous-glucose-measurement", "lung-function-testing"
METHODS = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-reference-value-method-codes"
HIIS = "https://hiis.bfarm.de/api/fhir/v3.0/DeviceDefinition/"
WORN_DAYS = 10
HISTORY = 2  # days of readings that `Home.furnish` sends


@dataclass
class Home:
    """A patient's devices, as their gateway app knows them; instants in milliseconds."""

    ddr: Recorder
    patient: Patient
    ids: dict[str, str] = field(default_factory=dict)  # key of a device or measurement → logical id

    async def device(self, key: str, **members: Any) -> str:
        """Register a device, in use for 40 days, or change it; its logical id."""
        body = {
            "serialNumber": f"SN-{key}",
            "name": f"Device {key}",
            "manufacturer": "Muster Medizintechnik AG",
            "startedAt": self.ago(40 * DAY),
            **members,
        }
        self.ids[key] = (await self._send("PUT", f"devices/{key}", body))["id"]
        return self.ids[key]

    async def sensor(self, device: str, code: str, unit: str, key: str = "s", **members: Any) -> str:
        """Register a sensor of a device, or change it; the logical id of its DeviceMetric."""
        body = {"code": code, "unit": unit, **members}
        found: str = (await self._send("PUT", f"devices/{device}/sensors/{key}", body))["metricId"]
        return found

    async def cgm(self, device: str, started_ms: int, state: str | None = "calibrated", **members: Any) -> str:
        """A CGM sensor of a device, in mg/dL, one reading every five minutes; the logical id of its DeviceMetric."""
        calibration = {} if state is None else {"calibration": {"state": state, "time": date_time(started_ms)}}
        fixed = {
            "code": "99504-3",
            "unit": "mg/dL",
            "samplingPeriodMs": 5 * MINUTE,
            "limits": {"lower": 40, "upper": 400},
            "startedAt": date_time(started_ms),
        }
        return await self.sensor(device, **{**fixed, **calibration, **members})

    async def readings(self, device: str, from_ms: int, values: Sequence[float | str], key: str = "s") -> Json:
        """Readings in mg/dL, one every five minutes from `from_ms` on; the gateway API's response."""
        readings = [
            {"time": date_time(from_ms + number * 5 * MINUTE), "value": value} for number, value in enumerate(values)
        ]
        path = f"devices/{device}/sensors/{key}/readings"
        return await self._send("POST", path, {"unit": "mg/dL", "readings": readings})

    async def measure(self, key: str, **members: Any) -> str:
        """Send or correct a measurement; its logical id."""
        self.ids[key] = (await self._send("PUT", f"measurements/{key}", members))["id"]
        return self.ids[key]

    async def unfit(self, **members: Any) -> str:
        """The member because of which the gateway API refuses a measurement."""
        response = await self.patient.gateway.put("measurements/unfit", json=members)
        assert response.status_code == 422, response.text
        found: str = response.json()["field"]
        return found

    async def glucose(self, key: str, at_ms: int, value: float = 120, device: str = "meter", **members: Any) -> str:
        """Blood glucose in mg/dL; its logical id."""
        fixed = {"code": "2339-0", "unit": "mg/dL", "value": value, "device": device, "effective": date_time(at_ms)}
        return await self.measure(key, **{**fixed, **members})

    async def pressure(self, key: str, at_ms: int, systolic: float = 124, diastolic: float = 82) -> str:
        """Blood pressure without mean; its logical id."""
        pairs = (("8480-6", systolic), ("8462-4", diastolic))
        components = [{"code": code, "value": value, "unit": "mm[Hg]"} for code, value in pairs]
        return await self.measure(key, code="85354-9", device="cuff", effective=date_time(at_ms), components=components)

    async def strips(self) -> None:
        """A meter "strips" that needs calibration, with a value: the second DeviceMetric of a furnished home."""
        now_ms = self.ddr.clock()
        await self.device("strips", type="337414009")
        self.ids["strips-metric"] = await self.sensor("strips", "2339-0", "mg/dL", calibration={"state": "calibrated"})
        await self.glucose("bg-strips", now_ms - 2 * HOUR, device="strips", sensor="s")

    async def erase(self, key: str) -> None:
        """Delete a measurement that was sent by mistake."""
        response = await self.patient.gateway.delete(f"measurements/{key}")
        assert response.status_code == 204, response.text

    def ago(self, ms: int) -> str:
        """The instant this long ago."""
        return date_time(self.ddr.clock() - ms)

    async def furnish(self) -> Home:
        """Devices and data of all four MIVs within the last two days.

        Devices: meter, cuff, spirometer (no DeviceMetric) and cgm. Measurements by key: bg-old, bg-new, bg-mmol, bp,
        fev1, pef, reference, relative. Readings: chunks of two days, the last one not full.
        """
        now_ms = self.ddr.clock()
        await self.device("meter", name="GlucoCheck", type="337414009", modelNumber="GC-1")
        await self.device("cuff", name="Tonometer", type="70665002", manufacturer="Äskulap GmbH")
        await self.device("spirometer", name="Peak", type="334990001")
        await self.glucose("bg-old", now_ms - 30 * HOUR, 98)
        await self.glucose("bg-new", now_ms - 3 * HOUR, 143)
        await self.glucose("bg-mmol", now_ms - 9 * HOUR, 5.5, code="15074-8", unit="mmol/L")
        await self.pressure("bp", now_ms - 5 * HOUR)
        await self.lung(now_ms - 4 * HOUR)
        await self.rtcgm(now_ms)
        return self

    async def lung(self, at_ms: int) -> None:
        """Peak flow, and FEV1 with reference value and relative value."""
        common = {"device": "spirometer", "effective": date_time(at_ms)}
        method = {"coding": [{"system": METHODS, "code": "GLI-2022"}]}
        period = {"start": date_time(at_ms - 100 * DAY)}
        await self.measure("pef", code="19935-6", value=612, unit="L/min", **common)
        await self.measure("fev1", code="20150-9", value=3.4, unit="L", **common)
        await self.measure("reference", code="20149-1", value=4.5, unit="L", method=method, effective=period)
        await self.measure(
            "relative", code="20152-5", value=75.5, unit="%", derivedFrom=["fev1", "reference"], **common
        )

    async def rtcgm(self, now_ms: int, key: str = "cgm") -> None:
        """A worn CGM sensor with readings of one and a half days, up to now."""
        started_ms = now_ms - HISTORY * DAY + 12 * HOUR
        ends_ms = started_ms + WORN_DAYS * DAY
        await self.device(
            key,
            name="GlucoSense rt",
            type="701750003",
            startedAt=date_time(started_ms),
            expirationDate=date_time(ends_ms),
            definition=HIIS + "cgm-001",
        )
        self.ids["metric"] = await self.cgm(key, started_ms)
        slots = (now_ms - started_ms) // (5 * MINUTE)
        await self.readings(key, started_ms, [100 + slot % 80 for slot in range(slots + 1)])

    async def _send(self, method: str, path: str, body: Json) -> Json:
        response = await self.patient.gateway.request(method, path, json=body)
        assert response.status_code in (200, 201), response.text
        answer: Json = response.json()
        assert not answer.get("rejected"), answer
        return answer


@dataclass
class Reader:
    """A DiGA paired with a patient; renews its access token before it expires."""

    ddr: Recorder
    diga: TestDiga
    tokens: Tokens
    renewed_ms: int

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """GET below the FHIR base (or an absolute URL) with the token, in JSON unless `accept` is given."""
        return await self.send("GET", path, headers)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """POST below the FHIR base with the token; `options` are those of httpx (data, content, headers)."""
        return await self.send("POST", path, options.pop("headers", {}), **options)

    async def send(self, method: str, path: str, headers: Any = (), **options: Any) -> httpx.Response:
        """Any request with the token; `headers` override Authorization and Accept."""
        now_ms = self.ddr.clock()
        if abs(now_ms - self.renewed_ms) > 5 * MINUTE:  # tests may also set the clock back
            self.tokens = await self.diga.client.refresh(self.tokens)
            self.renewed_ms = now_ms
        url = path if path.startswith("https://") else f"{self.diga.client.fhir_base}/{path}"
        fields = {"authorization": f"Bearer {self.tokens.access_token}", "accept": "application/fhir+json"}
        return await self.diga.http.request(method, url, headers={**fields, **dict(headers)}, **options)

    async def search(self, path: str) -> Json:
        """The searchset of a search that succeeds."""
        return searchset(await self.get(path))

    async def read(self, path: str) -> Json:
        """The resource of a read or vread that succeeds."""
        response = await self.get(path)
        assert response.status_code == 200, response.text
        found: Json = response.json()
        return found

    async def ids(self, path: str) -> list[str]:
        """The logical ids of the matches of a search, in order; one page."""
        return [resource["id"] for resource in entries(await self.search(path))]

    async def pages(self, path: str) -> list[Json]:
        """The searchsets of all pages."""
        bundles = [await self.search(path)]
        while url := link(bundles[-1], "next"):
            bundles.append(await self.search(url))
        return bundles


@dataclass(frozen=True)
class Scene:
    """A furnished home and a DiGA that may read all of it."""

    home: Home
    reader: Reader


async def furnished(ddr: Recorder) -> Scene:
    """A new patient with devices and data of every MIV, and a new DiGA paired for all of them."""
    home = await Home(ddr, await ddr.patient()).furnish()
    return Scene(home, await paired(ddr, home.patient))


async def paired(ddr: Recorder, patient: Patient, *mivs: str, diga: TestDiga | None = None) -> Reader:
    """A DiGA (a new one, unless given) paired with the patient for these MIVs (default: all it may read)."""
    diga = diga or await ddr.diga(*mivs)
    return Reader(ddr, diga, await ddr.pair(diga, patient, *mivs), ddr.clock())


@contextmanager
def later(ddr: Recorder, ms: int) -> Iterator[None]:
    """The recorder's clock is fast by this much within the block."""
    ddr.clock.ms += ms
    try:
        yield
    finally:
        ddr.clock.ms -= ms


def searchset(response: httpx.Response) -> Json:
    """The searchset in the response."""
    assert response.status_code == 200, response.text
    bundle: Json = response.json()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
    return bundle


def entries(bundle: Json, mode: str = "match") -> list[Json]:
    """The resources of the entries with this search mode."""
    return [entry["resource"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == mode]


def link(bundle: Json, relation: str) -> str | None:
    """The URL of a link of a Bundle."""
    return next((each["url"] for each in bundle.get("link", ()) if each["relation"] == relation), None)


def warnings(bundle: Json) -> list[str]:
    """The diagnostics of the warnings in a searchset."""
    issues = [issue for outcome in entries(bundle, "outcome") for issue in outcome["issue"]]
    assert all((issue["severity"], issue["code"]) == ("warning", "processing") for issue in issues)
    return [issue["diagnostics"] for issue in issues]


def code_of(observation: Json) -> str:
    """The code of an Observation."""
    codings = observation["code"]["coding"]
    assert len(codings) == 1
    code: str = codings[0]["code"]
    return code


def refused(response: httpx.Response, status: int, code: str = "processing", diagnostics: str | None = None) -> Json:
    """The only issue of the OperationOutcome with which a request was refused."""
    assert response.status_code == status, f"{response.status_code} {response.text}"
    outcome: Json = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    (issue,) = outcome["issue"]
    assert (issue["severity"], issue["code"]) == ("error", code)
    assert "diagnostics" in issue or "details" in issue
    if diagnostics is not None:
        assert issue["diagnostics"] == diagnostics
    found: Json = issue
    return found
