"""GET and POST /consent: the patient decides, per kind of data (HDDT pairing.md, Consent for Fine-Grained Access).

The pushed request stays open while pages load and reload; the decision consumes it, records the consent and only then
sends the browser back to the DiGA (CON-003).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ddr.consent.names import title
from ddr.consent.render import page
from ddr.consent.texts import text
from ddr.consent.visitor import Visitor, core_of, identify, read_form, see_other
from ddr.http.core import Core
from ddr.http.pages import error_page, language, redirect_targets
from ddr.miv.model import Miv
from ddr.operations.pairing import DAY_MS, approve, refuse
from ddr.scopes.diga import Diga
from ddr.scopes.parse import granted
from ddr.store import pairings, par
from ddr.store.par import PushedRequest
from ddr.store.patient_view import devices
from ddr.store.sessions import Session


@dataclass(frozen=True)
class Asked:
    """An open request of a DiGA that may be shown to a patient."""

    request: PushedRequest
    diga: Diga
    mivs: tuple[Miv, ...]


@dataclass(frozen=True)
class Choice:
    """One kind of data to agree to."""

    scope: str
    title: str
    description: str
    devices: tuple[str, ...]
    since_ms: int
    granted_until_ms: int | None


class Refused(Exception):
    """The request cannot be decided: HTTP status and key of ddr.http.pages.PROBLEMS."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status, self.problem = status, problem


async def show(request: Request) -> Response:
    """The consent page; the login first when nobody is logged in."""
    visitor = await identify(request)
    request_uri = request.query_params.get("request_uri", "")
    asked = await _asked(core_of(request), request_uri)
    if visitor.session is None:
        return _login(request_uri)
    return await _page(request, visitor, visitor.session, asked)


async def submit(request: Request) -> Response:
    """Carry out the decision and send the browser back to the DiGA."""
    visitor = await identify(request)
    form = await read_form(request, visitor)
    asked = await _asked(core_of(request), form.one("request_uri"))
    if visitor.session is None:
        return _login(asked.request.request_uri)
    decision, scopes = form.one("decision"), set(form.all("scope"))
    if decision == "approve" and not scopes:
        return await _page(request, visitor, visitor.session, asked, error="consent.nothing_chosen_error")
    return await _carry_out(core_of(request), visitor.session, asked, decision, scopes)


async def _carry_out(core: Core, session: Session, asked: Asked, decision: str, scopes: set[str]) -> Response:
    request_uri, patient_id = asked.request.request_uri, session.patient_id
    chosen = [miv.valueset for miv in asked.mivs if miv.scope in scopes]
    if decision == "deny":
        location = await refuse(core, request_uri, patient_id)
    elif decision == "approve" and len(chosen) == len(scopes):
        location = await approve(core, request_uri, patient_id, chosen)
    else:
        raise Refused(400, "bad_request")
    if location is None:
        raise Refused(400, "unknown_request")
    return see_other(location)


async def refused(request: Request, error: Exception) -> Response:
    """The answer to Refused. It never redirects: whoever is behind the redirect_uri may not be trusted now."""
    assert isinstance(error, Refused)
    return error_page(request.scope, error.status, error.problem)


async def _asked(core: Core, request_uri: str) -> Asked:
    """The open request of this name, checked again against what the registry says now."""
    if not request_uri:
        raise Refused(400, "bad_request")
    pushed = await par.load(core.pool, request_uri, core.clock())
    if pushed is None:
        raise Refused(400, "unknown_request")
    if core.registry.stale(core.clock()):
        raise Refused(503, "unavailable")
    diga = core.registry.by_client_id(pushed.client_id)
    if diga is None or not diga.active or diga.redirect_uri != pushed.redirect_uri:
        raise Refused(400, "unknown_client")
    return Asked(pushed, diga, _mivs(core, pushed, diga))


def _mivs(core: Core, pushed: PushedRequest, diga: Diga) -> tuple[Miv, ...]:
    wanted = granted(pushed.scope).within(diga.valuesets)
    return tuple(miv for url in wanted.valuesets if (miv := core.catalog.by_valueset(url)))


async def _page(request: Request, visitor: Visitor, session: Session, asked: Asked, error: str = "") -> Response:
    core, lang = core_of(request), language(request.scope)
    choices = await _choices(core, session, asked, lang)
    return page(
        request,
        visitor,
        "consent.html",
        status=422 if error else 200,
        form_targets=redirect_targets(asked.request.redirect_uri),
        diga=asked.diga,
        request_uri=asked.request.request_uri,
        choices=choices,
        again=any(choice.granted_until_ms for choice in choices),
        until_ms=_consent_until(core),
        error=error and text(lang, error),
    )


async def _choices(core: Core, session: Session, asked: Asked, lang: str) -> list[Choice]:
    now_ms = core.clock()
    own = await devices(core.pool, session.patient_id)
    until = {
        consent.valueset: consent.until_ms
        for pairing in await pairings.alive(core.pool, session.patient_id, now_ms)
        if pairing.client_id == asked.diga.client_id
        for consent in pairing.consents
    }
    return [
        Choice(
            scope=miv.scope,
            title=title(miv, lang),
            description=miv.description_de if lang == "de" else miv.description,
            devices=tuple(dict.fromkeys(row["device_name"] for row in own if miv.valueset in row["measures"])),
            since_ms=now_ms - core.catalog.terms[miv.valueset].historic_days * DAY_MS,
            granted_until_ms=until.get(miv.valueset),
        )
        for miv in asked.mivs
    ]


def _consent_until(core: Core) -> int:
    """The end of a consent given now (CON-006, CON-007)."""
    return core.clock() + core.settings.consent_days * DAY_MS


def _login(request_uri: str) -> Response:
    return see_other(f"/login?{urlencode({'request_uri': request_uri})}")
