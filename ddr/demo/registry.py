"""A stand-in for BfArM's DiGA-VZ: the same FHIR searches, paging and headers, with faults on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ddr.demo.registry_fhir import BASE, catalog_entry, health_app, manufacturer
from ddr.demo.registry_state import ListedDiga, RegistryState

FHIR_JSON = "application/fhir+json"
SEARCHES: dict[str, tuple[str, Callable[[ListedDiga], dict[str, Any]]]] = {
    "DeviceDefinition": ("HealthApp", health_app),
    "CatalogEntry": ("HealthAppCatalogEntry", catalog_entry),
    "Organization": ("HealthAppManufacturer", manufacturer),
}


def create_registry(state: RegistryState, token: str) -> Starlette:
    """The ASGI app below `/api/fhir/v3.0`; requests need the bearer `token`, as at BfArM."""

    async def search(request: Request) -> Response:
        state.requests += 1
        if request.headers.get("authorization") != f"Bearer {token}":
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        return _faulty(state.fault, request) or Response(orjson.dumps(_page(state, request)), media_type=FHIR_JSON)

    return Starlette(routes=[Route("/api/fhir/v3.0/{type}", search)])


def _page(state: RegistryState, request: Request) -> dict[str, Any]:
    """One page of the searchset; its next link carries an opaque offset, as HAPI's do."""
    offset = int(request.query_params.get("_getpagesoffset", "0"))
    size = min(int(request.query_params.get("_count", "20")), state.page_size)
    found = _found(state, request)
    links = [{"relation": "self", "url": str(request.url)}]
    if offset + size < len(found):
        following = request.url.include_query_params(_getpages="stand-in", _getpagesoffset=offset + size)
        links.append({"relation": "next", "url": str(following)})
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": links,
        "entry": [{"search": {"mode": "match"}, "resource": resource} for resource in found[offset : offset + size]],
    }


def _found(state: RegistryState, request: Request) -> list[dict[str, Any]]:
    profile, build = SEARCHES.get(request.path_params["type"], ("", None))
    if build is None or state.fault == "empty" or request.query_params.get("_profile") != BASE + profile:
        return []
    return [build(diga) for diga in state.digas]


def _faulty(fault: str, request: Request) -> Response | None:
    """The answer that `fault` asks for, or None for a proper one."""
    loop = {"relation": "next", "url": str(request.url)}
    foreign = {"relation": "next", "url": "https://elsewhere.example/page2"}
    bundle = {"resourceType": "Bundle", "type": "searchset"}
    answers: dict[str, Callable[[], Response]] = {
        "error": lambda: Response(status_code=500),
        "html": lambda: Response("<html>maintenance</html>", media_type="text/html"),
        "truncated": lambda: Response(orjson.dumps(bundle)[:-5], media_type=FHIR_JSON),
        "loop": lambda: Response(orjson.dumps({**bundle, "link": [loop]}), media_type=FHIR_JSON),
        "foreign-link": lambda: Response(orjson.dumps({**bundle, "link": [foreign]}), media_type=FHIR_JSON),
        "huge": lambda: Response(b" " * (17 * 1024 * 1024), media_type=FHIR_JSON),
    }
    return answers[fault]() if fault in answers else None
