"""The stand-in's faults: the responses of a malfunctioning registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ddr.demo.registry_state import Part, RegistryState

FHIR_JSON = "application/fhir+json"
HUGE_MEGABYTES = 50


async def faulty(state: RegistryState, part: Part, request: Request) -> Response | None:
    """The response of this registry's present fault, or None for a proper one."""
    fault = state.fault_of(part)
    if fault == "slow":
        await asyncio.sleep(state.slow_seconds)
    build = _ANSWERS.get(fault)
    return build(request) if build else None


def aged(state: RegistryState, part: Part) -> dict[str, str]:
    """Headers of a proper response: a stale one comes from a cache and says so (RFC 9111 section 5.1)."""
    return {"age": str(state.stale_seconds)} if state.fault_of(part) == "stale" else {}


def malformed(resource: dict[str, Any]) -> dict[str, Any]:
    """`resource` with the values of its first extension turned into nonsense."""
    broken: dict[str, Any] = orjson.loads(orjson.dumps(resource))
    for extension in broken.get("extension", [])[:1]:
        for part in extension.get("extension", []):
            part.update(dict.fromkeys([key for key in part if key.startswith("value")], "%%%"))
    return broken


def without_some(state: RegistryState, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A list from an outdated index: well-formed, its total consistent, and without the first `missing` resources."""
    return found[state.missing :]


def _linked(url: str) -> Response:
    """A page whose next page is at `url`."""
    bundle = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": url}]}
    return Response(orjson.dumps(bundle), media_type=FHIR_JSON)


async def _spaces() -> AsyncIterator[bytes]:
    for _ in range(HUGE_MEGABYTES):
        yield b" " * 1024 * 1024


_ANSWERS: dict[str, Callable[[Request], Response]] = {
    "error": lambda _: Response(status_code=500),
    "html": lambda _: Response("<html>maintenance</html>", media_type="text/html"),
    "truncated": lambda _: Response(b'{"resourceType":"Bundle","type":"sea', media_type=FHIR_JSON),
    "loop": lambda request: _linked(str(request.url)),
    "foreign-link": lambda _: _linked("https://elsewhere.example/page2"),
    "huge": lambda _: StreamingResponse(_spaces(), media_type=FHIR_JSON),
}
