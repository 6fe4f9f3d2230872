"""GET /me/devices: the patient's devices with the details that a DiGA sees along with readings."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.http.language import language
from ddr.patient_pages.dates import given_day
from ddr.patient_pages.gateway_apps import apps_of, at_provider
from ddr.patient_pages.names import measured_by, title_of
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.devices import called
from ddr.patient_pages.visitor import Visitor, core_of
from ddr.store.database.pool import Row
from ddr.store.patients import files
from ddr.store.patients import views as patient_view
from ddr.store.patients.sessions import Session


@dataclass(frozen=True)
class OwnDevice:
    """One device in the patient's words."""

    name: str
    manufacturer: str
    model: str | None
    serial: str | None
    measures: tuple[str, ...]
    started_ms: int
    ended_ms: int | None
    expires: str
    expired: bool
    heard_ms: int


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The patient's devices, those in use first, and the apps that send their readings."""
    core, lang = await core_of(request).reading(), language(request.scope)
    rows = await patient_view.devices(core.pool, session.patient_id)
    return page(
        request,
        visitor,
        "devices.html",
        devices=sorted((_device(core, row, lang) for row in rows), key=lambda one: bool(one.ended_ms) or one.expired),
        apps=await apps_of(core, session, lang),
        at_provider=at_provider(core),
        taken=await files.last_taken(core_of(request).pool, session.patient_id, core.clock()),
        notice=_notice(request, lang),
    )


def _device(core: Core, row: Row, lang: str) -> OwnDevice:
    return OwnDevice(
        name=called(lang, row["device_name"]),
        manufacturer=called(lang, row["manufacturer"]),
        model=row["model_number"],
        serial=row["serial_number"],
        measures=tuple(title_of(core, valueset, lang) for valueset in measured_by(core, row)),
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        expires=given_day(lang, row["expiration_date"] or "", row["expiration_ms"]) if row["expiration_ms"] else "",
        expired=row["expiration_ms"] is not None and row["expiration_ms"] <= core.clock(),
        heard_ms=row["heard_ms"],
    )


def _notice(request: Request, lang: str) -> str:
    """The notice about what was just done."""
    if "disconnected" in request.query_params:
        return text(lang, "gateway_apps.disconnected")
    return text(lang, "file.went_back") if "file-taken-back" in request.query_params else ""
