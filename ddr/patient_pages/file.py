"""/me/devices/file: a file with values from elsewhere: look at it, take it, take it back (docs/imports.md).

The same code as `ddr import` reads the file and gives its values to the gateway API.
"""

from __future__ import annotations

import hashlib
from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from http import HTTPStatus
from uuid import UUID

from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from ddr.http.body import BodyError, read_body
from ddr.http.core import Core
from ddr.http.language import language
from ddr.imports.calls import Answer, Call, Refused, Report, Steps
from ddr.imports.formats import FORMATS, read
from ddr.imports.model import ImportFile, ImportFileError, MostlyBad, OtherKind, SeveralPersons, Source
from ddr.imports.sending import sending
from ddr.imports.taking_back import taking_back
from ddr.miv.model import LOINC
from ddr.patient_pages.dates import ZONE
from ddr.patient_pages.names import title_of
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.devices import called
from ddr.patient_pages.visitor import FORM_BYTES, FormRefused, Visitor, check_token, core_of, read_form, see_other
from ddr.store.audit.trail import Event, record
from ddr.store.patients import files
from ddr.store.patients.sessions import Session

FILE_BYTES = 5_000_000
PIECE = 65_536  # bytes that are parsed before others have their turn
LISTED = 20  # devices, and bad rows, shown one by one


@dataclass(frozen=True)
class Part:
    """What a file has of one device and kind of data."""

    device: str
    serial: str
    kind: str
    count: int
    first_ms: int
    last_ms: int


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The file that was given last, to be looked at; on to the devices when there is none.

    It may have been given to another version of the recorder, which read what this one does not.
    """
    core = core_of(request)
    waiting = await files.find(core.pool, session.patient_id, core.clock())
    if waiting is None:
        return see_other("/me/devices")
    try:
        file = await to_thread(read, waiting.content, ZONE)
    except ImportFileError:
        return await _unreadable(request, visitor)
    return await _page(request, visitor, file=file, digest=waiting.digest, taken_ms=waiting.taken_ms)


async def give(request: Request, visitor: Visitor, session: Session) -> Response:
    """Keep a file to be looked at: nothing goes into the record yet.

    It is shown at its own address: the way back to the answer of a form is a page of the browser's about an error.
    """
    core, lang = core_of(request), language(request.scope)
    raw = await _given(request, visitor)
    try:
        await to_thread(read, raw, ZONE)
    except SeveralPersons:
        return await _page(request, visitor, error=text(lang, "file.several"))
    except MostlyBad:
        return await _page(request, visitor, error=text(lang, "file.mostly_bad"))
    except OtherKind as other:
        return await _page(request, visitor, error=text(lang, _OTHERS[other.kind]))
    except ImportFileError:
        return await _unreadable(request, visitor)
    digest = hashlib.sha256(ZONE.key.encode() + b"\n" + raw).hexdigest()
    await files.keep(core.pool, session.patient_id, digest, raw, core.clock())
    return see_other(request.url.path)


async def take(request: Request, visitor: Visitor, session: Session) -> Response:
    """Put the values of the file that was looked at into the record."""
    core = core_of(request)
    try:
        file, digest = await _chosen(core, request, visitor, session)
        report = await _walk(core, session.patient_id, sending(file, digest), Event.FILE_TAKEN, digest)
    except ImportFileError:
        return await _unreadable(request, visitor)
    except Refused:
        return await _page(request, visitor, error=text(language(request.scope), "file.refused"))
    await files.taken(core.pool, session.patient_id, digest, core.clock())
    return await _page(request, visitor, file=file, digest=digest, report=report)


async def take_back(request: Request, visitor: Visitor, session: Session) -> Response:
    """Take the values of the file out of the record again."""
    core = core_of(request)
    try:
        file, digest = await _chosen(core, request, visitor, session)
        await _walk(core, session.patient_id, taking_back(file, digest), Event.FILE_TAKEN_BACK, digest)
    except ImportFileError:
        return await _unreadable(request, visitor)
    except Refused:
        return await _page(request, visitor, error=text(language(request.scope), "file.not_back"))
    await files.taken(core.pool, session.patient_id, digest, None)
    return see_other("/me/devices?file-taken-back")


async def _chosen(core: Core, request: Request, visitor: Visitor, session: Session) -> tuple[ImportFile, str]:
    """The file that was looked at, which the form names, and its digest. Raises FormRefused, ImportFileError."""
    form = await read_form(request, visitor)
    waiting = await files.find(core.pool, session.patient_id, core.clock())
    if waiting is None or waiting.digest != form.one("digest"):
        raise FormRefused
    return await to_thread(read, waiting.content, ZONE), waiting.digest


async def _given(request: Request, visitor: Visitor) -> bytes:
    """The bytes of the file in the form. Raises FormRefused."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise FormRefused
    try:
        async with (await _arrived(request)).form(max_files=1, max_fields=3) as form:
            token, given = form.get("form_token"), form.get("file")
            if not isinstance(token, str):
                raise FormRefused
            check_token(token, visitor)
            if given is None or isinstance(given, str):
                raise FormRefused
            raw: bytes = await given.read(FILE_BYTES + 1)
    except MultiPartException:
        raise FormRefused from None
    if len(raw) > FILE_BYTES:
        raise FormRefused(413, "too_large")
    return raw


