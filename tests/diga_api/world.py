"""A patient's data put directly into the tables, and a DiGA's backend that requests it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx

from ddr.diga_api.app import create_fhir
from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.http.request_log.logged import logged
from ddr.miv.model import Miv
from ddr.operations.status.answers import observed, of_diga
from ddr.scopes.diga import Diga
from ddr.scopes.parse import Scopes
from ddr.series.packing import encode
from ddr.store.database.ids import Kind
from tests.support.proved import proved

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 86_400_000
GLUCOSE = "blood-glucose-measurement"
CGM = "continuous-glucose-measurement"
PRESSURE = "blood-pressure-value"
LUNG = "lung-function-testing"
LOINC = "http://loinc.org"


@dataclass
class Body:
    """One patient with devices and data; instants in milliseconds."""

    core: Core
    patient_id: UUID = field(default_factory=uuid4)

    def miv(self, name: str) -> Miv:
        """The MIV of this package."""
        found = self.core.catalog.by_name(name)
        assert found is not None
        return found

    async def device(self, name: str = "Sensor One", **columns: Any) -> int:
        """A device that was heard of just now; its number."""
        now_ms = self.core.clock()
        row = {
            "device_key": secrets.token_hex(6),
            "device_name": name,
            "manufacturer": "Muster AG",
            "serial_number": "SN1",
            "started_ms": now_ms - 40 * DAY,
            "heard_ms": now_ms,
            "created_ms": now_ms - 40 * DAY,
            "updated_ms": now_ms - 40 * DAY,
        }
        return await self._insert("device", "device_no", row | columns)

    async def sensor(self, device_no: int, miv: str, code: str | None = None, **columns: Any) -> int:
        """A sensor of a device, for single values unless `columns` differ; its number."""
        found = self.miv(miv)
        entry = next(item for item in found.codes if code in (None, item.code))
        continuous = {"period_ms": 5 * MINUTE, "span_ms": DAY} if found.continuous else {}
        row = {
            "device_no": device_no,
            "sensor_key": secrets.token_hex(6),
            "miv_url": found.valueset,
            "code_system": entry.system,
            "code": entry.code,
            "unit": entry.unit or "mm[Hg]",
            "continuous": found.continuous,
            "calibrated_device": True,
            "metric": {},
            "buffering_ms": DAY,
            "started_ms": self.core.clock() - 40 * DAY,
            "created_ms": self.core.clock() - 40 * DAY,
            **continuous,
        }
        return await self._insert("sensor", "sensor_no", row | columns)

    async def epoch(self, device_no: int, sensor_no: int, from_ms: int, **columns: Any) -> int:
        """A calibration epoch; its number."""
        row = {
            "device_no": device_no,
            "sensor_no": sensor_no,
            "from_ms": from_ms,
            "calibration_state": "calibrated",
            "updated_ms": from_ms,
        }
        return await self._insert("epoch", "epoch_no", row | columns)

    async def chunk(self, epoch_no: int, k: int, start_ms: int, values: Sequence[int], **columns: Any) -> str:
        """A chunk with one reading per slot of five minutes, and the tail of its epoch moved to it; its id."""
        readings = [(start_ms + slot * 5 * MINUTE, value) for slot, value in enumerate(values)]
        times, vals = encode(readings, start_ms, 5 * MINUTE)
        row = {
            "patient_id": self.patient_id,
            "epoch_no": epoch_no,
            "k": k,
            "start_ms": start_ms,
            "last_ms": readings[-1][0] if readings else start_ms - 1,
            "updated_ms": start_ms + DAY,
            "version": 1,
            "filled": len(values),
            "status": "p",
            "times": times,
            "vals": vals,
        }
        await self._insert("chunk", "k", row | columns)
        await self.core.pool.execute(
            "UPDATE epoch SET tail_k = $3, tail_start_ms = $4 WHERE patient_id = $1 AND epoch_no = $2"
            " AND coalesce(tail_k, -1) <= $3",
            self.patient_id, epoch_no, k, start_ms,
        )  # fmt: skip
        return self.core.ids.chunk(epoch_no, k)

    async def measurement(
        self, miv: str, code: str, at_ms: int, value: str | None = "100", device_no: int | None = None, **columns: Any
    ) -> str:
        """A single measurement; `content` may be given as a dict. Its id."""
        found = self.miv(miv)
        entry = next(item for item in found.codes if item.code == code)
        content = columns.pop("content", None) or {
            "resourceType": "Observation",
            "effectiveDateTime": date_time(at_ms),
            "code": {"coding": [{"system": entry.system, "code": entry.code}]},
        }
        row = {
            "measurement_key": secrets.token_hex(8),
            "miv_url": found.valueset,
            "code_system": entry.system,
            "code": entry.code,
            "device_no": device_no,
            "effective_ms": at_ms,
            "effective_end_ms": at_ms + 999,
            "value": value,
            "unit": entry.unit,
            "content": json.dumps(content).encode(),
            "status": "final",
            "updated_ms": at_ms,
        }
        return self.core.ids.measurement(await self._insert("measurement", "measurement_no", row | columns))

    async def pressure(self, at_ms: int, systolic: int, diastolic: int, **columns: Any) -> str:
        """A blood pressure; its id."""
        components = [
            {
                "code": {"coding": [{"system": LOINC, "code": code}]},
                "valueQuantity": {"value": value, "unit": "mm[Hg]", "code": "mm[Hg]"},
            }
            for code, value in (("8480-6", systolic), ("8462-4", diastolic))
        ]
        content = {
            "resourceType": "Observation",
            "effectiveDateTime": date_time(at_ms),
            "code": {"coding": [{"system": LOINC, "code": "85354-9"}]},
            "component": components,
        }
        return await self.measurement(PRESSURE, "85354-9", at_ms, None, content=content, **columns)

    async def glucose_meter(self, **columns: Any) -> int:
        """A device for blood glucose that needs no calibration; its number."""
        device_no = await self.device("Meter Two", **columns)
        await self.sensor(device_no, GLUCOSE, calibrated_device=False)
        return device_no

    async def cgm(self, days: int = 3, started_ms: int | None = None) -> tuple[int, int, list[str]]:
        """A worn CGM sensor with full days up to the running one: device, epoch and the ids of its chunks."""
        device_no = await self.device()
        sensor_no = await self.sensor(device_no, CGM, "99504-3", lower_limit=40, upper_limit=400)
        from_ms = self.core.clock() - days * DAY + 6 * HOUR if started_ms is None else started_ms
        epoch_no = await self.epoch(device_no, sensor_no, from_ms)
        ids = []
        for k in range(days):
            full = k < days - 1
            values = [100 + k] * (288 if full else 210)
            status = "f" if full else "p"
            updated_ms = from_ms + (k + 1) * DAY if full else self.core.clock()
            ids.append(await self.chunk(epoch_no, k, from_ms + k * DAY, values, status=status, updated_ms=updated_ms))
        return device_no, epoch_no, ids

    async def _insert(self, table: str, number: str, row: dict[str, Any]) -> int:
        row = {"patient_id": self.patient_id, **row}
        places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
        found: int = await self.core.pool.fetchval(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places}) RETURNING {number}", *row.values()
        )
        return found


@dataclass
class Backend:
    """A DiGA's backend with a token for one patient."""

    core: Core
    diga: Diga
    certificate: bytes | None
    patient_id: UUID
    pairing_id: str = ""
    pairing_no: int = 0
    grant_no: int = 0
    scope: str = ""
    token: str = ""
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = fhir_client(self.core, self.certificate)

    async def pair(
        self, valuesets: Collection[str], *, device: bool = True, device_metric: bool = True, days: int = 1
    ) -> Backend:
        """Pair for these MIVs, consented for a day; the token lasts ten minutes."""
        pool, now_ms = self.core.pool, self.core.clock()
        self.pairing_id = secrets.token_hex(32)
        self.scope = Scopes(tuple(valuesets), device, device_metric).text
        await pool.execute("INSERT INTO patient VALUES ($1, 0) ON CONFLICT DO NOTHING", self.patient_id)
        self.pairing_no = await pool.fetchval(
            "INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms) VALUES ($1, $2, $3, '', $4)"
            " RETURNING pairing_no",
            self.patient_id, self.pairing_id, self.diga.client_id, now_ms,
        )  # fmt: skip
        await pool.execute(
            "INSERT INTO pairing_directory VALUES ($1, $2, $3)", self.pairing_id, self.patient_id, self.pairing_no
        )
        await pool.executemany(
            "INSERT INTO consent VALUES ($1, $2, $3, $4, $5)",
            [(self.patient_id, self.pairing_no, url, now_ms, now_ms + days * DAY) for url in valuesets],
        )
        consents = await pool.fetch(
            "SELECT consent_no FROM consent WHERE patient_id = $1 AND pairing_no = $2", self.patient_id, self.pairing_no
        )
        self.grant_no = await pool.fetchval(
            "INSERT INTO token_grant (patient_id, pairing_no, scope, created_ms, consent_nos)"
            " VALUES ($1, $2, $3, $4, $5) RETURNING grant_no",
            self.patient_id, self.pairing_no, self.scope, now_ms, [row["consent_no"] for row in consents],
        )  # fmt: skip
        self.token = self.signed()
        return self

    def signed(self, **changes: Any) -> str:
        """An access token of this pairing, with these `changes`."""
        now = self.core.clock() // 1000
        claims = {
            "iss": self.core.settings.public_base_url,
            "aud": self.core.settings.fhir_base,
            "sub": self.pairing_id,
            "client_id": self.diga.client_id,
            "scope": self.scope,
            "gid": self.core.ids.encode(Kind.GRANT, self.grant_no),
            "jti": secrets.token_hex(8),
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        }
        token: str = self.core.signer.sign(claims | changes, "at+jwt", self.core.clock())
        return token

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """GET /fhir/`path` with the token, in JSON."""
        fields = {"authorization": f"Bearer {self.token}", "accept": "application/fhir+json"}
        return await self.client.get(f"/fhir/{path}", headers=fields | headers)

    async def bundle(self, path: str) -> dict[str, Any]:
        """The searchset of a search that succeeds."""
        response = await self.get(path)
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()
        assert content["type"] == "searchset"
        return content

    async def matches(self, path: str) -> list[str]:
        """The ids of the matches of a search, in order, without a Grace-Period in the way."""
        await self.rest()
        return ids(await self.bundle(path))

    async def rest(self) -> None:
        """As if nothing had been answered yet; the row stays, so that no request has to skip deleted rows."""
        await self.core.pool.execute("UPDATE grace SET answered = '{}' WHERE patient_id = $1", self.patient_id)


def fhir_client(core: Core, certificate: bytes | None) -> httpx.AsyncClient:
    """A client of the FHIR room whose connection has proved `certificate`."""
    app = logged(observed(create_fhir(core), core, of_diga), core, "diga")
    return httpx.AsyncClient(transport=httpx.ASGITransport(proved(app, certificate)), base_url="https://ddr.example")


def ids(bundle: dict[str, Any], mode: str = "match") -> list[str]:
    """The ids of a searchset's entries of this mode."""
    return [item["resource"]["id"] for item in bundle.get("entry", []) if item["search"]["mode"] == mode]


def types(bundle: dict[str, Any], mode: str = "match") -> list[str]:
    """The resource types of a searchset's entries of this mode."""
    return [item["resource"]["resourceType"] for item in bundle.get("entry", []) if item["search"]["mode"] == mode]


def outcome_texts(bundle: dict[str, Any]) -> list[str]:
    """The diagnostics of a searchset's OperationOutcome."""
    outcomes = [item["resource"] for item in bundle.get("entry", []) if item["search"]["mode"] == "outcome"]
    return [issue["diagnostics"] for outcome in outcomes for issue in outcome["issue"]]
