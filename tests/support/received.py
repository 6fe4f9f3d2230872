"""Every FHIR resource that a test received, without duplicates, for the independent validator at the end of the run.

The validator's test may run in a later process than the others: --evidence FOLDER stores the resources.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson

FHIR_JSON = "application/fhir+json"


class Received:
    """Collects the JSON bodies of FHIR responses."""

    def __init__(self) -> None:
        self.bodies: dict[bytes, str] = {}  # canonical body → the request for it

    async def keep(self, response: httpx.Response) -> None:
        """An httpx response hook."""
        request = response.request
        if response.headers.get("content-type", "").startswith(FHIR_JSON) and request.method != "HEAD":
            body = await response.aread()
            self.bodies.setdefault(body, f"{request.method} {request.url.path} {response.status_code}")

    def forget(self, response: httpx.Response) -> None:
        """Leave out a response that cannot be valid, because the specifications contradict each other."""
        self.bodies.pop(response.content)

    def write(self, folder: Path) -> None:
        """Store everything for a later run."""
        folder.mkdir(parents=True, exist_ok=True)
        one_line = {body.replace(b"\n", b" "): origin for body, origin in self.bodies.items()}
        bodies = ({"origin": origin, "body": orjson.Fragment(body)} for body, origin in one_line.items())
        (folder / f"received-{uuid4().hex}.ndjson").write_bytes(b"\n".join(map(orjson.dumps, bodies)))

    def read(self, folder: Path) -> None:
        """Add what earlier runs stored in `folder`."""
        for file in sorted(folder.glob("received-*.ndjson")):
            for line in file.read_bytes().splitlines():
                kept = orjson.loads(line)
                self.bodies.setdefault(orjson.dumps(kept["body"]), kept["origin"])

    def resources(self) -> list[tuple[str, dict[str, Any]]]:
        """The source of each resource, and the resource."""
        return [(origin, orjson.loads(body)) for body, origin in self.bodies.items()]


received = Received()
