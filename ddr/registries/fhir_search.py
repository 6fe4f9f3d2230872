"""Reads a whole searchset from one of BfArM's FHIR interfaces: opaque paging links, limits, and clear faults."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import orjson

from ddr import __version__
from ddr.answers import ACCEPTED, BodyRefused, limited_body
from ddr.aside import LARGE_BYTES, aside
from ddr.proxies import client_arguments
from ddr.reasons import in_words
from ddr.registries.errors import RegistryFault
from ddr.registries.tokens import Tokens
from ddr.settings import Settings

Known = MutableMapping[str, tuple[str, dict[str, Any]]]  # URL of a single-page response → its ETag, the response

PAGE_SIZE = 200
MAX_PAGE_BYTES = 16 * 1024 * 1024
MAX_PAGES = 500
MAX_BYTES = 64 * 1024 * 1024  # of all pages: parsing takes ten times as much
MAX_AGE_SECONDS = 3600  # of a response from a cache on the way
TIMEOUT = httpx.Timeout(20, connect=10)


def http_client(settings: Settings, *, token: bool = True) -> httpx.AsyncClient:
    """A client for BfArM's registries: bearer token, FHIR JSON, and the development CA if one is set.

    It does not follow redirects, so that the token never leaves the configured host.
    """
    context = ssl.create_default_context()
    if settings.registry_ca:
        context.load_verify_locations(settings.registry_ca)
    headers = {
        "accept": "application/fhir+json, */*;q=0.5",
        "accept-encoding": ACCEPTED,
        "cache-control": "no-cache",
        "user-agent": f"ddr/{__version__}",
    }
    bases = (settings.diga_vz_base, settings.hiis_vz_base, settings.zts_base)
    auth = Tokens(settings.registry_token.split() if token else ())
    return httpx.AsyncClient(headers=headers, auth=auth, verify=context, timeout=TIMEOUT, **client_arguments(*bases))


async def search_all(
    http: httpx.AsyncClient, url: str, parameters: Mapping[str, str], known: Known | None = None
) -> list[dict[str, Any]]:
    """Every resource that the search at `url` finds, over all pages. Raises RegistryFault, never returns a part.

    With `known`, a single-page response is requested conditionally (RFC 9110 section 13.1.2). Of longer responses every
    page is fetched, since the links of an earlier paging may have expired.
    """
    known = {} if known is None else known
    page = str(httpx.URL(url, params={**parameters, "_count": str(PAGE_SIZE)}))
    seen, total, size, kind = set[str](), None, 0, url.rpartition("/")[2]
    resources: list[dict[str, Any]] = []
    while page:
        if page in seen or len(seen) == MAX_PAGES:
            raise RegistryFault("the pages of the response never end")
        seen.add(page)
        bundle, length = await _fetch_bundle(http, page, known)
        if (size := size + length) > MAX_BYTES:
            raise RegistryFault(f"the pages of the response are larger than {MAX_BYTES} bytes")
        total = bundle.get("total", total)
        resources += _matches(bundle)
        page = _following(page, _next_link(bundle))
    if isinstance(total, int) and total != len(resources):
        raise RegistryFault(f"the response announces {total} entries but contains {len(resources)}")
    if resources and not any(one.get("resourceType") == kind for one in resources):
        raise RegistryFault(f"the response contains no {kind}")
    return _once(resources)


async def fetch(
    http: httpx.AsyncClient, url: str, tag: str = "", limit: int = MAX_PAGE_BYTES
) -> tuple[str, bytes | None]:
    """ETag and body of the response; no body when it still has the ETag `tag`. Raises RegistryFault."""
    try:
        async with http.stream("GET", url, headers={"if-none-match": tag} if tag else {}) as response:
            if response.status_code != 200 and not (tag and response.status_code == 304):
                raise RegistryFault(f"answered HTTP {response.status_code}", response.status_code)
            _not_from_a_cache(response)
            body = None if response.status_code == 304 else await limited_body(response, limit)
            return response.headers.get("etag", ""), body
    except httpx.HTTPError as error:
        raise RegistryFault(f"cannot be reached: {in_words(error)}") from None
    except BodyRefused as error:
        raise RegistryFault(f"the response {error}") from None


def _not_from_a_cache(response: httpx.Response) -> None:
    """The age of cached responses counts towards the time for which they may be trusted (HDDT caching)."""
    if (age := age_seconds(response)) > MAX_AGE_SECONDS:
        raise RegistryFault(f"the response is {age} s old and comes from an intermediate cache")


def age_seconds(response: httpx.Response) -> int:
    """How long caches on the way have kept the response (RFC 9111 section 5.1)."""
    text = response.headers.get("age", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


async def _fetch_bundle(http: httpx.AsyncClient, url: str, known: Known) -> tuple[dict[str, Any], int]:
    """The response, and its number of bytes."""
    tag, body = await fetch(http, url, known[url][0] if url in known else "")
    if body is None:
        return known[url][1], 0
    bundle = await aside(len(body) > LARGE_BYTES, _bundle, body)
    known.pop(url, None)
    if tag.isascii() and tag and not _next_link(bundle):  # an ETag may not fit into our request header
        known[url] = tag, bundle
    return bundle, len(body)


def _following(page: str, link: str) -> str:
    """The URL of the next page; empty without a link. Raises RegistryFault."""
    try:
        following = str(httpx.URL(urljoin(page, link))) if link else ""
        elsewhere = link and _origin(following) != _origin(page)
    except (httpx.InvalidURL, ValueError):
        raise RegistryFault("a paging link is not an address") from None
    if elsewhere:
        raise RegistryFault("a paging link leads to another host")
    return following


def _bundle(body: bytes) -> dict[str, Any]:
    try:
        bundle = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RegistryFault("the response is not JSON") from None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle" or bundle.get("type") != "searchset":
        raise RegistryFault("the response is not a searchset Bundle")
    return bundle


def _matches(bundle: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The resources found; an entry without a usable resource becomes an empty one, so that the total is right."""
    found = [entry for entry in _objects(bundle.get("entry")) if _search_mode(entry) == "match"]
    return [entry["resource"] if isinstance(entry.get("resource"), dict) else {} for entry in found]


def _once(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without duplicates: when an entry is added between two pages, the last one of the first page is repeated."""
    first: dict[str, dict[str, Any]] = {}
    return [one for one in resources if (known := first.setdefault(str(one.get("id")), one)) is one or known != one]


def _search_mode(entry: Mapping[str, Any]) -> Any:
    search = entry.get("search")
    return search.get("mode", "match") if isinstance(search, dict) else "match"


def _next_link(bundle: Mapping[str, Any]) -> str:
    links = _objects(bundle.get("link"))
    return next((str(link.get("url") or "") for link in links if link.get("relation") == "next"), "")


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
