"""The rest of the patient's copy (GDPR Article 15): consents with their proof, pairings, and who read what.

As FHIR within /me/data.json, and as tables: GET /me/consents.csv and /me/accesses.csv. Streamed page by page.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from ddr.fhir.audit_event import audit_event_resource
from ddr.fhir.consent import consent_resource, research_consent_resource, role_of
from ddr.fhir.instants import instant
from ddr.http.core import Core
from ddr.patient_pages.access import words
from ddr.patient_pages.dates import day
from ddr.patient_pages.names import app_name, title_of
from ddr.patient_pages.research import told_of
from ddr.patient_pages.table_forms import harmless
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.reasons import reason
from ddr.patient_pages.texts.representation import role_name, somebody
from ddr.store.audit import patients as trail
from ddr.store.authorization import research
from ddr.store.authorization.representations import of_patient, open_of
from ddr.store.database.ids import Kind
from ddr.store.gateways import tokens
from ddr.store.patients import export
from ddr.store.patients import research as exports

Row = Mapping[str, Any]

CONSENT_HEADING = (
    *("pairing", "app", "client_id", "connected", "disconnected", "disconnected_because"),
    *("kind", "valueset", "given", "until", "first_until", "ended", "ended_by", "ended_because"),
    *("given_as", "ended_as"),
    *("language", "text_version", "text_sha256", "text"),
)
ACCESS_HEADING = ("time", "app", "client_id", "event", "what")
# The same as a German Excel opens them.
CONSENT_GERMAN = (
    *("Verbindung", "App", "client_id", "verbunden", "getrennt", "getrennt, weil"),
    *("Daten", "ValueSet", "zugestimmt", "bis", "zuerst bis", "beendet", "beendet von", "beendet, weil"),
    *("zugestimmt als", "beendet als"),
    *("Sprache", "Fassung", "SHA-256", "Text"),
)
ENDED_BY, GIVEN_AS, ENDED_AS = map(CONSENT_HEADING.index, ("ended_by", "given_as", "ended_as"))
ENDED_BY_GERMAN = {"patient": "Ihnen", "diga": "der App", "operator": "dem Betreiber", "system": "diesem Dienst"}
ACCESS_GERMAN = ("Zeit", "App", "client_id", "Ereignis", "was")
ACTS = {"given": "copy.given", "shortened": "copy.shortened", "ended": "copy.ended"}
ACTS_BY = {"given": "copy.given_by", "shortened": "copy.shortened_by"}  # of a representative


async def resources(core: Core, patient_id: UUID, lang: str, upto_no: int) -> AsyncIterator[dict[str, Any]]:
    """Consent and AuditEvent resources; of the trail the entries up to number `upto_no`."""
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


async def consent_lines(core: Core, patient_id: UUID, lang: str) -> AsyncIterator[bytes]:
    """One line per consent, with its pairing and the text that was agreed to (RFC 4180)."""
    yield _written([CONSENT_HEADING])
    async for row in export.consents(core.pool, patient_id):
        pairing = (
            row["pairing_id"],
            app_name(core, row["client_id"]),
            row["client_id"],
            instant(row["paired_ms"]),
            _at(row["unpaired_ms"]),
            reason(lang, row["unpaired_reason"]) if row["unpaired_ms"] else "",
        )
        consent = (
            title_of(core, row["miv_url"], lang),
            row["miv_url"],
            instant(row["granted_ms"]),
            instant(row["until_ms"]),
            instant(row["acts"][0]["until_ms"]) if row["acts"] else "",
            _at(row["withdrawn_ms"]),
            row["ended_by"] or "",
            reason(lang, row["end_reason"]) if row["withdrawn_ms"] else "",
            role_of(row, "given"),
            role_of(row, "ended"),
        )
        yield _written([(*pairing, *consent, *_words(row))])
    for row in await research.of_patient(core.pool, patient_id):
        ended = (_at(row["ended_ms"]), row["ended_by"] or "", reason(lang, row["reason"]) if row["ended_ms"] else "")
        roles = (row["given_role"] or "", row["ended_role"] or "")
        about = (text(lang, "research.title"), "", instant(row["given_ms"]), "", "")
        yield _written([("",) * 6 + (*about, *ended, *roles, *_words(row))])
    async for line in _others(core, patient_id, lang):
        yield _written([line])


def consent_in_german(row: Sequence[str]) -> Sequence[str]:
    """A line of the consents with German words for who ended one, and in which role somebody acted."""
    told = list(row)
    told[ENDED_BY] = "Ihrer Vertretung" if row[ENDED_AS] else ENDED_BY_GERMAN.get(row[ENDED_BY], row[ENDED_BY])
    for at in (GIVEN_AS, ENDED_AS):
        told[at] = role_name("de", row[at]) if row[at] else ""
    return told


async def _others(core: Core, patient_id: UUID, lang: str) -> AsyncIterator[Sequence[str]]:
    """Lines of the same columns: who sends, who represents, who got readings for research; as the pages tell it."""
    for row in await tokens.apps(core.pool, patient_id, core.clock()):
        app = ("", row["name"] or text(lang, "gateway_apps.unnamed"), "", instant(row["since_ms"]), "", "")
        about = (text(lang, "gateway_apps.title"), "", "", instant(row["until_ms"]), "", "", "", "")
        yield (*app, *about, row["role"] or "", *("",) * 5)
    for row in await of_patient(core.pool, patient_id):
        because = reason(lang, row["end_reason"]) if row["ended_ms"] else ""
        times = (instant(row["since_ms"]), _at(row["until_ms"]), "", _at(row["ended_ms"]), "", because)
        yield (*("",) * 6, text(lang, "representation.by_whom"), "", *times, row["relation"], *("",) * 5)
    for one in await open_of(core.pool, patient_id):
        held = (text(lang, "representation.for_whom"), "", instant(one.terms.since_ms), _at(one.terms.until_ms))
        yield ("", one.terms.name, *("",) * 4, *held, *("",) * 4, str(one.terms.relation), *("",) * 5)
    for row in await exports.exports_with(core.pool, patient_id):
        given = (text(lang, "research.exports"), " ".join(row["valuesets"]), instant(row["at_ms"]))
        told = text(lang, "research.export", **told_of(core, row, lang))
        yield ("", row["recipient"], *("",) * 4, *given, *("",) * 7, lang, "", "", told)


async def access_lines(core: Core, patient_id: UUID, lang: str, upto_no: int) -> AsyncIterator[bytes]:
    """One line per entry of the trail, up to number `upto_no`, in words and with its tag."""
    yield _written([ACCESS_HEADING])
    async for row in trail.upto(core.pool, patient_id, upto_no):
        app, said = app_name(core, row["client_id"]), words(core, row, lang, text)
        yield _written([(instant(row["at_ms"]), app, row["client_id"] or "", row["event"], said)])


def _words(row: Row) -> tuple[str, str, str, str]:
    """The text that was agreed to: language, version, SHA-256, the words."""
    digest = row["text_sha256"].hex() if row["text_sha256"] else ""
    return row["language"] or "", row["version"] or "", digest, row["content"] or ""


def _research_story(row: Row, lang: str) -> list[str]:
    """What happened to a consent to research, in sentences."""
    given = text(lang, "research.copy_given", day=day(lang, row["given_ms"]))
    if row["ended_ms"] is None:
        return [given]
    return [given, text(lang, "copy.ended", day=day(lang, row["ended_ms"]), reason=reason(lang, row["reason"]))]


def _story(core: Core, row: Row, lang: str) -> list[str]:
    """What happened to a consent, a sentence for each act of the proof."""
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


def _written(rows: Iterable[Sequence[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows([[harmless(cell) for cell in row] for row in rows])
    return written.getvalue().encode()
