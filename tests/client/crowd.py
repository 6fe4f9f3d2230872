"""A recorder with many pairings, in memory and in virtual time: Grace-Period, rotation, expiring tokens, pages, faults.

It is as strict as HDDT allows: a refresh token that is used again later than REPEAT seconds after its response counts
as theft and ends the pairing, and a search counts for the Grace-Period even if its response was lost.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.client.foreign import FHIR, ISSUER, bundle, resource

Json = dict[str, Any]
EPOCH = 1_795_000_000.0  # seconds since 1970 at the loop's 0
GRACE, REPEAT, TOKEN = 900.0, 10.0, 600.0  # seconds
CLOSED_RETRY = 60  # Retry-After while it is closed
PAGE = 2
LATENCY = (0.02, 0.3)
LOST, CUT = 0.03, 0.02  # of requests: done without an answer; not done at all


def now() -> float:
    """Seconds since 1970, in the time of the loop."""
    return EPOCH + asyncio.get_running_loop().time()


@dataclass
class Paired:
    """One pairing as the recorder knows it."""

    name: str
    refresh: str
    used: str = ""  # the refresh token before, its answer, and when that was
    answer: Json = field(default_factory=dict)
    rotated: float = 0.0
    served: float = float("-inf")  # the last search that counted
    told: float = float("-inf")  # until when it was told to stay away
    ended: bool = False
    content: dict[str, Json] = field(default_factory=dict)
    pages: dict[str, list[Json]] = field(default_factory=dict)
    polls: list[float] = field(default_factory=list)


class Crowd:
    """The recorder. `closed`: spans in seconds since 1970 in which it answers nobody, but with 503."""

    def __init__(self, names: list[str], closed: list[tuple[float, float]], chance: random.Random) -> None:
        self.pairings = {name: Paired(name, f"{name}.0") for name in names}
        self.closed, self._chance = closed, chance
        self._access: dict[str, tuple[Paired, float]] = {}
        self._serial = 0
        self.calm = False  # no faults any more
        self.seen: Counter[str] = Counter()
        self.versions: dict[tuple[str, str, str], Json] = {}  # everything that was ever sent
        self._at_once = self.most_at_once = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """One request, which takes some time."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self._chance.uniform(*LATENCY))
            fault = 1.0 if self.calm else self._chance.random()
            if fault < CUT:
                self.seen["requests cut off"] += 1
                raise httpx.ConnectError("refused", request=request)
            found = self._answer(request)
            if fault < CUT + LOST:
                self.seen["answers lost"] += 1
                await asyncio.sleep(self._chance.uniform(0.0, 2.0))
                raise httpx.ReadError("lost", request=request)
            return found
        finally:
            self._at_once -= 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        url = urlsplit(str(request.url))
        address = f"{url.scheme}://{url.netloc}{url.path}"
        if any(start <= now() < end for start, end in self.closed):
            self.seen["told that it is closed"] += 1
            return httpx.Response(503, headers={"retry-after": str(CLOSED_RETRY)})
        if address == f"{ISSUER}/.well-known/oauth-authorization-server":
            return httpx.Response(200, json={"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token"})
        if address == f"{ISSUER}/token":
            return self._refresh(parse_qs(request.content.decode())["refresh_token"][0])
        whose, until = self._access.get(request.headers["authorization"].removeprefix("Bearer "), (None, 0.0))
        if whose is None or whose.ended or now() >= until:
            return httpx.Response(401)
        if address == f"{FHIR}/Observation":
            return self._search(whose, parse_qs(url.query))
        assert address.startswith(f"{FHIR}/Observation/"), address
        found = whose.content.get(address.rpartition("/")[2])
        return resource(found) if found else httpx.Response(410)

    def _refresh(self, token: str) -> httpx.Response:
        whose = self.pairings[token.partition(".")[0]]
        if not whose.ended and token == whose.used and self._open_since(whose.rotated) <= REPEAT:
            self.seen["refreshes repeated"] += 1
            return httpx.Response(200, json=whose.answer)
        if not whose.ended and token != whose.refresh:
            self.seen["taken for theft"] += 1
            whose.ended = True
        if whose.ended:
            return httpx.Response(400, json={"error": "invalid_grant"})
        self._serial += 1
        access = f"a{self._serial}"
        self._access[access] = whose, now() + TOKEN
        whose.used, whose.refresh, whose.rotated = token, f"{whose.name}.{self._serial}", now()
        whose.answer = {"access_token": access, "refresh_token": whose.refresh, "expires_in": TOKEN}
        return httpx.Response(200, json=whose.answer)

    def _open_since(self, start: float) -> float:
        """Seconds since `start` in which it could be asked; after it was closed everybody has a minute to come back."""
        shut = sum(max(0.0, min(end + 60, now()) - max(begin, start)) for begin, end in self.closed)
        return now() - start - shut

    def _search(self, whose: Paired, query: dict[str, list[str]]) -> httpx.Response:
        self.seen["came back too early"] += now() < whose.told
        if "page" in query:
            entries = whose.pages[query["page"][0]]
        elif now() < whose.served + GRACE:
            left = math.ceil(whose.served + GRACE - now())
            whose.told = now() + left
            self.seen["told that the Grace-Period runs"] += 1
            return httpx.Response(429, headers={"retry-after": str(left)})
        else:
            whose.served = now()
            whose.polls.append(now())
            since = query.get("_lastUpdated", ["ge"])[0].removeprefix("ge")
            entries = [one for one in whose.content.values() if one["meta"]["lastUpdated"] >= since]
            entries.sort(key=lambda one: str(one["meta"]["lastUpdated"]))
        page, rest, following = entries[:PAGE], entries[PAGE:], ""
        if rest:
            self._serial += 1
            whose.pages[str(self._serial)] = rest
            following = f"Observation?page={self._serial}"
        self.versions |= {(whose.name, one["id"], one["meta"]["versionId"]): one for one in page}
        return resource(bundle(*page, following=following, meta={"lastUpdated": stamp()}))

    def change(self, whose: Paired) -> None:
        """What a patient's app does: a new Observation, a further version, or one less."""
        roll = self._chance.random()
        if roll < 0.1 and len(whose.content) > 1:
            del whose.content[self._chance.choice(list(whose.content))]
            return
        self._serial += 1
        name = f"o{self._serial}" if roll < 0.7 else self._chance.choice(list(whose.content) or ["o"])
        whose.content[name] = {
            "resourceType": "Observation",
            "id": name,
            "status": "final",
            "meta": {"versionId": str(self._serial), "lastUpdated": stamp()},
            "valueQuantity": {"value": self._chance.randrange(60, 300)},
        }


def stamp() -> str:
    """Now, as an instant of FHIR."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=now())
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
