"""Every FHIR resource that a test received, once each, for the independent validator at the end of the run."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

FHIR_JSON = "application/fhir+json"


class Received:
    """Collects the JSON bodies of FHIR answers."""

    def __init__(self) -> None:
        self.bodies: dict[bytes, str] = {}  # canonical body → the request that brought it

    async def keep(self, response: httpx.Response) -> None:
        """An httpx response hook."""
        request = response.request
        if response.headers.get("content-type", "").startswith(FHIR_JSON) and request.method != "HEAD":
            body = await response.aread()
            self.bodies.setdefault(body, f"{request.method} {request.url.path} {response.status_code}")

    def forget(self, response: httpx.Response) -> None:
        """Leave out an answer that cannot be valid, because the specifications contradict each other."""
        self.bodies.pop(response.content)

    def resources(self) -> list[tuple[str, dict[str, Any]]]:
        """Where each came from, and the resource."""
        return [(origin, orjson.loads(body)) for body, origin in self.bodies.items()]
