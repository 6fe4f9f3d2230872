"""GET /me and POST /me/withdraw: which DiGA may read what, and how to end it (CON-005, CON-014)."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.http.language import language
from ddr.patient_pages.names import app_name, title_of
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.reasons import reason
from ddr.patient_pages.visitor import FormRefused, Visitor, core_of, read_form, see_other
from ddr.store.authorization import pairings
from ddr.store.authorization.pairings import Pairing
from ddr.store.authorization.unpairing import Party, unpair, withdraw, withdrawn
from ddr.store.patients import views as patient_view
from ddr.store.patients.sessions import Session

ENDED_SHOWN_MS = 90 * DAY_MS  # how long an ended connection stays on the page


@dataclass(frozen=True)
class Kind:
    """One kind of data that may be read."""

    valueset: str
    title: str
    until_ms: int


@dataclass(frozen=True)
class Connection:
    """One active pairing in the patient's words."""

    client_id: str
    name: str
    manufacturer: str
    kinds: tuple[Kind, ...]
    since_ms: int
    last_access_ms: int | None


@dataclass(frozen=True)
class Ended:
    """A connection that has ended, or one kind of data (`kind`) of an active one, and why."""

    name: str
    ended_ms: int
    reason: str
    kind: str = ""


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The patient's connections, active and recently ended ones."""
    core, lang = await core_of(request).reading(), language(request.scope)
    alive = await pairings.alive(core.pool, session.patient_id, core.clock())
    return page(
        request,
        visitor,
        "connections.html",
        alive=[await _connection(core, session, pairing, lang) for pairing in alive],
        ended=await _ended(core, session, lang),
        notice=_notice(lang, bool(alive)) if "withdrawn" in request.query_params else "",
    )


def _notice(lang: str, something_left: bool) -> str:
    """That consent is withdrawn; that nothing more is passed on only when that is true."""
    return text(lang, "connections.withdrawn_part" if something_left else "connections.withdrawn")


async def submit(request: Request, visitor: Visitor, session: Session) -> Response:
    """Withdraw consent: `kind` is a ValueSet or "all", `client_id` the DiGA; without it all connections end."""
    form = await read_form(request, visitor)
    core, kind, client_id = core_of(request), form.one("kind"), form.one("client_id")
    if not kind or (kind != "all" and not client_id):
        raise FormRefused
    for pairing in await pairings.alive(core.pool, session.patient_id, core.clock()):
        if client_id in ("", pairing.client_id):
            await _withdraw(core, session, pairing, kind)
    return see_other("/me?withdrawn")


async def _withdraw(core: Core, session: Session, pairing: Pairing, kind: str) -> None:
    if kind == "all":
        await unpair(core.pool, session.patient_id, pairing.pairing_no, Party.PATIENT, withdrawn(), core.clock())
    elif kind in (consent.valueset for consent in pairing.consents):
        await withdraw(core.pool, session.patient_id, pairing.pairing_no, kind, core.clock())


async def _connection(core: Core, session: Session, pairing: Pairing, lang: str) -> Connection:
    diga = core.registry.by_client_id(pairing.client_id)
    return Connection(
        client_id=pairing.client_id,
        name=app_name(core, pairing.client_id),
        manufacturer=diga.manufacturer if diga else "",
        kinds=tuple(
            Kind(consent.valueset, title_of(core, consent.valueset, lang), consent.until_ms)
            for consent in pairing.consents
        ),
        since_ms=pairing.created_ms,
        last_access_ms=await patient_view.last_read(core.pool, session.patient_id, pairing.pairing_no),
    )


async def _ended(core: Core, session: Session, lang: str) -> list[Ended]:
    after_ms = core.clock() - ENDED_SHOWN_MS
    pairings_over = await patient_view.ended_pairings(core.pool, session.patient_id, after_ms)
    kinds_over = await patient_view.lost_kinds(core.pool, session.patient_id, after_ms)
    ended = [
        Ended(
            app_name(core, row["client_id"]),
            row["ended_ms"],
            reason(lang, row["end_reason"]),
            title_of(core, row["miv_url"], lang) if "miv_url" in row.keys() else "",  # noqa: SIM118 - of a Record
        )
        for row in (*pairings_over, *kinds_over)
    ]
    return sorted(ended, key=lambda one: -one.ended_ms)
