"""Planned maintenance in each room's own form: 503 with a specific code until the window ends (OPS-004 to 006)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ddr.failures import NO_STORE
from ddr.fhir.instants import date_time
from ddr.fhir.outages import HEADER, MEMBER, Outage
from ddr.http.asgi import ASGIApp, Headers, Receive, Scope, Send, header, json_reply, problem
from ddr.http.core import Core
from ddr.http.guard import constant
from ddr.http.pages import error_page
from ddr.operations.status.functions import INGESTION, PAIRING, TOKEN
from ddr.store.outages.notices import Closure, seconds_until

BACKEND = {"/oauth/par": PAIRING, "/oauth/token": TOKEN, "/oauth/revoke": TOKEN}
BROWSER = {"/oauth/authorize": PAIRING, "/consent": PAIRING}

Refuse = Callable[[Closure], ASGIApp]


def closure(core: Core, function: str) -> Closure | None:
    """The maintenance that closes this function at present; the setting `maintenance` closes the functions towards
    DiGA."""
    now_ms = core.clock()
    if found := core.notices.closing(function, now_ms):
        notice, end_ms = found
        detail = f"Planned maintenance until {date_time(-(-end_ms // 1000) * 1000)}: {notice.impact or notice.cause}"
        return Closure(detail, seconds_until(end_ms, now_ms))
    if core.settings.maintenance and function != INGESTION:
        return Closure(core.settings.maintenance, core.settings.maintenance_retry_seconds)
    return None


def closing(app: ASGIApp, core: Core, functions: Mapping[str, str], refuse: Refuse) -> ASGIApp:
    """`app` with its paths of functions under maintenance answered by `refuse`."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        function = functions.get(scope["path"].rstrip("/"))
        found = None if function is None else closure(core, function)
        await (app if found is None else refuse(found))(scope, receive, send)

    return call


def closed_ingestion(app: ASGIApp, core: Core, open_paths: Collection[str]) -> ASGIApp:
    """The gateway API `app`, closed while no data can be taken in; its descriptions stay readable."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        found = None if scope["path"] in open_paths else closure(core, INGESTION)
        await (app if found is None else problem_refusal(found))(scope, receive, send)

    return call


def oauth_refusal(found: Closure) -> ASGIApp:
    """The response of the authorization server: for DiGA backends RFC 6749 section 4.1.2.1, for browsers a page."""
    content = {
        "error": "temporarily_unavailable",
        "error_description": found.detail,
        MEMBER: Outage.PLANNED_MAINTENANCE,
    }
    told, page = constant(json_reply(content, 503, (*refusal_headers(found), *NO_STORE))), page_refusal(found)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await (page if "text/html" in (header(scope, "accept") or "") else told)(scope, receive, send)

    return call


def page_refusal(found: Closure) -> ASGIApp:
    """A page for a patient on the way to the consent."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"Retry-After": str(found.retry_seconds)} | {
            name: value for name, value in refusal_headers(found) if name != "retry-after"
        }
        await error_page(scope, 503, "maintenance", headers)(scope, receive, send)

    return call


def problem_refusal(found: Closure) -> ASGIApp:
    """A problem document for gateways (RFC 9457), which keep their data and send it again."""
    more: dict[str, str | bool] = {
        "code": Outage.PLANNED_MAINTENANCE,
        "retry": True,
        MEMBER: Outage.PLANNED_MAINTENANCE,
    }
    return constant(problem(503, "Service Unavailable", found.detail, refusal_headers(found), more))


def refusal_headers(found: Closure) -> Headers:
    """The headers of every refusal: Retry-After in seconds, and that the maintenance is planned."""
    again = ("retry-after", str(found.retry_seconds))
    return (again, (HEADER.lower(), Outage.PLANNED_MAINTENANCE), ("planned-maintenance", "true"))
