"""Content negotiation: which of FHIR JSON and XML a request wants, and which one it sends (FHIR R4 http.html)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from ddr.fhir.outcome import FhirError, invalid_value, not_acceptable, unsupported_media_type, version_not_supported
from ddr.remembering import of_short_texts

FHIR_VERSION = "4.0"  # of the MIME parameter, which has no patch level
FORM = "application/x-www-form-urlencoded"
KNOWN, LONGEST_KNOWN = 256, 300  # texts whose meaning is remembered, and their length: a head may have 64 KB


class Format(Enum):
    """A representation; the value is its MIME type."""

    JSON = "application/fhir+json"
    XML = "application/fhir+xml"

    @property
    def content_type(self) -> str:
        """The Content-Type of answers; FHIR requires an explicit charset."""
        return f"{self.value}; fhirVersion={FHIR_VERSION}; charset=utf-8"


_MIME_TYPES = {
    "application/fhir+json": Format.JSON,
    "application/json": Format.JSON,
    "text/json": Format.JSON,
    "application/fhir+xml": Format.XML,
    "application/xml": Format.XML,
    "text/xml": Format.XML,
}
_SHORT_NAMES = {"json": Format.JSON, "xml": Format.XML}  # only in _format
_WILDCARDS = {"*/*": 0, "application/*": 1}  # with their specificity; an exact type has 2


def negotiate(headers: Mapping[str, str], query: Mapping[str, str]) -> Format:
    """The representation of the answer: `_format` overrides `accept` (lower-case header names); default JSON.

    Raises 406 when nothing acceptable can be sent. A Content-Type is checked also where nothing is sent with it: raises
    406 for another FHIR version (RS-052), and 415 for a format that no request may have (RS-009).
    """
    _check_version(headers)
    if value := headers.get("content-type"):
        mime, _ = _media_type(value)
        if mime not in {FORM, *_MIME_TYPES}:
            raise unsupported_media_type()
    return _chosen(headers, query)


def _chosen(headers: Mapping[str, str], query: Mapping[str, str]) -> Format:
    wanted = query.get("_format")
    return _by_accept(headers.get("accept", "")) if wanted is None else _by_parameter(wanted)


def error_format(headers: Mapping[str, str], query: Mapping[str, str]) -> Format:
    """The representation of an error answer: as negotiated, or JSON where negotiation fails."""
    try:
        return _chosen(headers, query)
    except FhirError:
        return Format.JSON


def wants_pretty(query: Mapping[str, str]) -> bool:
    """Whether `_pretty` asks for indented output. Raises 400 for anything but true and false."""
    value = query.get("_pretty", "false")
    if value not in {"true", "false"}:
        raise invalid_value("_pretty", value)
    return value == "true"


def check_content_type(headers: Mapping[str, str], *, form: bool = False) -> Format | None:
    """The representation of a request body, or None for an HTML form where `form` allows one.

    A body without `content-type` counts as a form where one is allowed. There is no search in XML: where forms are
    allowed, XML is refused like any other type. Raises 415, and 406 for another FHIR version.
    """
    _check_version(headers)
    value = headers.get("content-type", FORM)
    mime, parameters = _media_type(value)
    if form and mime == FORM:
        return None
    found = _MIME_TYPES.get(mime)
    if found is None or (form and found is Format.XML) or not _is_utf8(parameters):
        raise unsupported_media_type()
    return found


def _check_version(headers: Mapping[str, str]) -> None:
    if (value := headers.get("content-type")) is not None and not _is_r4(_media_type(value)[1]):
        raise version_not_supported()


def _media_type(text: str) -> tuple[str, dict[str, str]]:
    """Type and parameters of one media range; names in lower case, values unquoted."""
    mime, *rest = text.split(";")
    pairs = (part.partition("=") for part in rest)
    return mime.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _is_r4(parameters: Mapping[str, str]) -> bool:
    return parameters.get("fhirversion", FHIR_VERSION) == FHIR_VERSION


def _is_utf8(parameters: Mapping[str, str]) -> bool:
    return parameters.get("charset", "utf-8").lower() in {"utf-8", "utf8"}


@of_short_texts(KNOWN, LONGEST_KNOWN)
def _by_parameter(value: str) -> Format:
    mime, parameters = _media_type(value)
    mime = mime.replace(" ", "+", 1)  # "+" arrives as a blank from clients that do not escape it in the query
    found = _SHORT_NAMES.get(mime) or _MIME_TYPES.get(mime)
    if found is None or not _is_utf8(parameters):
        raise not_acceptable()
    if not _is_r4(parameters):
        raise version_not_supported()
    return found


@of_short_texts(KNOWN, LONGEST_KNOWN)
def _by_accept(header: str) -> Format:
    if not header.strip():
        return Format.JSON
    foreign_version = False
    best: dict[Format, tuple[int, float, int]] = {}  # specificity, quality, minus position
    for position, part in enumerate(header.split(",")):
        mime, parameters = _media_type(part)
        formats = list(_covered(mime))
        if not formats or not _is_utf8(parameters):
            continue
        if not _is_r4(parameters):
            foreign_version = True
            continue
        for found in formats:
            rating = (_WILDCARDS.get(mime, 2), _quality(parameters), -position)
            best[found] = max(rating, best.get(found, rating))
    acceptable = [(quality, position, found) for found, (_, quality, position) in best.items() if quality > 0]
    if not acceptable:
        raise version_not_supported() if foreign_version else not_acceptable()
    return max(acceptable, key=lambda entry: entry[:2])[2]  # equal entries: the first, which is JSON


def _covered(mime: str) -> Iterator[Format]:
    """The formats that a media range stands for, JSON first."""
    if mime in _WILDCARDS:
        yield from Format
    elif mime in _MIME_TYPES:
        yield _MIME_TYPES[mime]


def _quality(parameters: Mapping[str, str]) -> float:
    """The weight of RFC 9110 section 12.4.2; an unreadable one counts as "not wanted"."""
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
