"""The plug-in for recorders of this project: sends the data that checks need through the gateway API
(docs/gateway-guide.md).

The description of the recorder has to name `gateway_base`, and each patient's `gateway_token`, as demo.json does.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from ddr.conform.data import Data
from ddr.conform.laws.times import written
from ddr.durations import DAY_MS, HOUR_MS, MINUTE_MS

Json = dict[str, Any]
STEP, WORN, LASTS = 5 * MINUTE_MS, 30 * HOUR_MS, 240 * HOUR_MS
METHODS = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-reference-value-method-codes"
METER, CUFF, SPIROMETER, SENSOR = "337414009", "70665002", "334990001", "700585005"


class GatewayError(Exception):
    """The recorder rejected what was sent; the message has its status and reason."""


class Gateway:
    """Sends as the gateway app of each patient. `client` makes the connection, `now_ms` is the time."""

    def __init__(self, base: str, client: Callable[[], httpx.Client], now_ms: Callable[[], int] | None = None) -> None:
        self._base, self._client = f"{base}/gateway/v1", client
        self._now_ms = now_ms or (lambda: int(time.time() * 1000))
        self._run = secrets.token_hex(4)
        self._worn: dict[str, str] = {}  # the sensor that each patient wears
        self._devices: dict[str, Json] = {}
        self._count, self._at = 0, ""  # of new values: number and time of the last one

    def provide(self, data: str, patient: Mapping[str, Any]) -> bool:
        """See ddr.conform.data.Source. Raises GatewayError, httpx.HTTPError."""
        token = str(patient["gateway_token"])
        send = {
            Data.GLUCOSE: self._glucose,
            Data.CONTINUOUS: self._continuous,
            Data.LUNG: self._lung,
            Data.PRESSURE: self._pressure,
            Data.NEW: self._new,
            Data.CORRECTION: self._correction,
            Data.DELETION: self._deletion,
            Data.CALIBRATION: self._calibration,
            Data.DEVICE: self._another,
        }
        send[Data(data)](token)
        return True

    def _send(self, token: str, method: str, path: str, body: Json | None = None) -> None:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        content = None if body is None else json.dumps(body)
        with self._client() as http:
            answer = http.request(method, f"{self._base}/{path}", headers=headers, content=content)
        if answer.is_error:
            raise GatewayError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")

    def _ago(self, ms: int) -> str:
        return written(self._now_ms() - ms)

    def _device(self, token: str, kind: str, code: str, **members: object) -> str:
        """Register a device; returns its key."""
        key = f"conform-{kind}-{self._run}"
        fixed = {"serialNumber": key.upper(), "name": f"Conform {kind}", "manufacturer": "ddr conform", "type": code}
        body = {**fixed, "startedAt": self._ago(WORN + HOUR_MS), **members}
        if key not in self._devices:
            self._send(token, "PUT", f"devices/{key}", body)
            self._devices[key] = body
        return key

    def _measure(self, token: str, name: str, **members: object) -> str:
        key = f"conform-{name}-{self._run}"
        self._send(token, "PUT", f"measurements/{key}", members)
        return key

    def _glucose(self, token: str) -> None:
        meter = self._device(token, "meter", METER)
        for name, code, unit, value, ago in (
            ("bg-1", "2339-0", "mg/dL", 98, 26 * HOUR_MS),
            ("bg-2", "2339-0", "mg/dL", 143, 3 * HOUR_MS),
            ("bg-3", "15074-8", "mmol/L", 5.5, 9 * HOUR_MS),
        ):
            self._measure(token, name, code=code, unit=unit, value=value, device=meter, effective=self._ago(ago))
        low = {"value": 20, "comparator": "<"}
        self._measure(
            token, "bg-4", code="2339-0", unit="mg/dL", device=meter, effective=self._ago(12 * HOUR_MS), **low
        )

    def _pressure(self, token: str) -> None:
        cuff = self._device(token, "cuff", CUFF)
        values = (("8480-6", 124), ("8462-4", 82), ("8478-0", 96))
        for name, count, ago in (("bp-1", 3, 27 * HOUR_MS), ("bp-2", 2, 4 * HOUR_MS)):
            parts = [{"code": code, "value": value, "unit": "mm[Hg]"} for code, value in values[:count]]
            self._measure(token, name, code="85354-9", device=cuff, effective=self._ago(ago), components=parts)

    def _lung(self, token: str) -> None:
        spirometer = self._device(token, "spirometer", SPIROMETER)
        common = {"device": spirometer, "effective": self._ago(5 * HOUR_MS)}
        self._measure(token, "pef", code="19935-6", value=612, unit="L/min", **common)
        fev1 = self._measure(token, "fev1", code="20150-9", value=3.4, unit="L", **common)
        method = {"coding": [{"system": METHODS, "code": "GLI-2022"}]}
        period = {"start": self._ago(20 * DAY_MS)}
        reference = self._measure(
            token, "reference", code="20149-1", value=4.5, unit="L", method=method, effective=period
        )
        derived = {"derivedFrom": [fev1, reference]}
        self._measure(token, "relative", code="20152-5", value=75.5, unit="%", **derived, **common)

    def _continuous(self, token: str) -> None:
        self._wear(token, "cgm-1", WORN)

    def _wear(self, token: str, kind: str, ago: int) -> None:
        """Register a sensor put on this long ago, with a value every five minutes except for three."""
        key = self._device(token, kind, SENSOR, startedAt=self._ago(ago + 1), expirationDate=self._ago(ago - LASTS))
        started = self._now_ms() - ago - 1
        sensor = {
            "code": "99504-3",
            "unit": "mg/dL",
            "samplingPeriodMs": STEP,
            "limits": {"lower": 40, "upper": 400},
            "startedAt": written(started),
            "calibration": {"state": "calibrated", "time": written(started)},
        }
        self._send(token, "PUT", f"devices/{key}/sensors/s", sensor)
        slots = [slot for slot in range(ago // STEP + 1) if slot not in (11, 12, 13)]
        values = {started + slot * STEP: "L" if slot == 20 else 90 + slot * 7 % 100 for slot in slots}
        self._read(token, key, values)
        self._worn[token] = key

    def _read(self, token: str, key: str, values: Mapping[int, object]) -> None:
        """Send readings of a sensor in mg/dL, by their time in milliseconds."""
        readings = [{"time": written(at), "value": value} for at, value in values.items()]
        self._send(token, "POST", f"devices/{key}/sensors/s/readings", {"unit": "mg/dL", "readings": readings})

    def _singles(self, token: str, name: str, value: float, at: str) -> None:
        """Send one measurement of each kind under this name, or another value for it."""
        meter, cuff = self._device(token, "meter", METER), self._device(token, "cuff", CUFF)
        spirometer = self._device(token, "spirometer", SPIROMETER)
        parts = [
            {"code": code, "value": one, "unit": "mm[Hg]"} for code, one in (("8480-6", value + 40), ("8462-4", value))
        ]
        common = {"effective": at, "value": value}
        self._measure(token, f"{name}-bg", code="2339-0", unit="mg/dL", device=meter, **common)
        self._measure(token, f"{name}-pef", code="19935-6", unit="L/min", device=spirometer, **common)
        self._measure(token, f"{name}-bp", code="85354-9", device=cuff, effective=at, components=parts)

    def _new(self, token: str) -> None:
        self._count += 1
        self._at = self._ago(0)
        self._singles(token, f"new-{self._count}", 100 + self._count, self._at)

    def _correction(self, token: str) -> None:
        self._singles(token, f"new-{self._count}", 200 + self._count, self._at)

    def _deletion(self, token: str) -> None:
        for kind in ("bg", "pef", "bp"):
            self._send(token, "DELETE", f"measurements/conform-new-{self._count}-{kind}-{self._run}")

    def _calibration(self, token: str) -> None:
        now, key = self._now_ms(), self._worn[token]
        event = {"time": written(now - 2), "state": "calibration-required"}
        self._send(token, "POST", f"devices/{key}/sensors/s/calibrations", {"calibrations": [event]})
        self._read(token, key, {now - 1: 101})

    def _another(self, token: str) -> None:
        old, self._count = self._worn[token], self._count + 1
        self._send(token, "PUT", f"devices/{old}", {**self._devices[old], "endedAt": self._ago(0)})
        self._wear(token, f"cgm-{self._count + 1}", 0)