_PROBLEMS: dict[int, str] = {HTTPStatus.REQUEST_TIMEOUT: "too_slow", HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large"}


async def _arrived(request: Request) -> Request:
    """The same request, all of whose body is there. Raises FormRefused for one that is too long or comes too slowly.

    Starlette's parser would read on for as long as something comes, and put it on the disk.
    """
    try:
        body = await read_body(request.scope, request.receive, FILE_BYTES + FORM_BYTES)
    except BodyError as error:
        if error.status in _PROBLEMS:
            raise FormRefused(error.status, _PROBLEMS[error.status]) from None
        raise FormRefused from None
    pieces = iter([body[at : at + PIECE] for at in range(0, len(body), PIECE)])

    async def receive() -> Message:
        piece = next(pieces, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    scope = dict(request.scope)
    del scope["app"]  # with it, the parser's faults would be HTTPExceptions
    return Request(scope, receive)


async def _walk(core: Core, patient_id: UUID, steps: Steps, event: Event, digest: str) -> Report:
    """Give the requests of `steps` to the gateway API of this worker.

    The trail says `event` as soon as one changed anything, whatever becomes of the others: what is done stands, also
    when the database goes away, or the worker ends, in the middle, and can be taken back from then on. A file may have
    a hundred thousand values: which request comes next is found out beside the event loop.
    """
    assert core.inside is not None
    told, answer = False, None
    while not isinstance(step := await to_thread(_next, steps, answer), Report):
        call, body = step
        answer = Answer(*await core.inside(patient_id, call.method, call.path, body))
        if not told and call.method != "GET" and answer.status < HTTPStatus.BAD_REQUEST:
            await record(core.pool, event, core.clock(), patient_id=patient_id)
            if event is Event.FILE_TAKEN:
                await files.taken(core.pool, patient_id, digest, core.clock())
            told = True
    return step


def _next(steps: Steps, answer: Answer | None) -> tuple[Call, bytes | None] | Report:
    """The next request and its body; after the last one what became of all."""
    try:
        call = next(steps) if answer is None else steps.send(answer)
    except StopIteration as end:
        report: Report = end.value
        return report
    return call, call.content


async def _unreadable(request: Request, visitor: Visitor) -> Response:
    """Not by this version: which files there are is said."""
    lang = language(request.scope)
    return await _page(request, visitor, error=text(lang, "file.unreadable", known=_format_names(lang)))


async def _page(
    request: Request,
    visitor: Visitor,
    file: ImportFile | None = None,
    digest: str = "",
    report: Report | None = None,
    error: str = "",
    taken_ms: int | None = None,
) -> Response:
    core, lang = core_of(request), language(request.scope)
    found = await to_thread(_parts, core, file, lang) if file else []
    bad = await to_thread(_bad, file, report)
    return page(
        request,
        visitor,
        "file.html",
        status=422 if error else 200,
        title=_format(file.format, lang) if file else "",
        parts=found[:LISTED],
        more_parts=max(0, len(found) - LISTED),
        bad=[(line, text(lang, _reason(reason))) for line, reason in bad],
        more=max(0, _bad_count(file, report) - LISTED),
        skipped=file.skipped if file else 0,
        digest=digest,
        report=report,
        taken_ms=taken_ms,
        error=error,
    )


def _parts(core: Core, file: ImportFile, lang: str) -> Sequence[Part]:
    """By device and kind of data; a file may have as many devices as rows."""
    found: dict[tuple[Source, str], list[int]] = {}
    for value in file.values:
        found.setdefault((value.source, value.code), []).append(value.time_ms)
    return [
        Part(called(lang, source.name), source.serial, _kind(core, code, lang), len(times), min(times), max(times))
        for (source, code), times in sorted(found.items())
    ]


def _kind(core: Core, code: str, lang: str) -> str:
    miv = core.catalog.code(LOINC, code)
    return title_of(core, miv[0].valueset, lang) if miv else code


def _bad_count(file: ImportFile | None, report: Report | None) -> int:
    return (len(file.bad) if file else 0) + (len(report.refusals) if report else 0)


def _bad(file: ImportFile | None, report: Report | None) -> list[tuple[int, str]]:
    """Line and reason of the first bad rows; every row of a file may be bad."""
    rows = [*(file.bad if file else ()), *(report.refusals if report else ())]
    return nsmallest(LISTED, ((row.line, row.reason) for row in rows))


_REASONS = {
    "no time": "file.reason_time",
    "no value": "file.reason_value",
    "other-unit": "file.reason_unit",
    "unit": "file.reason_other_unit",
    "future": "file.reason_future",
    "before-start": "file.reason_start",
    "too-old": "file.reason_old",
}


def _reason(found: str) -> str:
    """The text for what a reader or the gateway API says of a row."""
    if "cannot have been measured" in found or found in ("range", "implausible"):
        return "file.reason_measured"
    return next((name for beginning, name in _REASONS.items() if found.startswith(beginning)), "file.reason_other")


def _format_names(lang: str) -> str:
    """All formats that are read, for people."""
    return "; ".join(_format(name, lang) for name in FORMATS)


_FORMATS = {
    "fhir": "file.format_fhir",
    "nightscout": "file.format_nightscout",
    "table": "file.format_table",
    "blood-pressure": "file.format_pressure",
    "spirometry": "file.format_spirometry",
}  # those whose titles are more than names


def _format(name: str, lang: str) -> str:
    """What a format is called."""
    return text(lang, _FORMATS[name]) if name in _FORMATS else FORMATS[name].title


_OTHERS = {
    "pdf": "file.other_pdf",
    "workbook-or-zip": "file.other_workbook_or_zip",
    "old-workbook": "file.other_workbook",
    "compressed": "file.other_compressed",
    "web-page": "file.other_web_page",
    "several-forms": "file.other_several_forms",
}
