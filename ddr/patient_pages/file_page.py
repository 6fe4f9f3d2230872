"""The page of a file with values from elsewhere: its content, what became of it, or why it cannot be taken."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.http.language import language
from ddr.imports.calls import Report
from ddr.imports.formats import FORMATS
from ddr.imports.model import ImportFile, Source
from ddr.miv.model import LOINC
from ddr.patient_pages.names import title_of
from ddr.patient_pages.render import page
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.devices import called
from ddr.patient_pages.visitor import Visitor, core_of

LISTED = 20  # devices, and bad rows, that are listed one by one
OTHERS = {
    "pdf": "file.other_pdf",
    "workbook-or-zip": "file.other_workbook_or_zip",
    "old-workbook": "file.other_workbook",
    "compressed": "file.other_compressed",
    "web-page": "file.other_web_page",
    "several-forms": "file.other_several_forms",
}


@dataclass(frozen=True)
class Part:
    """A file's values of one device and kind of data."""

    device: str
    serial: str
    kind: str
    count: int
    first_ms: int
    last_ms: int


async def shown(
    request: Request,
    visitor: Visitor,
    file: ImportFile,
    digest: str,
    report: Report | None = None,
    taken_ms: int | None = None,
) -> Response:
    """What `file` contains; with `report`, what just became of its values. `taken_ms`: when they were taken before."""
    core, lang = core_of(request), language(request.scope)
    parts = await to_thread(_parts, core, file, lang)
    bad = [*file.bad, *(report.refusals if report else ())]  # every row of a file may be bad
    first = await to_thread(nsmallest, LISTED, ((row.line, row.reason) for row in bad))
    return page(
        request,
        visitor,
        "file.html",
        title=_format(file.format, lang),
        parts=parts[:LISTED],
        more_parts=max(0, len(parts) - LISTED),
        bad=[(line, text(lang, _reason(reason))) for line, reason in first],
        more=max(0, len(bad) - LISTED),
        skipped=file.skipped,
        digest=digest,
        report=report,
        taken_ms=taken_ms,
        error="",
    )


def refused(request: Request, visitor: Visitor, name: str, **values: str) -> Response:
    """Why nothing was done: the text `name`."""
    return page(request, visitor, "file.html", status=422, error=text(language(request.scope), name, **values))


def unreadable(request: Request, visitor: Visitor) -> Response:
    """A file that this version cannot read; the page lists the formats it can."""
    return refused(request, visitor, "file.unreadable", known=_format_names(language(request.scope)))


def _parts(core: Core, file: ImportFile, lang: str) -> Sequence[Part]:
    """The parts by device and kind of data; a file may have as many devices as rows."""
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
    """The text for an error of a row, from a reader or the gateway API."""
    if "cannot have been measured" in found or found in ("range", "implausible"):
        return "file.reason_measured"
    return next((name for beginning, name in _REASONS.items() if found.startswith(beginning)), "file.reason_other")


def _format_names(lang: str) -> str:
    """All formats that can be read, in words."""
    return "; ".join(_format(name, lang) for name in FORMATS)


_FORMATS = {
    "fhir": "file.format_fhir",
    "nightscout": "file.format_nightscout",
    "table": "file.format_table",
    "blood-pressure": "file.format_pressure",
    "spirometry": "file.format_spirometry",
}  # those whose titles are more than names


def _format(name: str, lang: str) -> str:
    """The name of a format."""
    return text(lang, _FORMATS[name]) if name in _FORMATS else FORMATS[name].title
