"""A stand-in for BfArM's registries: DiGA-VZ, HIIS-VZ and ZTS with their interfaces, and with faults on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ddr.demo.registry_faults import FHIR_JSON, aged, faulty, malformed, without_some
from ddr.demo.registry_fhir import BASE, catalog_entry, health_app, manufacturer
from ddr.demo.registry_state import ListedDiga, Part, RegistryState
from ddr.demo.registry_zts import zts_routes

DIGA_PATH = "/api/fhir/v3.0"
HIIS_PATH = "/hiis/api/fhir/v3.0"
ZTS_PATH = "/zts"

SEARCHES: dict[str, tuple[str, Callable[[ListedDiga], dict[str, Any]]]] = {
    "DeviceDefinition": ("HealthApp", health_app),
    "CatalogEntry": ("HealthAppCatalogEntry", catalog_entry),
    "Organization": ("HealthAppManufacturer", manufacturer),
}
Resources = list[dict[str, Any]]


def create_registry(state: RegistryState, token: str, look: Callable[[], None] = lambda: None) -> Starlette:
    """The ASGI app with all three registries; FHIR requests need the bearer `token`, as at BfArM.

    `look` is called before each request: it may update `state`.
    """

    def searching(part: Part, find: Callable[[RegistryState, Request], Resources]) -> _Handler:
        async def search(request: Request) -> Response:
            look()
            state.requests += 1
            if request.headers.get("authorization") != f"Bearer {token}":
                return Response(status_code=401, headers={"www-authenticate": "Bearer"})
            return await faulty(state, part, request) or _page(state, part, request, find(state, request))

        return search

    return Starlette(
        routes=[
            Route(DIGA_PATH + "/{type}", searching("diga", _digas)),
            Route(HIIS_PATH + "/{type}", searching("hiis", _hiis)),
            *zts_routes(ZTS_PATH, state, look),
        ]
    )


def _page(state: RegistryState, part: Part, request: Request, found: Resources) -> Response:
    """One page of the searchset; its next link carries an opaque offset, as HAPI's do."""
    fault = state.fault_of(part)
    found = [] if fault == "empty" else found
    offset = int(request.query_params.get("_getpagesoffset", "0"))
    size = min(int(request.query_params.get("_count", "20")), state.page_size)
    links = [{"relation": "self", "url": str(request.url)}]
    if offset + size < len(found):
        following = request.url.include_query_params(_getpages="stand-in", _getpagesoffset=offset + size)
        links.append({"relation": "next", "url": str(following)})
    shown = found[offset : offset + size]
    if fault == "malformed" and offset == 0:
        shown = [*map(malformed, shown[:1]), *shown[1:]]
    bundle = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": links,
        "entry": [{"search": {"mode": "match"}, "resource": resource} for resource in shown],
    }
    return _conditional(state, request, orjson.dumps(bundle), aged(state, part))


def _conditional(state: RegistryState, request: Request, body: bytes, headers: dict[str, str]) -> Response:
    """`body`, or 304 when the client has it already (RFC 9110 section 13.1.2)."""
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'
    if request.headers.get("if-none-match") == tag:
        state.unchanged += 1
        return Response(status_code=304, headers={"etag": tag, **headers})
    return Response(body, media_type=FHIR_JSON, headers={"etag": tag, **headers})


def _digas(state: RegistryState, request: Request) -> Resources:
    profile, build = SEARCHES.get(request.path_params["type"], ("", None))
    if build is None or request.query_params.get("_profile") != BASE + profile:
        return []
    wanted, found = request.query_params.get("identifier"), [build(diga) for diga in state.digas]
    if wanted is not None:
        return [one for one in found if wanted in _identifiers(one)]
    lags = state.fault_of("diga") == "partial" and profile == "HealthApp"
    return without_some(state, found) if lags else found


def _hiis(state: RegistryState, request: Request) -> Resources:
    """By profile and identifier, the searches that BfArM's guide shows for the HIIS-VZ."""
    wanted = request.query_params.get("identifier")
    found = [one for one in state.hiis if one.get("resourceType") == request.path_params["type"]]
    if profile := request.query_params.get("_profile"):
        found = [one for one in found if profile in one.get("meta", {}).get("profile", [])]
    return [one for one in found if wanted is None or wanted in _identifiers(one)]


def _identifiers(resource: dict[str, Any]) -> list[str]:
    return [f"{item.get('system')}|{item.get('value')}" for item in resource.get("identifier", [])]


_Handler = Callable[[Request], Awaitable[Response]]
