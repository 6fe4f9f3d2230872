"""GET /me/data.csv and /me/data.json: everything measured, for the patient to keep (GDPR Articles 15 and 20), streamed.

The Bundle also holds consents and accesses; as tables they are /me/consents.csv and /me/accesses.csv.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ddr.aside import Breath, aside
from ddr.fhir.device import device_resource, device_status
from ddr.fhir.device_metric import device_metric_resource
from ddr.fhir.instants import instant
from ddr.fhir.negotiation import Format
from ddr.fhir.observation_chunk import chunk_resource
from ddr.fhir.observation_measurement import measurement_resource
from ddr.fhir.representation import render
from ddr.fhir.versions import version_number
from ddr.http.core import Core
from ddr.http.language import language
from ddr.http.pages import page_headers
from ddr.miv.model import MivCode
from ddr.patient_pages import record_copy
from ddr.patient_pages.names import title_of
from ddr.patient_pages.single_values import values
from ddr.patient_pages.table_forms import Exact, for_excel, harmless
from ddr.patient_pages.visitor import FormRefused, Visitor, core_of
from ddr.series.slots import text, winners
from ddr.series.status import WITHDRAWN
from ddr.series.view import readings, view
from ddr.store.audit import patients as trail
from ddr.store.audit.acting import RightOver, check_right
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.restore import restores
from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.database.pool import Row
from ddr.store.patients import export
from ddr.store.patients.sessions import Session

Resource = Mapping[str, Any]

CSV = "text/csv; charset=utf-8; header=present"
FHIR_FILE, CONSENTS_FILE, ACCESSES_FILE = "messwerte.json", "zustimmungen.csv", "zugriffe.csv"
CONSENTS_EXCEL, ACCESSES_EXCEL = "zustimmungen-excel.csv", "zugriffe-excel.csv"
LARGE_LINES = 100  # lines of a table generated in a thread: a day of a sensor with a reading a minute has 1,440
ASKED_MS = 1000  # how long a right that was found valid is not checked again during a download


async def whole_copy(core: Core, patient_id: UUID, lang: str) -> dict[str, AsyncIterator[bytes]]:
    """All of a patient's data as files, as the pages offer them, by file name.

    Each file raises ChangedMeanwhile in place of its last piece when it is incomplete.
    """
    upto_no, exact = await trail.newest_no(core.pool, patient_id), Exact()
    files = {
        exact.file: _lines(core, patient_id, lang, exact),
        FHIR_FILE: _bundle(core, patient_id, lang, upto_no),
        CONSENTS_FILE: record_copy.consent_lines(core, patient_id, lang),
        ACCESSES_FILE: record_copy.access_lines(core, patient_id, lang, upto_no),
    }
    return {name: export.whole(core.pool, patient_id, content) for name, content in files.items()}


async def measured(request: Request, _: Visitor, session: Session, form: Exact) -> Response:
    """One line per value with its exact time, including readings that share a slot with a shown one (RFC 4180)."""
    core = await core_of(request).reading()
    lines = _lines(core, session.patient_id, language(request.scope), form)
    return await _answer(request, core, session, lines, CSV, form.file)


async def as_fhir(request: Request, _: Visitor, session: Session) -> Response:
    """A Bundle of type collection: measured data as a DiGA gets it, then consents and who read what."""
    core, patient_id = await core_of(request).reading(), session.patient_id
    upto_no = await trail.newest_no(core.pool, patient_id)  # this download itself is not part of it
    bundle = _bundle(core, patient_id, language(request.scope), upto_no)
    return await _answer(request, core, session, bundle, Format.JSON.content_type, FHIR_FILE)


async def consents(request: Request, _: Visitor, session: Session, excel: bool = False) -> Response:
    """Consents and pairings as a table; with `excel` in the form that a German Excel opens."""
    core = await core_of(request).reading()
    acting = session.acting is not None
    lines = record_copy.consent_lines(core, session.patient_id, language(request.scope), acting=acting)
    if excel:
        lines = for_excel(lines, record_copy.CONSENT_GERMAN, record_copy.consent_in_german)
    return await _answer(request, core, session, lines, CSV, CONSENTS_EXCEL if excel else CONSENTS_FILE)


async def accesses(request: Request, _: Visitor, session: Session, excel: bool = False) -> Response:
    """Who read what, and what was changed, as a table; with `excel` in the form that a German Excel opens."""
    core = await core_of(request).reading()
    upto_no = await trail.newest_no(core.pool, session.patient_id)
    lines = record_copy.access_lines(core, session.patient_id, language(request.scope), upto_no)
    if excel:
        lines = for_excel(lines, record_copy.ACCESS_GERMAN)
    return await _answer(request, core, session, lines, CSV, ACCESSES_EXCEL if excel else ACCESSES_FILE)


async def _answer(
    request: Request, read: Core, session: Session, content: AsyncIterator[bytes], media_type: str, name: str
) -> Response:
    """The download of `content`, which comes from `read`. An incomplete one is cut off, so that the browser reports
    failure.

    A request for the headers only (HEAD, as download managers send) has downloaded nothing. Links on the page name the
    person they are about, since a file does not say whose it is. Raises FormRefused after another person was chosen.
    """
    if request.query_params.get("person", session.person) != session.person:
        raise FormRefused(problem="other_person")
    headers = page_headers() | {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": media_type}
    if request.method == "HEAD":
        return StreamingResponse((), headers=headers)  # without a length, which is not known
    core = core_of(request)
    content = in_turns(core, export.whole(read.pool, session.patient_id, content))
    if session.acting:
        content = _while_in_force(core, session.patient_id, content)
    await record(core.pool, Event.DATA_DOWNLOADED, core.clock(), patient_id=session.patient_id)
    return StreamingResponse(content, headers=headers)


async def _while_in_force(core: Core, patient_id: UUID, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces for a representative, checked while they are sent: a client may take all day to read, and the patient
    keeps measuring.

    Raises ChangedMeanwhile when the right has ended.
    """
    asked_ms = core.clock()
    async for piece in content:
        if (now_ms := core.clock()) >= asked_ms + ASKED_MS:
            asked_ms = now_ms
            try:
                async with core.pool.acquire() as conn, conn.transaction():
                    await check_right(conn, patient_id, now_ms)
            except RightOver:
                raise ChangedMeanwhile from None
        yield piece


