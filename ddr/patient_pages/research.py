"""GET and POST /me/research: what research with readings is, and the patient's consent to it (docs/research.md).

It is independent of what DiGA may read: neither follows from the other.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.http.language import language
from ddr.patient_pages.consent import TEXT_CHANGED
from ddr.patient_pages.dates import ZONE, day
from ddr.patient_pages.names import titles_of
from ddr.patient_pages.render import page
from ddr.patient_pages.research_text import SECTIONS, agreed_to, shown
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.reasons import reason
from ddr.patient_pages.texts.representation import somebody
from ddr.patient_pages.visitor import FormRefused, Visitor, core_of, read_form, see_other
from ddr.series.days import midnight
from ddr.store.authorization import research
from ddr.store.authorization.unpairing import withdrawn
from ddr.store.database.pool import Row
from ddr.store.patients import research as exports
from ddr.store.patients.sessions import Session

NOTICES = {"given": "research.given_notice", "withdrawn": "research.withdrawn_notice"}
UNTICKED = "research.unticked_error"


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The explanation, the decision, and former decisions."""
    return await _page(request, await core_of(request).reading(), visitor, session)


async def submit(request: Request, visitor: Visitor, session: Session) -> Response:
    """Agree (`decision=give` with `agree`), or withdraw (`decision=withdraw`)."""
    form, core = await read_form(request, visitor), core_of(request)
    match form.one("decision"):
        case "withdraw":
            await research.withdraw(core.pool, session.patient_id, withdrawn(), core.clock())
            return see_other("/me/research?withdrawn")
        case "give" if not session.decides_for_good:
            return await _page(request, core, visitor, session, status=403)
        case "give" if form.one("agree") != "yes":
            return await _page(request, core, visitor, session, UNTICKED)
        case "give":
            read = agreed_to(form.one("text"), session.role)
            if read is None:
                return await _page(request, core, visitor, session, TEXT_CHANGED)
            given = await research.give(core.pool, session.patient_id, read, core.clock())
            return see_other("/me/research?given" if given else "/me/research")
        case _:
            raise FormRefused


async def _page(
    request: Request, core: Core, visitor: Visitor, session: Session, error: str = "", status: int = 200
) -> Response:
    lang = language(request.scope)
    consents = await research.of_patient(core.pool, session.patient_id)
    in_force = next((one for one in consents if one["ended_ms"] is None), None)
    done = "given" if in_force else "withdrawn"  # another tab may have reversed it since
    notice = NOTICES[done] if done in request.query_params else ""
    return page(
        request,
        visitor,
        "research.html",
        status=422 if error else status,
        sections=SECTIONS,
        in_force=in_force,
        given_by=somebody(lang, in_force["given_role"]) if in_force else "",
        former=[one for one in reversed(consents) if one["ended_ms"] is not None],
        exports=[told_of(core, row, lang) for row in await exports.exports_with(core.pool, session.patient_id)],
        reason=lambda tag: reason(lang, tag),
        may_give=session.decides_for_good,
        text_digest=shown(lang, session.role).digest.hex(),
        notice=notice and text(lang, notice),
        error=error and text(lang, error),
    )


def told_of(core: Core, row: Row, lang: str) -> dict[str, str]:
    """An export, as the page and the patient's copy describe it."""
    return {
        "day": day(lang, row["at_ms"]),
        "recipient": row["recipient"],
        "project": row["title"],
        "reference": row["reference"],
        "until": day(lang, midnight(row["until"], ZONE)),
        "exported_by": row["exported_by"],
        "kinds": titles_of(core, row["valuesets"], lang),
    }
