"""The part of /me/devices about apps that send readings: list them, connect one by a pairing code, disconnect one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.patient_pages.render import page
from ddr.patient_pages.texts.representation import somebody
from ddr.patient_pages.visitor import FormRefused, Visitor, core_of, read_form, see_other
from ddr.store.audit.trail import Event
from ddr.store.gateways import apps, tokens
from ddr.store.patients.sessions import Session

MINUTES = apps.CODE_MS // 60_000


@dataclass(frozen=True)
class OwnApp:
    """An app that may send readings of the patient; `used_ms` to the hour; `by`: the representative who connected
    it."""

    app: str
    name: str
    since_ms: int
    used_ms: int | None
    until_ms: int
    by: str


async def apps_of(core: Core, session: Session, lang: str) -> Sequence[OwnApp]:
    """The patient's apps, oldest first."""
    return [
        OwnApp(
            **{name: row[name] for name in ("app", "name", "since_ms", "used_ms", "until_ms")},
            by=somebody(lang, row["role"]),
        )
        for row in await tokens.apps(core.pool, session.patient_id, core.clock())
    ]


def at_provider(core: Core) -> bool:
    """True when the account at the OpenID provider lets an app send, too; such an app is disconnected there."""
    return core.identity is not None and bool(core.identity.audience)


async def connect(request: Request, visitor: Visitor, session: Session) -> Response:
    """POST /me/devices/connect: a new code, shown on this response only; posting the form again makes another one."""
    await read_form(request, visitor)
    core = core_of(request)
    code = await apps.offer_code(core.pool, session.patient_id, core.clock())
    return page(request, visitor, "pairing_code.html", code=code, minutes=MINUTES)


async def disconnect(request: Request, visitor: Visitor, session: Session) -> Response:
    """POST /me/devices/disconnect: `app` sends nothing more, from its next request on."""
    form, core = await read_form(request, visitor), core_of(request)
    if not (app := form.one("app")) or "\x00" in app:
        raise FormRefused
    await apps.disconnect(core.pool, session.patient_id, app, Event.GATEWAY_DISCONNECTED, core.clock())
    return see_other("/me/devices?disconnected")
