"""GET and POST /consent: the patient decides, per kind of data (HDDT pairing.md, Consent for Fine-Grained Access).

The pushed request stays open while pages load and reload; the decision consumes it, records the consent and only then
sends the browser back to the DiGA (CON-003). When the DiGA may read nothing any more of what it asked for, a page says
so and leads back to it with invalid_scope, as the authorization endpoint does at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from ddr.call import refused_unless_told
from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.http.language import language
from ddr.http.pages import redirect_targets
from ddr.miv.model import Miv
from ddr.operations.pairing import answered, approve, out_of_scope, refuse, requested_mivs, turned_away
from ddr.patient_pages.arrival import PERSON, with_request
from ddr.patient_pages.consent_text import agreed_to, period_text, shown
from ddr.patient_pages.dates import day
from ddr.patient_pages.names import measured_by, title
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.devices import called
from ddr.patient_pages.visitor import Form, Refused, Visitor, core_of, identify, read_form, see_other
from ddr.scopes.diga import Diga
from ddr.store.authorization import pairings, par
from ddr.store.authorization.consents import Shown
from ddr.store.authorization.par import PushedRequest
from ddr.store.database.digest import sha256
from ddr.store.database.pool import Row
from ddr.store.patients.sessions import Session
from ddr.store.patients.views import devices

# A DiGA is prescribed for 90 days at a time: longer is not needed, shorter would end in the middle of a therapy.
SHORTER_DAYS = (90, 30)
NOTHING_CHOSEN = "consent.nothing_chosen_error"
TEXT_CHANGED = "consent.changed_error"
OUT_OF_SCOPE = "invalid_scope"
WHOLE = re.compile(r"[0-9]{1,15}")


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
    period_text: str
    since_ms: int
    granted_until_ms: int | None


@dataclass(frozen=True)
class Period:
    """How long the consent may last. `instead`, in words: when the former consents end, if that is another day."""

    days: int
    until_ms: int
    chosen: bool
    longest: bool
    instead: str = ""


async def show(request: Request) -> Response:
    """The consent page; the login first when nobody is logged in."""
    visitor, core = await identify(request), core_of(request)
    request_uri = request.query_params.get("request_uri", "")
    try:
        asked = await _asked(core, request_uri)
    except Refused as refused:
        raise await _or_decided(core, visitor, request_uri, refused) from None
    if not asked.mivs:
        return await _nothing_left(request, visitor, asked)
    if visitor.session is None:
        return _login(request_uri)
    if not _chosen(visitor.session, request_uri):
        return see_other(with_request(PERSON, request_uri))
    return await _page(request, visitor, visitor.session, asked)


async def submit(request: Request) -> Response:
    """Carry out the decision and send the browser back to the DiGA."""
    visitor, core = await identify(request), core_of(request)
    form = await read_form(request, visitor)
    request_uri = form.one("request_uri")
    try:
        asked = await _asked(core, request_uri)
    except Refused as refused:
        if visitor.session:
            denies, patient_id = form.one("decision") == "deny", visitor.session.patient_id
            if location := await answered(core, request_uri, patient_id, form.all("scope"), denies):
                return see_other(location)
        raise await _or_decided(core, visitor, request_uri, refused) from None
    if not asked.mivs and form.one("decision") != "deny":
        return await _nothing_left(request, visitor, asked)
    if visitor.session is None:
        return _login(request_uri)
    if not _chosen(visitor.session, request_uri):
        return see_other(with_request(PERSON, request_uri))
    if form.one("decision") == "approve" and not form.all("scope"):
        return await _page(request, visitor, visitor.session, asked, NOTHING_CHOSEN, form.one("days"))
    ends = await _agreed(core, visitor.session.patient_id, asked.diga)
    lang, role = language(request.scope), visitor.session.role
    read = agreed_to(asked.diga, asked.mivs, form.one("text"), lang, again=bool(ends), role=role)
    if form.one("decision") == "approve" and read is None:
        return await _page(request, visitor, visitor.session, asked, TEXT_CHANGED, form.one("days"))
    return see_other(await _carry_out(core, visitor.session.patient_id, asked, form, ends, read))


def _chosen(session: Session, request_uri: str) -> bool:
    """Whether the user has chosen whose data this request is about. Only users who represent others have to choose."""
    return not session.represents or session.chosen_sha256 == sha256(request_uri)


async def _or_decided(core: Core, visitor: Visitor, request_uri: str, refused: Refused) -> Refused:
    """The same refusal; another one when the patient in this browser has already decided the request and returns with
    the back button or a reload."""
    if refused.problem == "unknown_request" and visitor.session:
        patient_id = visitor.session.patient_id
        if await par.decided(core.pool, request_uri, patient_id, core.clock() - DAY_MS):
            return Refused(400, "decided_request")
    return refused


async def _carry_out(
    core: Core, patient_id: UUID, asked: Asked, form: Form, ends: Mapping[str, int], read: Shown | None
) -> str:
    """Where the decision leads. Of two clicks the second finds the request decided; a refusal wins over it."""
    request_uri, scopes = asked.request.request_uri, set(form.all("scope"))
    chosen = [miv.valueset for miv in asked.mivs if miv.scope in scopes]
    match form.one("decision"):
        case "deny":
            location = await refuse(core, request_uri, patient_id)
        case "approve" if len(chosen) == len(scopes):
            until_ms = _until(core, form, [ends[url] for url in chosen if url in ends])
            location = await approve(core, request_uri, patient_id, chosen, until_ms, read)
        case _:
            raise Refused(400, "bad_request")
    location = location or await answered(core, request_uri, patient_id, scopes, form.one("decision") == "deny")
    if location is None:
        raise Refused(400, "unknown_request")
    return location


async def _asked(core: Core, request_uri: str) -> Asked:
    """The open request of this name, checked again against the registry's present content."""
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
    return Asked(pushed, diga, requested_mivs(core, pushed, diga))


