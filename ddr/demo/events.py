"""A year's typical changes to data and consents, on demand: late readings, late calibrations, a withdrawal.

Each uses the recorder's own interfaces, as the gateway or the patient would.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ddr.demo.browser_user import Page
from ddr.demo.cast import glucose_device
from ddr.demo.gateway_client import GatewayClient, instant
from ddr.demo.sensor import GlucoseSensor
from ddr.demo.tls import client_context
from ddr.demo.upload import UNITS
from ddr.durations import DAY_MS, HOUR_MS
from ddr.http.clock import now_ms

SETTLED_MS = 2 * DAY_MS + 2 * HOUR_MS  # a chunk and the time for which the sensor stores unsent readings
NOTE = "demo-events.json"  # in the state directory: the events that have happened


class EventError(Exception):
    """Nothing happened; the message is one line that says why."""


@dataclass(frozen=True)
class Scene:
    """A running demonstration: its demo.json, and the patient concerned."""

    state_dir: Path
    described: dict[str, Any]
    index: int  # of the patient
    http: httpx.AsyncClient

    @property
    def patient(self) -> dict[str, Any]:
        """The account."""
        return dict(self.described["patients"][self.index])

    @property
    def gateway(self) -> GatewayClient:
        """The gateway app of the patient."""
        return GatewayClient(self.http, self.described["gateway_base"], self.patient["gateway_token"])

    @property
    def sensor(self) -> GlucoseSensor:
        """The simulated glucose sensor that the patient wears."""
        start_ms: int = json.loads((self.state_dir / "demo-start.json").read_text("utf-8"))
        return GlucoseSensor(self.index, start_ms, UNITS[self.index % 2])


async def happen(name: str, state_dir: Path, patient: str, client_id: str | None) -> str:
    """Make one of EVENTS happen to this patient; returns what was done. Raises EventError, GatewayRefused."""
    try:
        described = json.loads((state_dir / "demo.json").read_text("utf-8"))
        names = [one["username"] for one in described["patients"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise EventError(f"no demonstration has run in {state_dir}") from None
    if patient not in names:
        raise EventError(f"unknown patient {patient}; the patients are {', '.join(names)}")
    context = client_context(Path(described["ca"]))
    async with httpx.AsyncClient(verify=context, timeout=60, trust_env=False) as http:
        scene = Scene(state_dir, described, names.index(patient), http)
        return await EVENTS[name](scene, client_id)


async def _amended(scene: Scene, client_id: str | None) -> str:
    """A reading that the phone had lost arrives days later, in a chunk that is final."""
    sensor, now = scene.sensor, now_ms()
    device = glucose_device(scene.index, sensor)
    (key,) = device.sensors
    for at_ms, value in sensor.missing(now - SETTLED_MS):
        answer = await scene.gateway.push_readings(device.key, key, sensor.unit, [(at_ms, value)])
        if answer["accepted"]:
            return f"{scene.patient['username']}: a reading of {instant(at_ms)} arrived late; its chunk is amended"
    raise EventError("no final chunk has a gap left; start with a new state directory and more --days")


async def _entered_in_error(scene: Scene, client_id: str | None) -> str:
    """The gateway reports late that the sensor was calibrated: later readings belong to another DeviceMetric."""
    sensor, now = scene.sensor, now_ms()
    device = glucose_device(scene.index, sensor)
    (key,) = device.sensors
    note = scene.state_dir / NOTE
    done: dict[str, int] = json.loads(note.read_text("utf-8")) if note.exists() else {}
    name = scene.patient["username"]
    at_ms = max(sensor.start_ms + HOUR_MS, now - 30 * HOUR_MS, done.get(name, 0) + 2 * HOUR_MS) // 1000 * 1000
    if at_ms > now - 2 * HOUR_MS:
        raise EventError(f"{name}'s sensor has late calibrations up to now already; try again in a few hours")
    states = ((at_ms, "calibration-required"), (at_ms + HOUR_MS, "calibrated"))
    events = [{"time": instant(ms), "state": state} for ms, state in states]
    await scene.gateway.calibrate(device.key, key, events)
    note.write_text(json.dumps({**done, name: at_ms}), "utf-8")
    return (
        f"{name}: a calibration of {instant(at_ms)} was reported late; later chunks are entered-in-error and replaced"
    )


async def _withdrawn(scene: Scene, client_id: str | None) -> str:
    """The patient withdraws consent on the page "Connections", for one DiGA or all."""
    base, account = scene.described["oauth_issuer"], scene.patient
    page = Page("", (await scene.http.get(f"{base}/login")).text)
    login = page.form("username")
    if login is None:
        raise EventError("the login page has no form")
    credentials = {"username": account["username"], "password": account["password"]}
    landed = await scene.http.post(f"{base}/login", data={**dict(login.hidden), **credentials}, follow_redirects=True)
    form = Page("", landed.text).form("kind")
    if form is None:
        raise EventError(f"{account['username']} has consented to nothing")
    wanted = {"client_id": client_id} if client_id else {}
    fields = {"form_token": dict(form.hidden)["form_token"], "kind": "all", **wanted}
    answer = await scene.http.post(f"{base}/me/withdraw", data=fields, follow_redirects=True)
    if answer.is_error:
        raise EventError(
            f"the page responded with {answer.status_code}; is {client_id} paired with {account['username']}?"
        )
    return f"{account['username']} withdrew all consents {f'for {client_id}' if client_id else 'for every DiGA'}"


EVENTS: dict[str, Callable[[Scene, str | None], Awaitable[str]]] = {
    "amended": _amended,
    "entered-in-error": _entered_in_error,
    "consent-withdrawn": _withdrawn,
}
