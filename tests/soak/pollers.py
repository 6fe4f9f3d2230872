"""DiGA that poll by a cursor as docs/diga-guide.md says, and compare what they know with everything there is."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from ddr.demo.diga_client import Tokens
from tests.soak.caller import Caller

Json = dict[str, Any]
COMPARE_EVERY = 12  # polls
KINDS = ("Observation", "Device", "DeviceMetric")
UNAUTHORIZED = 401


class Unanswered(Exception):
    """A page did not come: the poll begins anew with the former cursor."""


@dataclass
class Poller:
    """One DiGA's view of one patient."""

    caller: Caller
    fhir_base: str
    token_url: str
    client_id: str
    tokens: Tokens
    cursors: dict[str, str] = field(default_factory=dict)
    known: dict[str, tuple[str, str]] = field(default_factory=dict)  # version and stamp by type and id
    contents: dict[str, str] = field(default_factory=dict)  # digest by type, id, version
    polls: int = 0

    async def run(self, stop: asyncio.Event, pause: float) -> None:
        """Poll until told to stop."""
        while not stop.is_set():
            for kind in KINDS:
                await self.poll(kind)
            self.polls += 1
            if self.polls % COMPARE_EVERY == 0:
                await self.compare()
            await asyncio.sleep(pause)

    async def poll(self, kind: str) -> bool:
        """Everything that is new since the last answer that came whole; False when none came now."""
        since = f"&_lastUpdated=gt{self.cursors[kind]}" if kind in self.cursors else ""
        try:
            found, stamp = await self._pages(f"{self.fhir_base}/{kind}?_count=100{since}")
        except Unanswered:
            return False
        for resource in found:
            self.known[self._name(resource)] = self._noted(resource)
        self.cursors[kind] = stamp
        return True

    async def compare(self) -> list[Json]:
        """Everything there is; what is not newer than the cursor must be known. Empty when not every page came."""
        cursors, everything = dict(self.cursors), []
        for kind in KINDS:
            try:
                found, _ = await self._pages(f"{self.fhir_base}/{kind}?_count=1000")
            except Unanswered:
                return []
            everything += found
            for resource in found:
                version, stamp = self._noted(resource)
                name, cursor = self._name(resource), cursors.get(kind, "")
                if stamp <= cursor and self.known.get(name) != (version, stamp):
                    text = f"{name} {version} {stamp}, known {self.known.get(name)}, cursor {cursor}"
                    self.caller.ledger.found("a poller by cursor missed a version", text)
        return everything

    def _noted(self, resource: Json) -> tuple[str, str]:
        """Version and stamp; the content under a version is one for ever (of an Observation: DEV-012 is otherwise)."""
        meta = resource["meta"]
        version, stamp = meta["versionId"], meta["lastUpdated"]
        if resource["resourceType"] == "Observation":
            digest = hashlib.sha256(orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)).hexdigest()
            name = f"{self._name(resource)}/_history/{version}"
            if self.contents.setdefault(name, digest) != digest:
                self.caller.ledger.found("a version has two contents", name)
        return version, stamp

    @staticmethod
    def _name(resource: Json) -> str:
        return f"{resource['resourceType']}/{resource['id']}"

    async def _pages(self, url: str) -> tuple[list[Json], str]:
        """All matches of a search, and its stamp. Raises Unanswered."""
        found: list[Json] = []
        while True:
            bundle = await self._get(url)
            stamp = bundle["meta"]["lastUpdated"]
            found += [entry["resource"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == "match"]
            following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
            if not following:
                return found, stamp
            url = following[0]

    async def _get(self, url: str) -> Json:
        headers = {"authorization": f"Bearer {self.tokens.access_token}", "accept": "application/fhir+json"}
        begun = time.monotonic()
        answer = await self.caller.once("GET", url, headers=headers)
        if answer is None:
            raise Unanswered
        if answer.status_code == UNAUTHORIZED:
            await self._refresh()
            raise Unanswered
        if answer.is_error:
            self.caller.ledger.refused("a poller is refused", answer, begun, lasting=False)
            await asyncio.sleep(1)
            raise Unanswered
        content: Json = answer.json()
        return content

    async def _refresh(self) -> None:
        """New tokens; an answer that is lost is asked for again with the same token."""
        form = {"grant_type": "refresh_token", "client_id": self.client_id, "refresh_token": self.tokens.refresh_token}
        begun = time.monotonic()
        answer = await self.caller.once("POST", self.token_url, data=form)
        if answer is None:
            return
        if answer.is_error:
            lasting = answer.json().get("error") == "invalid_grant"
            self.caller.ledger.refused("a pairing is lost", answer, begun, lasting)
            await asyncio.sleep(1)
            return
        content = answer.json()
        self.tokens = Tokens(*(content[name] for name in ("access_token", "refresh_token", "scope", "sub")))
