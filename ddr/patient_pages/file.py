"""/me/devices/file: a file with values from elsewhere is reviewed, taken, and taken back (docs/imports.md).

The code of `ddr import` reads the file and sends its values to the gateway API.
"""

from __future__ import annotations

import hashlib
from asyncio import to_thread
from http import HTTPStatus
from uuid import UUID

from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from ddr.http.body import BodyError, read_body
from ddr.http.core import Core
from ddr.imports.calls import Answer, Call, Refused, Report, Steps
from ddr.imports.formats import read
from ddr.imports.model import ImportFile, ImportFileError, MostlyBad, OtherKind, SeveralPersons
from ddr.imports.sending import sending
from ddr.imports.taking_back import taking_back
from ddr.patient_pages.dates import ZONE
from ddr.patient_pages.file_page import OTHERS, refused, shown, unreadable
from ddr.patient_pages.visitor import (
    FORM_BYTES,
    FormRefused,
    Visitor,
    check_site,
    check_token,
    core_of,
    read_form,
    see_other,
)
from ddr.store.audit.trail import Event, record
from ddr.store.patients import files
from ddr.store.patients.sessions import Session

FILE_BYTES = 5_000_000
PIECE = 65_536  # bytes that are parsed before others get their turn


async def show(request: Request, visitor: Visitor, session: Session) -> Response:
    """The file that was uploaded last, for review; a redirect to the devices when there is none.

    It may have been uploaded to another version of the recorder, which can read what this one cannot.
    """
    core = core_of(request)
    waiting = await files.find(core.pool, session.patient_id, core.clock())
    if waiting is None:
        return see_other("/me/devices")
    try:
        file = await to_thread(read, waiting.content, ZONE)
    except ImportFileError:
        return unreadable(request, visitor)
    return await shown(request, visitor, file, waiting.digest, taken_ms=waiting.taken_ms)


async def give(request: Request, visitor: Visitor, session: Session) -> Response:
    """Keep an uploaded file for review: nothing is stored in the record yet.

    It is shown under its own URL, because browsers show an error page when a user goes back to the response to a form.
    """
    core = core_of(request)
    raw = await _given(request, visitor)
    try:
        await to_thread(read, raw, ZONE)
    except SeveralPersons:
        return refused(request, visitor, "file.several")
    except MostlyBad:
        return refused(request, visitor, "file.mostly_bad")
    except OtherKind as other:
        return refused(request, visitor, OTHERS[other.kind])
    except ImportFileError:
        return unreadable(request, visitor)
    digest = hashlib.sha256(ZONE.key.encode() + b"\n" + raw).hexdigest()
    await files.keep(core.pool, session.patient_id, digest, raw, core.clock())
    return see_other(request.url.path)


async def take(request: Request, visitor: Visitor, session: Session) -> Response:
    """Store the values of the reviewed file in the record."""
    core = core_of(request)
    try:
        file, digest = await _chosen(core, request, visitor, session)
        report = await _walk(core, session.patient_id, sending(file, digest), Event.FILE_TAKEN, digest)
    except ImportFileError:
        return unreadable(request, visitor)
    except Refused:
        return refused(request, visitor, "file.refused")
    await files.note_taken(core.pool, session.patient_id, digest, core.clock())
    return await shown(request, visitor, file, digest, report=report)


async def take_back(request: Request, visitor: Visitor, session: Session) -> Response:
    """Remove the values of the file from the record."""
    core = core_of(request)
    try:
        file, digest = await _chosen(core, request, visitor, session)
        await _walk(core, session.patient_id, taking_back(file, digest), Event.FILE_TAKEN_BACK, digest)
    except ImportFileError:
        return unreadable(request, visitor)
    except Refused:
        return refused(request, visitor, "file.not_back")
    await files.note_taken(core.pool, session.patient_id, digest, None)
    return see_other("/me/devices?file-taken-back")


async def _chosen(core: Core, request: Request, visitor: Visitor, session: Session) -> tuple[ImportFile, str]:
    """The reviewed file that the form names, and its digest. Raises FormRefused, ImportFileError."""
    form = await read_form(request, visitor)
    waiting = await files.find(core.pool, session.patient_id, core.clock())
    if waiting is None or waiting.digest != form.one("digest"):
        raise FormRefused
    return await to_thread(read, waiting.content, ZONE), waiting.digest


async def _given(request: Request, visitor: Visitor) -> bytes:
    """The bytes of the file in the form. Raises FormRefused."""
    check_site(request)
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
    """The request with its whole body received. Raises FormRefused for a body that is too long or arrives too slowly.

    Starlette's parser would read for as long as data arrives, and write it to the disk.
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
    del scope["app"]  # otherwise the parser would raise HTTPException
    return Request(scope, receive)


async def _walk(core: Core, patient_id: UUID, steps: Steps, event: Event, digest: str) -> Report:
    """Send the requests of `steps` to the gateway API of this worker.

    The trail records `event` as soon as one of them has changed anything, whatever becomes of the others. What was done
    stands, and can be taken back, even if the database becomes unavailable or the worker ends halfway. A file may have
    a hundred thousand values, so the next request is prepared outside the event loop.
    """
    assert core.inside is not None
    told, answer = False, None
    while not isinstance(step := await to_thread(_next, steps, answer), Report):
        call, body = step
        answer = Answer(*await core.inside(patient_id, call.method, call.path, body))
        if not told and call.method != "GET" and answer.status < HTTPStatus.BAD_REQUEST:
            await record(core.pool, event, core.clock(), patient_id=patient_id)
            if event is Event.FILE_TAKEN:
                await files.note_taken(core.pool, patient_id, digest, core.clock())
            told = True
    return step


def _next(steps: Steps, answer: Answer | None) -> tuple[Call, bytes | None] | Report:
    """The next request and its body; after the last one, the report on all of them."""
    try:
        call = next(steps) if answer is None else steps.send(answer)
    except StopIteration as end:
        report: Report = end.value
        return report
    return call, call.content
