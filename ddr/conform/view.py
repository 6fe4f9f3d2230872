"""The recorder's data as one pairing sees it: requests with its token, and everything that it may read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ddr.client.answers import at_same_server
from ddr.client.errors import Refused
from ddr.client.oauth import seconds_told
from ddr.conform.authorization import OBSERVATION, Pairing, refresh_form, token
from ddr.conform.blame import blamed
from ddr.conform.exchange import Exchange, Json
from ddr.conform.found import Found, matches
from ddr.conform.laws.naive import references
from ddr.conform.laws.times import effective, written
from ddr.conform.pacing import Pace
from ddr.conform.verdict import Ended, NotRun

if TYPE_CHECKING:
    from ddr.conform.kit import Kit

INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"
EARLY_SECONDS = 30
LONGEST_SECONDS = 86_400  # longest assumed lifetime of a token: JSON allows numbers of any size
MOST_PAGES = 2000


class Elsewhere(NotRun):
    """A page's link leads to another server, which would receive the token: it is not followed."""


class Circle(NotRun):
    """A page's link leads back to a page that was read, so there is no end."""


class View:
    """What one pairing sees. `patient` is the index of the patient in the target."""

    def __init__(self, kit: Kit, name: str, patient: int, pairing: Pairing, pace: Pace) -> None:
        self.kit, self.name, self.patient, self.pairing, self.pace = kit, name, patient, pairing, pace
        self.identity = pairing.request.identity
        self._read: dict[str, Found | Ended] = {}
        self._asked: dict[str, Exchange] = {}
        self._gives_all = False
        self._take(pairing.tokens)

    def _take(self, tokens: Json) -> None:
        self.access_token = str(tokens.get("access_token", ""))
        self.refresh_token = str(tokens.get("refresh_token") or getattr(self, "refresh_token", ""))
        lifetime = tokens.get("expires_in")
        self._expires_at = time.monotonic() + (
            max(0, min(lifetime, LONGEST_SECONDS)) if isinstance(lifetime, int) else 300
        )

    @property
    def sub(self) -> str:
        """The Pairing ID."""
        return str(self.pairing.tokens.get("sub", ""))

    @property
    def mivs(self) -> tuple[str, ...]:
        """The ValueSets of the granted scopes."""
        granted = str(self.pairing.tokens.get("scope", "")).split()
        return tuple(scope.removeprefix(OBSERVATION) for scope in granted if scope.startswith(OBSERVATION))

    def sees(self, miv: str) -> bool:
        """Whether a MIV, named by the last part of its canonical URL, is granted."""
        return any(one.endswith(f"hddt-miv-{miv}") for one in self.mivs)

    def renew(self) -> Exchange:
        """Refresh the tokens; the view uses the new ones from now on."""
        answer = token(self.kit, refresh_form(self.identity, self.refresh_token), self.identity)
        self.take(answer)
        return answer

    def take(self, answer: Exchange) -> None:
        """Use tokens obtained elsewhere from now on; a response without tokens changes nothing."""
        if answer.status == 200 and "access_token" in answer.json:
            self._take(answer.json)

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        content: str = "",
        harmless: bool = False,
    ) -> Exchange:
        """Send any request below the FHIR base with the token. For Observation searches use `search`."""
        if time.monotonic() > self._expires_at - EARLY_SECONDS:
            self.renew()
        fields = {
            "accept": "application/fhir+json",
            "authorization": f"Bearer {self.access_token}",
            **(headers or {}),
        }
        return self.kit.wire.send(method, self.url(path), self.identity, fields, content=content, harmless=harmless)

    def url(self, path: str) -> str:
        """`path` below the FHIR base; absolute URLs are unchanged."""
        return path if "://" in path else f"{self.kit.target.fhir_base}/{path}"

    def get(self, path: str, **headers: str) -> Exchange:
        """Send a request that does not count for the Grace-Period: reads, Device, DeviceMetric, links, invalid
        searches.

        Raises NotRun.
        """
        ask = partial(self.send, "GET", path, headers)
        return self._uncounted(ask) if path.startswith("Observation?") else ask()

    def search(self, path: str, **headers: str) -> Exchange:
        """Search Observations when a search is due; waits, also for a Retry-After. Raises NotRun."""
        return self.counted(lambda: self.send("GET", path, headers))

    def post(self, path: str, content: str, media_type: str, **headers: str) -> Exchange:
        """POST _search or an operation, when one is due. Raises NotRun."""
        return self.counted(lambda: self.send("POST", path, {"content-type": media_type, **headers}, content))

    def post_uncounted(self, path: str, content: str, media_type: str) -> Exchange:
        """The same for requests that do not count for the Grace-Period; see `get`. Raises NotRun."""
        ask = partial(self.send, "POST", path, {"content-type": media_type}, content)
        return self._uncounted(ask) if path.startswith("Observation/") else ask()

    def _uncounted(self, ask: Callable[[], Exchange]) -> Exchange:
        """The response to `ask()`, an invalid search. Some recorders check the Grace-Period before they look for
        errors: then it is repeated when a search is due. Raises NotRun."""
        answer = ask()
        if answer.status == 429 and self._is_to_wait(answer):
            return self.counted(ask)
        return self._asked_now(answer)

    def counted(self, ask: Callable[[], Exchange]) -> Exchange:
        """The response to `ask()`, called when a search is due."""
        for _ in range(2):
            self.pace.claim()
            after = self.pace.is_over(self.kit.searched.get(self.patient))
            answer = ask()
            self.kit.due += [answer] if after and answer.status in (200, 429) else []
            if answer.status != 429:
                self.pace.answered(answer)
                return self._asked_now(answer)
            if not self._is_to_wait(answer):
                return answer
        return answer

    def _asked_now(self, answer: Exchange) -> Exchange:
        """`answer` to a search, from which other recorders may count the Grace-Period of the patient."""
        self.kit.searched[self.patient] = self.pace.now()
        return answer

    def _is_to_wait(self, answer: Exchange) -> bool:
        """Whether a refusal says when to retry; then searches wait for that."""
        seconds = seconds_told(answer.headers)
        if seconds is not None:
            self.pace.wait_for(seconds + 0.5)
        return seconds is not None

    def once(self, name: str, ask: Callable[[], Exchange], anew: bool = False) -> Exchange:
        """The response to `ask()`, shared by several checks; requested again with `anew`."""
        if anew or name not in self._asked:
            self._asked[name] = ask()
        return self._asked[name]

    def all_pages(self, path: str, counted: bool = True, meanwhile: Callable[[], None] | None = None) -> Found:
        """A search and its `next` links to the end; `meanwhile` is called after the first page.

        Raises NotRun when a page is not a Bundle.
        """
        found, read = Found(), set[str]()
        url: str | None = path
        while url and len(found.pages) < MOST_PAGES:
            answer = self.search(url) if counted and not found.pages else self.get(url)
            if answer.status != 200 or answer.json.get("resourceType") != "Bundle":
                raise NotRun(f"{self.name}: {answer.told}", answer)
            if counted and found.pages:
                self.pace.answered(answer)
                self._asked_now(answer)
            found.take(answer)
            read.add(answer.url)
            url = self.following(answer)
            if url in read:
                raise Circle(f"{self.name}: the link next leads back to a page that was already read", answer)
            if meanwhile and len(found.pages) == 1:
                meanwhile()
        return found

    def following(self, answer: Exchange) -> str | None:
        """The URL of the next page, None on the last one. Raises Elsewhere."""
        links = answer.json.get("link") or ()
        found = next((str(link.get("url")) for link in links if link.get("relation") == "next"), None)
        if found is None:
            return None
        try:
            return at_same_server(answer.url, found)
        except Refused:
            raise Elsewhere("a link leads to another server, which would get the token", answer) from None

    def listed(self, kind: str) -> Found:
        """All of Observation (with the devices that they refer to), Device or DeviceMetric; read once. Raises
        NotRun."""
        if kind not in self._read:
            observations, before = kind == "Observation", len(self.kit.wire.exchanges)
            try:
                found = self.all_pages(f"{kind}?{INCLUDES}" if observations else kind, observations)
                self._read[kind] = self._filled(found) if observations else found
            except Exception as error:  # read only once, whatever the error
                ended = self._read[kind] = blamed(error, self.kit.wire.exchanges[before:])
                if not isinstance(ended, NotRun):
                    raise ended from error
        read = self._read[kind]
        if isinstance(read, Ended):
            why = type(read) if isinstance(read, NotRun) else NotRun
            raise why(f"reading every {kind}: {read.text}", *read.shown)
        return read

    def _filled(self, found: Found) -> Found:
        """All Observations. A recorder may return a limited number, and then has no pages (HDDT
        retrieving-data.md#paging). Its `total` shows that, or, without a total, a search for the oldest or newest that
        finds others. Then they are read by their time. Raises NotRun."""
        total = found.pages[0].json.get("total")
        if len(found.pages) > 1 or not found.matches or total == len(found.matches) or self._gives_all:
            return found
        self._fill_by_time(found, total)
        self._gives_all = not found.most
        return found

    def _fill_by_time(self, found: Found, total: object) -> None:
        """Add the Observations that `found` lacks, from the oldest to the newest, as many at a time as the first search
        returned. `found.most` is set when there were others. Raises NotRun."""
        limit, since, latest = len(found.matches), "", -1
        while True:
            try:
                answer = self.search(f"Observation?_sort=date{since}&{INCLUDES}")
            except NotRun:
                if total is not None or found.most:
                    raise
                return
            if answer.status != 200 or self.following(answer) is not None:
                return
            new, shown, before = found.add(answer), matches(answer), latest
            if len(shown) > limit:  # it can return more at once: the new ones arrived meanwhile
                found.most = 0
            elif new:
                found.most = limit
            complete = len(found.matches) >= total if isinstance(total, int) else len(shown) != limit
            if complete:
                return
            latest = max((time[0] for one in shown if (time := effective(one))), default=0) // 1000 * 1000
            if latest == before and found.most and len(shown) >= limit:
                raise NotRun("of one time there are more Observations than it gives at once", answer)
            if latest <= before:  # it ignores times
                return
            since = f"&date=ge{written(latest)}"

    def again(self, kind: str) -> Found:
        """All of a type, read again. Raises NotRun."""
        self._read.pop(kind, None)
        return self.listed(kind)

    def seen(self, kind: str) -> list[Json]:
        """What `listed` has read of a type, without a request."""
        found = self._read.get(kind)
        return found.matches if isinstance(found, Found) else []

    @property
    def pages(self) -> list[Exchange]:
        """The responses that contained it."""
        return [page for found in self._read.values() if isinstance(found, Found) for page in found.pages]

    def device_of(self, series: str) -> str:
        """`Device/<id>` behind a series of chunks, by the key in laws.chunks.series."""
        reference = series.partition(" ")[0]
        return next(references(self.everything.included.get(reference, {}), "source"), reference)

    @property
    def everything(self) -> Found:
        """All Observations with the devices that they refer to. Raises NotRun."""
        return self.listed("Observation")