async def in_turns(core: Core, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, generated for only a few downloads at a time. The limit covers generating, not sending, which lasts
    as long as the client reads. A client that reads as fast as pieces are made never waits: others get their turn
    here."""
    breath = Breath()
    while True:
        async with core.downloading:
            piece = await anext(content, None)
        if piece is None:
            return
        yield piece
        await breath.take()


# --- CSV -------------------------------------------------------------------------------------------------------------


async def _lines(core: Core, patient_id: UUID, lang: str, form: Exact) -> AsyncIterator[bytes]:
    yield form.begin()
    async for row in export.chunks(core.pool, patient_id):
        if row["status"] != WITHDRAWN:
            yield await aside(len(row["vals"]) > 2 * LARGE_LINES, form.write, _of_chunk(core, row, lang))
    async for row in export.measurements(core.pool, patient_id):
        yield form.write(_of_measurement(core, row, lang))


def _of_chunk(core: Core, row: Row, lang: str) -> Iterator[Sequence[str]]:
    kind, stored = title_of(core, row["miv_url"], lang), readings(row)
    shown = set() if row["withheld"] else set(winners(stored, row["start_ms"], row["period_ms"]).values())
    made = (*_maker(row), *("" if row[name] is None else str(row[name]) for name in ("lower_limit", "upper_limit")))
    for reading in stored:
        time, raw = reading
        value = text(raw, row["decimals"])
        told = (instant(time), row["code"], value, row["unit"], *_device(row), kind, "", _yes(reading in shown))
        yield (*told, *made)


def _of_measurement(core: Core, row: Row, lang: str) -> Iterator[Sequence[str]]:
    kind, at = title_of(core, row["miv_url"], lang), instant(row["effective_ms"])
    shown = _yes(row["status"] != "entered-in-error")
    for value in values(row, lang):
        yield (at, value.code, value.text, value.unit, *_device(row), kind, value.name, shown, *_maker(row), "", "")


def _device(row: Row) -> Sequence[str]:
    return [harmless(row[column] or "") for column in ("device_name", "serial_number")]


def _maker(row: Row) -> Sequence[str]:
    return [harmless(row[column] or "") for column in ("manufacturer", "type_code")]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


# --- FHIR ------------------------------------------------------------------------------------------------------------


async def _bundle(core: Core, patient_id: UUID, lang: str, upto_no: int) -> AsyncIterator[bytes]:
    """The Bundle, entry by entry. Without entries it has no `entry`, since FHIR forbids empty arrays."""
    yield f'{{"resourceType":"Bundle","type":"collection","timestamp":"{instant(core.clock())}"'.encode()
    opening = b',"entry":['
    async for resource in _everything(core, patient_id, lang, upto_no):
        full_url = f"{core.settings.fhir_base}/{resource['resourceType']}/{resource['id']}"
        yield opening + render({"fullUrl": full_url, "resource": resource}, Format.JSON)
        opening = b","
    yield b"]}" if opening == b"," else b"}"


async def _everything(core: Core, patient_id: UUID, lang: str, upto_no: int) -> AsyncIterator[Resource]:
    async for resource in measured_resources(core, patient_id):
        yield resource
    async for resource in record_copy.resources(core, patient_id, lang, upto_no):
        yield resource


async def measured_resources(core: Core, patient_id: UUID) -> AsyncIterator[Resource]:
    """Devices, metrics and all measured data, as a DiGA that may see everything would get them."""
    now_ms, subject, declared = core.clock(), uuid4().urn, await restores(core.pool)
    for row in await export.devices(core.pool, patient_id):
        yield device_resource(row, core.ids, device_status(row, now_ms, _delay_ms(core, row["measures"])))
    for row in await export.metrics(core.pool, patient_id):
        number = version_number(row["epoch_version"], row["epoch_updated_ms"], declared)
        yield device_metric_resource({**row, "epoch_version": number}, core.ids)
    async for row in export.chunks(core.pool, patient_id):
        seen, found = view(row, now_ms), core.catalog.code(row["code_system"], row["code"])
        seen = replace(seen, version=version_number(seen.version, seen.updated_ms, declared))
        resource = chunk_resource(row, seen, core.ids, found[1] if found else _not_served(row))
        yield resource if found else _as_stored(resource)
    async for row in export.measurements(core.pool, patient_id):
        found = core.catalog.code(row["code_system"], row["code"])
        row = {**row, "version": version_number(row["version"], row["updated_ms"], declared)}
        forced = subject if found and found[0].subject_required else None
        resource = measurement_resource(row, core.ids, found[1] if found else _not_served(row), forced)
        yield resource if found else _as_stored(resource)


def _not_served(row: Row) -> MivCode:
    """A code that no DiGA may read now because no served MIV has it. The copy contains all stored data."""
    return MivCode(row["code_system"], row["code"], display="", kind="", profile="", unit=None, unit_text=None)


def _as_stored(resource: Resource) -> Resource:
    """The resource without what only a served MIV could say: the profile, and the display of the code."""
    meta = {name: value for name, value in resource["meta"].items() if name != "profile"}
    coding = {name: value for name, value in resource["code"]["coding"][0].items() if value}
    return {**resource, "meta": meta, "code": {**resource["code"], "coding": [coding]}}


def _delay_ms(core: Core, measures: Iterable[str]) -> int:
    """The shortest Delay-From-Real-Time of what a device measures, in milliseconds."""
    terms = (core.catalog.terms[url] for url in measures if url in core.catalog.terms)
    return min((term.delay_seconds for term in terms), default=0) * 1000
