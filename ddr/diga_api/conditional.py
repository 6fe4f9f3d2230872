"""Conditional reads: a client that has the current version is told so (FHIR R4 http.html#cread, RFC 9110, 13)."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache

from ddr.http_dates import http_date_ms

# conditionalRead of the CapabilityStatement. A Device has only one version, with a status that changes with time.
SUPPORT = {"Observation": "full-support", "DeviceMetric": "full-support", "Device": "not-supported"}


def validators(version: int, updated_ms: int) -> dict[str, str]:
    """The headers that identify a version (FHIR R4 http.html#versioning)."""
    return {"ETag": f'W/"{version}"', "Last-Modified": _date(updated_ms // 1000)}


@lru_cache(maxsize=1024)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def has_it(headers: Mapping[str, str], version: int, updated_ms: int) -> bool:
    """True when the request (header names in lower case) says that the client has this version.

    A date only counts when the change was before that second, within which there may have been another one
    (`of_that_second`).
    """
    if "if-none-match" in headers:
        return has_tag(headers, str(version))
    since_ms = http_date_ms(headers.get("if-modified-since"))
    return since_ms is not None and updated_ms < since_ms


def has_tag(headers: Mapping[str, str], tag: str) -> bool:
    """True when `If-None-Match` names this tag (without its quotes), or any."""
    known = [one.strip().removeprefix("W/") for one in headers.get("if-none-match", "").split(",")]
    return "*" in known or f'"{tag}"' in known


def of_that_second(headers: Mapping[str, str], updated_ms: int) -> bool:
    """True when the date that the client gives is the Last-Modified of this version, which is in whole seconds."""
    if "if-none-match" in headers:
        return False
    return http_date_ms(headers.get("if-modified-since")) == updated_ms // 1000 * 1000
