"""A client of a running recorder's listener on kept connections: reads, and polls with rotating tokens."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, urlencode

import orjson

from ddr.demo.diga_client import Tokens
from ddr.fhir.instants import instant
from tests.bench.line import Line
from tests.bench.turns import Step
from tests.bench.worker import PATH

INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"
FHIR_JSON, FHIR_XML = "application/fhir+json", "application/fhir+xml"
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
TIMES, AGAIN_SECONDS = 30, 1.0  # a worker whose event loop is late tells some of a crowd to come again (OPS-011)


@dataclass
class Paired:
    """One patient's pairing, whose refresh token moves on."""

    tokens: Tokens


@dataclass(frozen=True)
class Caller:
    """A DiGA at the listener `place`, or anybody there, without a `client_id`."""

    tls: ssl.SSLContext
    place: SplitResult
    client_id: str

    def get(self, line: Line, target: str, paired: Paired | None = None, accept: str = FHIR_JSON) -> Step:
        """A client that reads `target` over and over."""
        fields = {"accept": accept}
        if paired is not None:
            fields["authorization"] = f"Bearer {paired.tokens.access_token}"

        async def step() -> int:
            return await self.ok(line, "GET", target, fields)

        return step

    def floor(self, line: Line) -> Step:
        """A client of the durable floor."""
        return self.get(line, PATH)

    async def ok(self, line: Line, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> int:
        """The length of an answer that has to be 200."""
        return len(await self.asked(line, method, target, fields, body))

    async def asked(self, line: Line, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> bytes:
        """An answer that has to be 200. Who is told to come again does so: what that takes lowers the rate."""
        for _ in range(TIMES):
            status, found = await line.ask(method, target, self.place.netloc, fields, body)
            if status != 503:
                break
            await asyncio.sleep(AGAIN_SECONDS)
        if status != 200:
            raise RuntimeError(f"{target.partition('?')[0]}: {status} {found[:300]!r}")
        return found

    async def refresh(self, line: Line, paired: Paired) -> int:
        """New tokens; the refresh token is used up."""
        form = {"grant_type": "refresh_token", "refresh_token": paired.tokens.refresh_token}
        body = urlencode(form | {"client_id": self.client_id}).encode()
        found = await self.asked(line, "POST", "/oauth/token", FORM, body)
        told, had = orjson.loads(found), paired.tokens
        paired.tokens = Tokens(told["access_token"], told["refresh_token"], had.scope, had.pairing_id)
        return len(found)

    async def poll(self, line: Line, paired: Paired, target: str) -> int:
        """A refresh, and the search with the new token; the bytes of both answers."""
        size = await self.refresh(line, paired)
        fields = {"accept": FHIR_JSON, "authorization": f"Bearer {paired.tokens.access_token}"}
        return size + await self.ok(line, "GET", target, fields)


def changed_since(since_ms: int) -> str:
    """The search of a poll: what has changed after an instant, with both includes."""
    return f"/fhir/Observation?_lastUpdated=gt{instant(since_ms)}&{INCLUDES}"
