"""The table of formats; files are recognised by their content, never by their name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import tzinfo

from ddr.imports import (
    carelink,
    clarity,
    eversense,
    fhir_bundle,
    glooko,
    libreview,
    nightscout,
    open_mhealth,
    pressure,
    spirometry,
    table,
    tidepool,
)
from ddr.imports.columns import Table
from ddr.imports.content import Content
from ddr.imports.model import ImportFile, ImportFileError, OtherKind

Reader = Callable[[Content, tzinfo], ImportFile]


@dataclass(frozen=True)
class Format:
    """A kind of file: its common name, how it is recognised, how it is read in local time of a zone."""

    title: str
    recognises: Callable[[Content], bool]
    read: Reader


def _of_tables(title: str, found: Callable[[Content], Iterator[Table]], read: Reader) -> Format:
    """A format recognised by its tables."""
    return Format(title, lambda content: any(found(content)), read)


# Files are tried in this order: more specific formats come first.
FORMATS = {
    "clarity": _of_tables("Dexcom Clarity (CSV)", clarity.tables_of, clarity.read),
    "libreview": _of_tables("LibreView (CSV)", libreview.tables_of, libreview.read),
    "carelink": _of_tables("Medtronic CareLink (CSV)", carelink.tables_of, carelink.read),
    "glooko": _of_tables("Glooko (CSV)", glooko.tables_of, glooko.read),
    "eversense": _of_tables("Eversense (CSV)", eversense.tables_of, eversense.read),
    "fhir": Format("a patient's copy from a recorder (FHIR Bundle, JSON)", fhir_bundle.recognises, fhir_bundle.read),
    "tidepool": Format("Tidepool (JSON)", tidepool.recognises, tidepool.read),
    "nightscout": Format("Nightscout entries (JSON)", nightscout.recognises, nightscout.read),
    "open-mhealth": Format("Open mHealth (JSON)", open_mhealth.recognises, open_mhealth.read),
    "table": _of_tables("the neutral table time,code,value,unit,device,serial (CSV)", table.tables_of, table.read),
    "blood-pressure": _of_tables("a diary of blood pressure, OMRON, Withings (CSV)", pressure.tables_of, pressure.read),
    "spirometry": _of_tables("peak flow and FEV1 (CSV)", spirometry.tables_of, spirometry.read),
}

# Other files that people often give, and what they can do about them.
SEEMS = {
    "pdf": "this is a PDF; the program that made this report can usually export the values as CSV",
    "workbook-or-zip": "this is an Excel workbook or a ZIP; unpack it, and save a workbook as CSV",
    "old-workbook": "this is an old Excel workbook; save it as CSV",
    "compressed": "this file is compressed; unpack it first",
    "web-page": "this is a web page, maybe because your login had expired; download the file again",
    "several-forms": "this file mixes several formats; split it, or name the format to read",
}
_BEGINNINGS = (
    (b"%pdf-", "pdf"),
    (b"pk\x03\x04", "workbook-or-zip"),
    (b"\xd0\xcf\x11\xe0", "old-workbook"),
    (b"\x1f\x8b", "compressed"),
    (b"<!doctype html", "web-page"),
    (b"<html", "web-page"),
)


def read(raw: bytes, zone: tzinfo, name: str | None = None) -> ImportFile:
    """The values of a file; `name` insists on a format. Raises ImportFileError that says what the file seems to be."""
    try:
        return _read(Content(raw), zone, name)
    except RecursionError:
        raise ImportFileError("the file is nested too deeply") from None


def _read(content: Content, zone: tzinfo, name: str | None) -> ImportFile:
    if not content.text.strip():
        raise ImportFileError("the file is empty")
    found = next((key for key, one in FORMATS.items() if (name in (None, key)) and one.recognises(content)), None)
    if found is None:
        raise _unknown(content, name)
    file = FORMATS[found].read(content, zone)
    file.leave_wrong_clocks()
    if name is None and _goes_on_otherwise(content, zone, found, file):
        raise OtherKind("several-forms", SEEMS["several-forms"])
    if not file.values and not file.bad:
        raise ImportFileError("there are no values in this file")
    return file


def _goes_on_otherwise(content: Content, zone: tzinfo, found: str, file: ImportFile) -> bool:
    """True when rows that the recognised format ignores are values in another format."""
    lines = {value.line for value in file.values}
    others = (_lines(content, zone, one) for key, one in FORMATS.items() if key != found)
    return any(other and lines.isdisjoint(other) for other in others)


def _lines(content: Content, zone: tzinfo, form: Format) -> set[int]:
    """The lines with values in this format; none when the file does not have it, or is rejected."""
    try:
        return {value.line for value in form.read(content, zone).values} if form.recognises(content) else set()
    except ImportFileError:
        return set()


def _unknown(content: Content, name: str | None) -> ImportFileError:
    if name is not None:  # otherwise all have been tried
        other = next((one.title for one in FORMATS.values() if one.recognises(content)), None)
        if other is not None:
            return ImportFileError(f"this is not {FORMATS[name].title}, but looks like {other}")
    start = content.raw.lstrip()[:200].lower()
    kind = next((kind for begin, kind in _BEGINNINGS if start.startswith(begin)), None)
    if kind is not None:
        return OtherKind(kind, SEEMS[kind])
    known = "; ".join(one.title for one in FORMATS.values())
    return ImportFileError(
        f"this file has none of the known formats ({known}); any other table can be described with --map"
    )
