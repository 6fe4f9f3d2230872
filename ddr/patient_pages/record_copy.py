"""The rest of the patient's copy (GDPR Article 15): consents with their proof, pairings, and who read what.

As FHIR within /me/data.json, and as tables: GET /me/consents.csv and /me/accesses.csv. Streamed page by page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from ddr.fhir.audit_event import audit_event_resource
from ddr.fhir.consent import consent_resource, research_consent_resource, role_of
from ddr.fhir.instants import instant, told_instant
from ddr.http.core import Core
from ddr.patient_pages.access import words
from ddr.patient_pages.dates import day
from ddr.patient_pages.names import app_name, title_of
from ddr.patient_pages.research import told_of
from ddr.patient_pages.table_forms import csv_lines, harmless
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.reasons import reason
from ddr.patient_pages.texts.representation import role_name, somebody
from ddr.store.audit import patients as trail
from ddr.store.authorization import research
from ddr.store.authorization.representations import of_patient, open_of
from ddr.store.database.ids import Kind
from ddr.store.database.pool import Row
from ddr.store.gateways import tokens
from ddr.store.patients import export
from ddr.store.patients import research as exports

ACCESS_HEADING = ("time", "app", "client_id", "event", "what")
# The columns of both tables in German; those of consents in the order of ConsentLine.
CONSENT_GERMAN = (
    *("Verbindung", "App", "client_id", "verbunden", "getrennt", "getrennt, weil"),
    *("Daten", "ValueSet", "zugestimmt", "bis", "zuerst bis", "beendet", "beendet von", "beendet, weil"),
    *("zugestimmt als", "beendet als"),
    *("Sprache", "Fassung", "SHA-256", "Text"),
)
ENDED_BY_GERMAN = {"patient": "Ihnen", "diga": "der App", "operator": "dem Betreiber", "system": "diesem Dienst"}
ACCESS_GERMAN = ("Zeit", "App", "client_id", "Ereignis", "was")
ACTS = {"given": "copy.given", "shortened": "copy.shortened", "ended": "copy.ended"}
ACTS_BY = {"given": "copy.given_by", "shortened": "copy.shortened_by"}  # where a representative did it


class ConsentLine(NamedTuple):
    """One line of /me/consents.csv; the field names are its columns. Cells without content stay empty.

    Instants are FHIR instants. `given_as` and `ended_as` are the role of the representative who did it.
    """

    pairing: str = ""
    app: str = ""
    client_id: str = ""
    connected: str = ""
    disconnected: str = ""
    disconnected_because: str = ""
    kind: str = ""
    valueset: str = ""
    given: str = ""
    until: str = ""
    first_until: str = ""
    ended: str = ""
    ended_by: str = ""
    ended_because: str = ""
    given_as: str = ""
    ended_as: str = ""
    language: str = ""
    text_version: str = ""
    text_sha256: str = ""
    text: str = ""


async def resources(core: Core, patient_id: UUID, lang: str, upto_no: int) -> AsyncIterator[dict[str, Any]]:
    """Consent and AuditEvent resources; those of the trail up to entry number `upto_no`."""
    now_ms, observer = core.clock(), core.settings.product_name
    async for row in export.consents(core.pool, patient_id):
        yield consent_resource(
            row,
            core.ids.encode(Kind.CONSENT, row["consent_no"]),
            app=app_name(core, row["client_id"]),
            kind=title_of(core, row["miv_url"], lang),
            now_ms=now_ms,
            story=_story(core, row, lang),
        )
    for row in await research.of_patient(core.pool, patient_id):
        name = core.ids.encode(Kind.RESEARCH, row["act_no"])
        yield research_consent_resource(row, name, story=_research_story(row, lang))
    async for row in trail.upto(core.pool, patient_id, upto_no):
        name, app = core.ids.encode(Kind.AUDIT, row["audit_no"]), app_name(core, row["client_id"])
        yield audit_event_resource(row, name, app=app, words=words(core, row, lang, text), observer=observer)


async def consent_lines(core: Core, patient_id: UUID, lang: str, *, acting: bool = False) -> AsyncIterator[bytes]:
    """/me/consents.csv line by line (RFC 4180): consents with their pairing and the text that was agreed to, then all
    other permissions that the pages show (`_other_lines`). `acting`: the reader is a representative, who is not told
    whom the patient represents."""
    yield _line(ConsentLine._fields)
    async for row in export.consents(core.pool, patient_id):
        yield _line(_consent_line(core, row, lang))
    for row in await research.of_patient(core.pool, patient_id):
        yield _line(_research_line(row, lang))
    async for line in _other_lines(core, patient_id, lang, acting):
        yield _line(line)


def _consent_line(core: Core, row: Row, lang: str) -> ConsentLine:
    """A row of ddr.store.patients.export.consents."""
    return ConsentLine(
        pairing=row["pairing_id"],
        app=app_name(core, row["client_id"]),
        client_id=row["client_id"],
        connected=instant(row["paired_ms"]),
        disconnected=_at(row["unpaired_ms"]),
        disconnected_because=reason(lang, row["unpaired_reason"]) if row["unpaired_ms"] else "",
        kind=title_of(core, row["miv_url"], lang),
        valueset=row["miv_url"],
        given=instant(row["granted_ms"]),
        until=instant(row["until_ms"]),
        first_until=instant(row["acts"][0]["until_ms"]) if row["acts"] else "",
        ended=_at(row["withdrawn_ms"]),
        ended_by=row["ended_by"] or "",
        ended_because=reason(lang, row["end_reason"]) if row["withdrawn_ms"] else "",
        given_as=role_of(row, "given"),
        ended_as=role_of(row, "ended"),
        **_agreed_text(row),
    )


def _research_line(row: Row, lang: str) -> ConsentLine:
    """A row of ddr.store.authorization.research.of_patient."""
    return ConsentLine(
        kind=text(lang, "research.title"),
        given=instant(row["given_ms"]),
        ended=_at(row["ended_ms"]),
        ended_by=row["ended_by"] or "",
        ended_because=reason(lang, row["reason"]) if row["ended_ms"] else "",
        given_as=row["given_role"] or "",
        ended_as=row["ended_role"] or "",
        **_agreed_text(row),
    )


async def _other_lines(core: Core, patient_id: UUID, lang: str, acting: bool) -> AsyncIterator[ConsentLine]:
    """Apps that send, representations of and by this patient, exports for research; worded as on the pages."""
    for row in await tokens.apps(core.pool, patient_id, core.clock()):
        yield ConsentLine(
            app=row["name"] or text(lang, "gateway_apps.unnamed"),
            connected=instant(row["since_ms"]),
            kind=text(lang, "gateway_apps.title"),
            until=instant(row["until_ms"]),
            given_as=row["role"] or "",
        )
    for row in await of_patient(core.pool, patient_id):
        yield ConsentLine(
            kind=text(lang, "representation.by_whom"),
            given=instant(row["since_ms"]),
            until=_at(row["until_ms"]),
            ended=_at(row["ended_ms"]),
            ended_because=reason(lang, row["end_reason"]) if row["ended_ms"] else "",
            given_as=row["relation"],
        )
    for one in [] if acting else await open_of(core.pool, patient_id):
        yield ConsentLine(
            app=one.terms.name,
            kind=text(lang, "representation.for_whom"),
            given=instant(one.terms.since_ms),
            until=_at(one.terms.until_ms),
            given_as=str(one.terms.relation),
        )
    for row in await exports.exports_with(core.pool, patient_id):
        yield ConsentLine(
            app=row["recipient"],
            kind=text(lang, "research.exports"),
            valueset=" ".join(row["valuesets"]),
            given=instant(row["at_ms"]),
            language=lang,
            text=text(lang, "research.export", **told_of(core, row, lang)),
        )


def consent_in_german(row: Sequence[str]) -> Sequence[str]:
    """A line of the consents with German words for who ended one, and for the role in which somebody acted."""
    line = ConsentLine(*row)
    return line._replace(
        ended_by="Ihrer Vertretung" if line.ended_as else ENDED_BY_GERMAN.get(line.ended_by, line.ended_by),
        given_as=role_name("de", line.given_as) if line.given_as else "",
        ended_as=role_name("de", line.ended_as) if line.ended_as else "",
    )


async def access_lines(core: Core, patient_id: UUID, lang: str, upto_no: int) -> AsyncIterator[bytes]:
    """One line per entry of the trail, up to number `upto_no`, in words and with its tag."""
    yield _line(ACCESS_HEADING)
    async for row in trail.upto(core.pool, patient_id, upto_no):
        app, said = app_name(core, row["client_id"]), words(core, row, lang, text)
        yield _line((told_instant(row["at_ms"]), app, row["client_id"] or "", row["event"], said))


def _agreed_text(row: Row) -> dict[str, str]:
    """The cells about the text that was agreed to, empty where none was kept."""
    return {
        "language": row["language"] or "",
        "text_version": row["version"] or "",
        "text_sha256": row["text_sha256"].hex() if row["text_sha256"] else "",
        "text": row["content"] or "",
    }


def _research_story(row: Row, lang: str) -> list[str]:
    """What happened to a consent to research, in sentences."""
    given = text(lang, "research.copy_given", day=day(lang, row["given_ms"]))
    if row["ended_ms"] is None:
        return [given]
    return [given, text(lang, "copy.ended", day=day(lang, row["ended_ms"]), reason=reason(lang, row["reason"]))]


def _story(core: Core, row: Row, lang: str) -> list[str]:
    """What happened to a consent: a sentence for each act in its proof."""
    names = {"app": app_name(core, row["client_id"]), "kind": title_of(core, row["miv_url"], lang)}
    told = [
        text(
            lang,
            (ACTS | ACTS_BY if act["role"] else ACTS)[act["act"]],
            who=somebody(lang, act["role"]),
            day=day(lang, act["at_ms"]),
            until=day(lang, act["until_ms"]),
            reason=reason(lang, act["reason"]),
            **names,
        )
        for act in row["acts"] or ()
    ]
    connected = text(lang, "copy.connected", day=day(lang, row["paired_ms"]), **names)
    if row["unpaired_ms"] is None:
        return [connected, *told]
    because = reason(lang, row["unpaired_reason"])
    return [
        connected,
        *told,
        text(lang, "copy.disconnected", day=day(lang, row["unpaired_ms"]), reason=because, **names),
    ]


def _at(ms: int | None) -> str:
    return "" if ms is None else instant(ms)


def _line(row: Sequence[str]) -> bytes:
    return csv_lines([[harmless(cell) for cell in row]])
