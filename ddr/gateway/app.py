"""The ASGI application of the gateway listener: routes, authentication, bodies in, JSON out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from ddr.aside import LARGE_BYTES, aside
from ddr.collector import in_hand
from ddr.gateway import (
    bridge_readings,
    bridges,
    calibrations,
    credentials,
    devices,
    gaps,
    measurements,
    readings,
    sensors,
)
from ddr.gateway.auth import Gatekeeper
from ddr.gateway.door.capability import get_metadata
from ddr.gateway.door.http import failed_reply, post_bundle, unavailable_reply
from ddr.gateway.fields import check_key
from ddr.gateway.idempotency import once
from ddr.gateway.problem import Problem, failed, unavailable
from ddr.gateway.request import Request, parsed
from ddr.gateway.skew import clock_skew
from ddr.http.address import client_network
from ddr.http.asgi import JSON, NO_STORE, ASGIApp, Receive, Reply, Scope, Send, joined_header, json_reply, send_reply
from ddr.http.bodies import Bodies
from ddr.http.body import ClientGone
from ddr.http.core import Core
from ddr.http.guard import noted
from ddr.store.series.sensors import SensorKey

BASE = "/gateway/v1"
OPENAPI = f"{BASE}/openapi.json"
FHIR_DOOR = f"{BASE}/fhir"
METADATA = f"{FHIR_DOOR}/metadata"
PUBLIC = (OPENAPI, METADATA)  # without credentials, and also while nothing is taken in

Handler = Callable[..., Awaitable[Any]]


class Kind(Enum):
    """Who may call an operation, what its handler gets after the core, and what it returns."""

    USUAL = auto()  # patient, the path's parameters in order, the body of PUT and POST; status and content
    OF_SENSOR = auto()  # the same, with one SensorKey for patient, device and sensor
    OF_BRIDGE = auto()  # the same without the patient: for bridges only
    BY_CODE = auto()  # gatekeeper, scope, body; the Reply. It needs no token, because the body has a pairing code
    BODILESS = auto()  # patient, scope; the Reply
    OWN_FORM = auto()  # patient, the Request, whose body it reads itself; the Reply


class Route(NamedTuple):
    """One operation. With `exact`, numbers in its body keep their digits."""

    method: str
    path: str
    handler: Handler
    kind: Kind = Kind.USUAL
    exact: bool = False

    @property
    def has_body(self) -> bool:
        return self.method in {"PUT", "POST"} and self.kind is not Kind.BODILESS

    def arguments(self, patient_id: Any, parameters: Sequence[str]) -> list[Any]:
        """What the handler of an operation about a patient gets after the core and before the body."""
        if self.kind is not Kind.OF_SENSOR:
            return [patient_id, *parameters]
        device_key, sensor_key, *more = parameters
        return [SensorKey(patient_id, device_key, sensor_key), *more]


_DEVICE = f"{BASE}/devices/{{device_key}}"
_SENSOR = f"{_DEVICE}/sensors/{{sensor_key}}"

ROUTES = (
    Route("GET", f"{BASE}/devices", devices.get_devices),
    Route("GET", _DEVICE, devices.get_device),
    Route("PUT", _DEVICE, devices.put_device),
    Route("GET", f"{_DEVICE}/sensors", sensors.get_sensors),
    Route("GET", _SENSOR, sensors.get_sensor, Kind.OF_SENSOR),
    Route("PUT", _SENSOR, sensors.put_sensor, Kind.OF_SENSOR),
    Route("GET", f"{_SENSOR}/gaps", gaps.get_gaps, Kind.OF_SENSOR),
    Route("GET", f"{_SENSOR}/gaps/{{time}}", gaps.get_gaps, Kind.OF_SENSOR),
    Route("POST", f"{_SENSOR}/readings", readings.post_readings, Kind.OF_SENSOR),
    Route("DELETE", f"{_SENSOR}/uploads/{{upload_key}}", readings.delete_upload, Kind.OF_SENSOR),
    Route("POST", f"{_SENSOR}/complete", readings.post_complete, Kind.OF_SENSOR),
    Route("POST", f"{_SENSOR}/calibrations", calibrations.post_calibrations, Kind.OF_SENSOR),
    Route("GET", f"{_SENSOR}/calibrations", calibrations.get_calibrations, Kind.OF_SENSOR),
    Route("DELETE", f"{_SENSOR}/calibrations/{{time}}", calibrations.delete_calibration, Kind.OF_SENSOR),
    Route("POST", f"{BASE}/measurements", measurements.post_measurements, exact=True),
    Route("PUT", f"{BASE}/measurements/{{measurement_key}}", measurements.put_measurement, exact=True),
    Route("DELETE", f"{BASE}/measurements/{{measurement_key}}", measurements.delete_measurement),
    Route("POST", f"{BASE}/bridge/readings", bridge_readings.post_bridge_readings, Kind.OF_BRIDGE),
    Route("POST", FHIR_DOOR, post_bundle, Kind.OWN_FORM),
    Route("POST", f"{BASE}/token", credentials.connect, Kind.BY_CODE),
    Route("POST", f"{BASE}/token/renew", credentials.renew, Kind.BODILESS),
)


def _table() -> dict[str, tuple[re.Pattern[str], dict[str, Route]]]:
    """For each path its pattern, and its operations by method."""
    table: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
    for route in ROUTES:
        pattern = re.compile(route.path.replace("{", "(?P<").replace("}", ">[^/]+)"))
        table.setdefault(route.path, (pattern, {}))[1][route.method] = route
    return table


_TABLE = _table()


def create_gateway(core: Core) -> ASGIApp:
    """The gateway API below /gateway/v1. Every error is a problem document; nothing a client sends causes a 500."""
    server = _Server(core)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived_ms = core.clock()
        if scope["path"].startswith(f"{FHIR_DOOR}/"):  # the slash after a base address is the client's choice
            scope = {**scope, "path": scope["path"].removesuffix("/")}
        try:
            reply = await server.answer(scope, receive)
        except ClientGone:
            return
        except Problem as problem:
            reply = problem.reply()
        except Exception as error:  # the gateway keeps its data and sends it again
            fault, at_door = noted(error), scope["path"] == FHIR_DOOR
            if fault is None:
                reply = failed_reply(core, scope) if at_door else failed().reply()
            else:
                reply = unavailable_reply(scope, fault) if at_door else unavailable(fault).reply()
        skew = clock_skew(scope, arrived_ms)
        await send_reply(scope, send, replace(reply, headers=(*reply.headers, *skew)) if skew else reply)

    return app


class _Server:
    """Passes the requests of one worker to their handlers: first who it is, then the body, then its turn (ddr.http)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._gatekeeper = Gatekeeper(core)
        self._bodies = Bodies()

    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """The reply. Raises Problem, Crowded, ClientGone and what the database raises."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if scope["path"] in PUBLIC:
            if method != "GET":
                raise _not_allowed({"GET"})
            at_door = scope["path"] == METADATA
            return get_metadata(self._core, scope) if at_door else Reply(200, openapi_document(), JSON)
        route, parameters = find_route(method, scope["path"])
        reply: Reply
        if route.kind is Kind.BY_CODE:
            request = Request(self._core, self._bodies, scope, receive, client_network(scope), credentials.LONGEST)
            raw = await request.body(JSON)
            async with request.turn():
                reply = await route.handler(self._core, self._gatekeeper, scope, parsed(raw))
            return reply
        async with self._core.admission.turn("ingestion", client_network(scope)):
            owner = await _owner(self._core, self._gatekeeper, route, scope)
            if route.kind is Kind.BODILESS:
                reply = await route.handler(self._core, owner, scope)
                return reply
        request = Request(self._core, self._bodies, scope, receive, owner)
        if route.kind is Kind.OWN_FORM:
            reply = await route.handler(self._core, owner, request)
            return reply
        return await self._usual(route, owner, parameters, method, request)

    async def _usual(
        self, route: Route, owner: UUID | bytes, parameters: list[str], method: str, request: Request
    ) -> Reply:
        """JSON in, JSON out; anything but GET is done once for each Idempotency-Key."""
        raw = await request.body(JSON) if route.has_body else b""
        large = len(raw) > LARGE_BYTES
        arguments = [*parameters] if route.kind is Kind.OF_BRIDGE else route.arguments(owner, parameters)

        async def work() -> Reply:
            async with request.turn():
                status, content = await route.handler(self._core, *arguments)
                if status == HTTPStatus.NO_CONTENT:
                    return Reply(status, headers=NO_STORE)
                return await aside(large, json_reply, content, status, NO_STORE)

        with in_hand(large):
            if route.has_body:
                arguments.append(await aside(large, parsed, raw, route.exact))
            return await (work() if method == "GET" else once(self._core, owner, request.scope, raw, work))


async def _owner(core: Core, gatekeeper: Gatekeeper, route: Route, scope: Scope) -> UUID | bytes:
    """Whose data the request is about: a patient, or for many patients the SHA-256 of a bridge's certificate.

    Raises Problem 401, 403 or 429.
    """
    if route.kind is Kind.OF_BRIDGE:
        return await bridges.check_bridge(core, scope)
    account = joined_header(scope, bridges.ACCOUNT_HEADER)
    if account is not None:
        return await bridges.patient_of_account(core, scope, account)
    return await gatekeeper.patient(scope)


def find_route(method: str, path: str) -> tuple[Route, list[str]]:
    """The operation and the path's parameters. Raises Problem 404, 405, or 422 for a malformed key."""
    for pattern, by_method in _TABLE.values():
        if match := pattern.fullmatch(path):
            if method not in by_method:
                raise _not_allowed(by_method)
            return by_method[method], [
                value if name == "time" else check_key(value, name) for name, value in match.groupdict().items()
            ]
    raise Problem(404, "not-found", f"No such path; see {OPENAPI} for the API")


def _not_allowed(methods: Collection[str]) -> Problem:
    """405 for a path that has these methods; where GET is allowed, so is HEAD."""
    allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else ())}))
    return Problem(
        405, "method-not-allowed", f"Method not allowed. Allowed methods: {allow}", headers=(("allow", allow),)
    )


@cache
def openapi_document() -> bytes:
    """The OpenAPI 3.1 document of this API."""
    return Path(__file__).with_name("openapi.json").read_bytes()
