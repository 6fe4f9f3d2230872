"""Faults on demand for the DiGA listener of the demonstration, so that a DiGA can test how it handles each of them.

`ddr demo-fault` writes which fault is on, and until when, into a file that every worker checks before each request. The
responses are those of the recorder itself. `ddr serve` has none of this.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ddr.demo import lost_answer
from ddr.diga_api.request import Request, head_of
from ddr.fhir.outages import HEADER, MEMBER, Outage
from ddr.fhir.outcome import (
    FhirError,
    internal_error,
    maintenance,
    overloaded,
    throttled,
    unauthorized,
    unavailable,
)
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, header_values, json_reply, send_reply
from ddr.http.clock import now_ms

FILE = "faults.json"
MAINTENANCE = "Planned maintenance of the demonstration"
OAUTH_BUSY = {"error": "temporarily_unavailable", "error_description": "A fault of the demonstration"}

# Name → description.
FAULTS = {
    "throttled": "429 to searches and summaries, as within the Grace-Period",
    "overload": "503 throttled to every request, also to the authorization server",
    "maintenance": "503 transient with Planned-Maintenance to every request, also to the authorization server",
    "registry": "503 transient, as when the DiGA directory cannot be reached",
    "error": "500 to everything below the FHIR base",
    lost_answer.NAME: "the recorder renews a token, but the response does not arrive; once",
    "token-expired": "401 for every access token issued so far; refreshed tokens work",
}


@dataclass(frozen=True)
class Fault:
    """A fault that is on from `since_ms` until `until_ms`."""

    name: str
    since_ms: int
    until_ms: int

    @property
    def wait_seconds(self) -> int:
        """The value of Retry-After: the time until the fault ends."""
        return max(1, -(-(self.until_ms - now_ms()) // 1000))


def switch(state_dir: Path, name: str | None, seconds: int) -> None:
    """Turn a fault on for some seconds, in place of any other; None: off."""
    now = now_ms()
    if name == "token-expired":  # begins with a whole second, as tokens have no finer times
        time.sleep((1000 - now % 1000) / 1000)
        now = now_ms() // 1000 * 1000
    fault = None if name is None else asdict(Fault(name, now, now + seconds * 1000))
    part = state_dir / f"{FILE}.part"
    part.write_text(json.dumps(fault), "utf-8")
    part.replace(state_dir / FILE)


def current(state_dir: Path) -> Fault | None:
    """The fault that is on."""
    try:
        content = json.loads((state_dir / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    fault = Fault(**content) if content else None
    return fault if fault and fault.until_ms > now_ms() else None


def faulty(app: ASGIApp, state_dir: Path) -> ASGIApp:
    """`app`, the application of the DiGA listener, with the fault that is on."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        fault = current(state_dir) if scope["type"] == "http" else None
        if fault and fault.name == lost_answer.NAME and scope["path"] == lost_answer.TOKEN_PATH:
            await lost_answer.losing(app, scope, receive, send, lambda: _over(state_dir, fault))
            return
        reply = None if fault is None else _reply(scope, fault)
        if reply is None:
            await app(scope, receive, send)
        else:
            await send_reply(scope, send, reply)

    return answer


def _over(state_dir: Path, fault: Fault) -> bool:
    """End a fault that happens once; False when it was over already, or another worker was faster."""
    if current(state_dir) != fault:
        return False
    try:
        (state_dir / FILE).unlink()
    except FileNotFoundError:
        return False
    return True


def _reply(scope: Scope, fault: Fault) -> Reply | None:
    """The fault's response; None where it lets the request pass."""
    if fault.name == lost_answer.NAME:
        return None
    if scope["path"].startswith("/oauth/"):
        again = ("retry-after", str(fault.wait_seconds))
        if (outage := _OUTAGES.get(fault.name)) is None:
            return None
        planned = (("planned-maintenance", "true"),) if outage == Outage.PLANNED_MAINTENANCE else ()
        return json_reply({**OAUTH_BUSY, MEMBER: outage}, 503, (again, *planned, (HEADER.lower(), outage)))
    request = head_of(scope)
    if not scope["path"].startswith("/fhir/") or request.segments == ("metadata",):
        return None
    error = _ERRORS[fault.name](scope, request, fault)
    return None if error is None else request.refusal(error)


def _throttled(scope: Scope, request: Request, fault: Fault) -> FhirError | None:
    match request.segments:
        case (_,) | (_, "_search") | (_, "$hddt-cgm-summary"):
            return throttled(fault.wait_seconds, fault.wait_seconds)
        case _:
            return None


def _token_expired(scope: Scope, request: Request, fault: Fault) -> FhirError | None:
    token = next(iter(header_values(scope, "authorization")), "").partition(" ")[2]
    try:
        payload = token.split(".")[1]
        issued = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["iat"]
    except (IndexError, KeyError, ValueError):
        return None  # the recorder itself responds
    return unauthorized("The access token expired") if issued * 1000 < fault.since_ms else None


_OUTAGES = {
    "overload": Outage.TEMPORARY_DISRUPTION,
    "maintenance": Outage.PLANNED_MAINTENANCE,
    "registry": Outage.DEPENDENCY_FAILED,
}
_ERRORS: dict[str, Callable[[Scope, Request, Fault], FhirError | None]] = {
    "throttled": _throttled,
    "overload": lambda scope, request, fault: overloaded(fault.wait_seconds),
    "maintenance": lambda scope, request, fault: maintenance(MAINTENANCE, fault.wait_seconds),
    "registry": lambda scope, request, fault: unavailable(
        "The DiGA directory cannot be reached at the moment", fault.wait_seconds
    ),
    "error": lambda scope, request, fault: internal_error(),
    "token-expired": _token_expired,
}
