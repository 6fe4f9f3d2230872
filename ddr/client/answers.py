"""A FHIR server's responses as JSON. Some servers speak XML only (FHIR R4 json.html, xml.html)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from ddr.client.errors import Refused, Unreachable
from ddr.client.xml import FhirXmlError, from_xml

Json = dict[str, Any]
PORTS = {"https": 443, "http": 80}


def content_of(answer: httpx.Response) -> Json:
    """The resource in a response. Raises Unreachable when there is none: the body was cut off, or a proxy answered."""
    try:
        found = from_xml(answer.content) if "xml" in answer.headers.get("content-type", "") else answer.json()
    except (ValueError, RecursionError, FhirXmlError):
        found = None
    if not isinstance(found, dict) or "resourceType" not in found:
        raise Unreachable("the response is not a FHIR resource")
    if found["resourceType"] == "Bundle" and not _is_bundle(found):
        raise Unreachable("the response is not a valid FHIR Bundle")
    return found


def _is_bundle(found: Json) -> bool:
    """Whether entries hold resources and links hold URLs, with the types that FHIR defines."""
    entries, links = found.get("entry") or [], found.get("link") or []
    if not isinstance(entries, list) or not isinstance(links, list) or not isinstance(found.get("meta") or {}, dict):
        return False
    resources = [entry.get("resource") or {} if isinstance(entry, dict) else None for entry in entries]
    return all(
        isinstance(one, dict) and isinstance(one.get("id", ""), str) and isinstance(one.get("meta") or {}, dict)
        for one in resources
    ) and all(isinstance(one, dict) and isinstance(one.get("url") or "", str) for one in links)


def page_of(found: Json) -> Json:
    """A page of a search. Raises Unreachable for any other resource: taken for an empty page, it would make everything
    known look deleted."""
    if found["resourceType"] != "Bundle":
        raise Unreachable("the response to a search is not a Bundle")
    return found


def next_page(bundle: Json, base: str) -> str:
    """The absolute URL of the next page, "" on the last one. The link in the Bundle may be relative to `base`.

    Raises Refused.
    """
    link = next((one.get("url") for one in bundle.get("link") or () if one.get("relation") == "next"), None)
    return at_same_server(base, link) if link else ""


def at_same_server(base: str, link: str) -> str:
    """`link` as an absolute URL. Raises Refused when it leads to another server, which would receive our token."""
    try:
        absolute = urljoin(base, link)
        same = _server(absolute) == _server(base)
    except ValueError:
        same = False
    if not same:
        raise Refused(200, "link", "a link to a page leads to another server")
    return absolute


def _server(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port, normalized (RFC 3986 section 6.2.3)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)


def outcome_of(answer: httpx.Response) -> tuple[str, str]:
    """Code and text of the first issue of an OperationOutcome; without one, what HTTP says."""
    try:
        issue = (content_of(answer).get("issue") or [{}])[0]
        text = (issue.get("details") or {}).get("text") or issue.get("diagnostics") or unsaid(answer)
        return str(issue.get("code", "error")), str(text)
    except (Unreachable, LookupError, AttributeError, TypeError):
        return "error", unsaid(answer)


def unsaid(answer: httpx.Response) -> str:
    """What HTTP says where the body says nothing: the reason, the URL without its query, and the target of a
    redirect."""
    where, target = answer.url.copy_with(query=None), answer.headers.get("location")
    leads = f" leads to {target}, which is not followed" if answer.is_redirect and target else ""
    return f"{answer.reason_phrase}: {where}{leads}"