async def _page(
    request: Request, visitor: Visitor, session: Session, asked: Asked, error: str = "", chosen_days: str = ""
) -> Response:
    core, lang = core_of(request), language(request.scope)
    choices = await _choices(core, session, asked, lang)
    again = any(choice.granted_until_ms for choice in choices)
    now_ms, ends = core.clock(), [day(lang, end) for choice in choices if (end := choice.granted_until_ms)]
    return page(
        request,
        visitor,
        "consent.html",
        status=422 if error else 200,
        form_targets=redirect_targets(asked.request.redirect_uri),
        diga=asked.diga,
        action=with_request("/consent", asked.request.request_uri),
        other_person=with_request(PERSON, asked.request.request_uri),
        request_uri=asked.request.request_uri,
        ends_ms=asked.request.expires_ms,
        text_digest=shown(asked.diga, asked.mivs, lang, again=again, role=session.role).digest.hex(),
        choices=choices,
        again=again,
        shown_ms=now_ms,
        periods=_periods(core, now_ms, chosen_days, ends, lang),
        error=error and text(lang, error),
    )


async def _nothing_left(request: Request, visitor: Visitor, asked: Asked) -> Response:
    """Says that there is nothing to decide. The request stays open: what the DiGA-VZ lists may have been corrected when
    the page is loaded again."""
    core, pushed = core_of(request), asked.request
    await turned_away(core, pushed.request_uri, pushed.client_id, "/consent", OUT_OF_SCOPE)
    refused_unless_told(OUT_OF_SCOPE)
    return page(request, visitor, "nothing_left.html", status=400, diga=asked.diga, back=out_of_scope(core, pushed))


async def _choices(core: Core, session: Session, asked: Asked, lang: str) -> list[Choice]:
    now_ms = core.clock()
    own = await devices(core.pool, session.patient_id)
    until = await _agreed(core, session.patient_id, asked.diga)
    return [
        Choice(
            scope=miv.scope,
            title=title(miv, lang),
            description=miv.description_de if lang == "de" else miv.description,
            devices=tuple(
                dict.fromkeys(called(lang, row["device_name"]) for row in own if miv.valueset in measured_by(core, row))
            ),
            period_text=period_text(miv),
            since_ms=_oldest_ms(core, miv, own, now_ms),
            granted_until_ms=until.get(miv.valueset),
        )
        for miv in asked.mivs
    ]


def _oldest_ms(core: Core, miv: Miv, own: Sequence[Row], now_ms: int) -> int:
    """The beginning of the oldest values that are shown: the chunk in which the history begins is shown as a whole.

    Sensors keep the chunk length with which they were registered.
    """
    spans = [core.settings.chunk_span_seconds * 1000, *(row["span_ms"] or 0 for row in own)]
    whole_ms = max(spans) if miv.continuous else 0
    return core.catalog.floor_ms(miv.valueset, now_ms) - whole_ms


async def _agreed(core: Core, patient_id: UUID, diga: Diga) -> dict[str, int]:
    """When the patient's consents for this DiGA end, by ValueSet."""
    return {
        consent.valueset: consent.until_ms
        for pairing in await pairings.alive(core.pool, patient_id, core.clock())
        if pairing.client_id == diga.client_id
        for consent in pairing.consents
    }


def _periods(core: Core, from_ms: int, chosen: str = "", ends: Sequence[str] = (), lang: str = "de") -> list[Period]:
    """How long a consent given at `from_ms` may last, the preset one first (CON-006, CON-007).

    `ends` are the end days of the consents that it would replace: choosing a period also means choosing against them.
    """
    longest = core.settings.consent_days
    offered = [*(days for days in SHORTER_DAYS if days < longest), longest]
    found = []
    for days in offered:
        until_ms = from_ms + days * DAY_MS
        others = [end for end in dict.fromkeys(ends) if end != day(lang, until_ms)]
        instead = text(lang, "consent.or").join(others)
        found.append(Period(days, until_ms, str(days) == chosen, days == longest, instead))
    return found


def _until(core: Core, form: Form, ends: Sequence[int]) -> int:
    """The end that the patient chose, as the page said it: midnight may have passed since. Raises Refused.

    A patient who was not asked agrees to the shortest period that does not end before the consents that end at `ends`.
    """
    chosen, from_ms = form.one("days"), _read_ms(core, form)
    if not chosen:
        periods = sorted(_periods(core, from_ms), key=lambda period: period.days)
        return next((p.until_ms for p in periods if p.until_ms >= max(ends, default=0)), periods[-1].until_ms)
    found = next((period for period in _periods(core, from_ms, chosen) if period.chosen), None)
    if found is None:
        raise Refused(400, "bad_request")
    return found.until_ms


def _read_ms(core: Core, form: Form) -> int:
    """When the page with this form was shown, if that is possible for its request; else now."""
    at, now_ms = form.one("shown"), core.clock()
    return int(at) if WHOLE.fullmatch(at) and 0 <= now_ms - int(at) <= core.settings.par_seconds * 1000 else now_ms


def _login(request_uri: str) -> Response:
    return see_other(with_request("/login", request_uri))
