"""A recorder by somebody else, within what HDDT and FHIR leave open: given pages, over httpx."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ddr.client import Diga, FileTokens, Grant, Recorder

Json = dict[str, Any]
ISSUER, FHIR = "https://as.example", "https://data.example/r4/fhir"
DIGA = Diga("urn:diga:bfarm:00001", "https://diga.example/cb", ISSUER, FHIR, Path("cert"), Path("key"))
PAIRING = "f" * 64
Answer = Callable[[httpx.Request], httpx.Response]


@dataclass
class Foreign:
    """`pages` by the path and query below the FHIR base; the first one whose key begins the request's counts."""

    pages: Mapping[str, Json | Answer]
    refreshed: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    token: Answer | None = None

    def answer(self, request: httpx.Request) -> httpx.Response:
        """What it says."""
        url = str(request.url)
        if url == f"{ISSUER}/.well-known/oauth-authorization-server":
            return httpx.Response(200, json={"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token"})
        if url == f"{ISSUER}/token":
            self.refreshed.append(request.content.decode())
            if self.token is not None:
                return self.token(request)
            number = len(self.refreshed)
            return httpx.Response(
                200, json={"access_token": f"a{number}", "refresh_token": f"r{number}", "expires_in": 600}
            )
        below = url.removeprefix(FHIR + "/")
        self.asked.append(below)
        for start, found in self.pages.items():
            if below.startswith(start):
                return found(request) if callable(found) else resource(found)
        return resource({"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]}, 404)

    def http(self) -> httpx.AsyncClient:
        """A client of it."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self.answer))


def resource(content: Json, status: int = 200) -> httpx.Response:
    """An answer in FHIR JSON."""
    return httpx.Response(
        status, content=json.dumps(content), headers={"content-type": "application/fhir+json;charset=utf-8"}
    )


async def recorder_of(foreign: Foreign, folder: Path, expires_at: float = 4e9) -> Recorder:
    """A paired client of it."""
    tokens = FileTokens(folder / "tokens")
    await tokens.save(Grant(PAIRING, "", "r0", "a0", expires_at))
    return Recorder(DIGA, foreign.http(), tokens, PAIRING)


def bundle(*resources: Json, following: str = "", **members: Any) -> Json:
    """A searchset."""
    links = [{"relation": "next", "url": following}] if following else []
    entries = [{"resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries, **members}


def chunk(name: str, updated: str = "2026-11-20T12:00:00Z", **members: Any) -> Json:
    """A chunk of two samples."""
    data = {"origin": {"value": 0, "code": "mg/dL"}, "period": 300000.0, "data": "100 101"}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "meta": {"versionId": "1", "lastUpdated": updated},
        "code": {"coding": [{"system": "http://loinc.org", "code": "99504-3"}]},
        "effectivePeriod": {"start": "2026-11-20T08:00:00+01:00", "end": "2026-11-20T08:09:59+01:00"},
        "valueSampledData": data,
        **members,
    }
