"""Requests of one pairing to a recorder's FHIR server: tokens renewed in time, Retry-After followed, pages, changes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import httpx

from ddr.client import oauth
from ddr.client.answers import Json, at_same_server, content_of, next_page, outcome_of, page_of
from ddr.client.diga import Diga
from ddr.client.errors import Refused, ScopeRefused, Throttled, Unanswered, Unreachable, throttled
from ddr.client.pull import Change, Cursor, Kind, Known, Step, before, keys_of, lacks, query_of, resources_of, step
from ddr.client.session import Session
from ddr.client.tokens import TokenStore

TRIES = 4
ACCEPT = "application/fhir+json, application/fhir+xml;q=0.5"
SHORTEST_HISTORY = timedelta(days=14)  # of any kind of data (HDDT): a younger Observation not served was deleted
MOST_ASKED = 1000  # of the Observations that one full search no longer finds


class Recorder:
    """The data of one pairing.

    `patience` is the longest time in seconds that a request waits for Retry-After. `history` is the recorder's longest
    Historic-Data-Period (the Registry knows it): the next pull reports what has become older as gone. Without
    `history`, and for kinds of data with a shorter period, a full search requests each Observation that it no longer
    finds: the recorder's response says whether it is too old. `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        diga: Diga,
        http: httpx.AsyncClient,
        store: TokenStore,
        pairing_id: str,
        patience: float = 120.0,
        history: timedelta | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._diga, self._http = diga, http
        self._session = Session(diga, http, store, pairing_id)
        self._patience, self._history, self._clock = patience, history, clock

    async def pull(self, since: Cursor | None = None) -> AsyncIterator[Change]:
        """Everything new or changed since `since`, page by page; the last Change of each page has the cursor.

        Give the next pull the cursor of the last Change that you have stored durably. `steps` gives a cursor even when
        nothing has changed. Raises Throttled (the Grace-Period has not passed yet), PairingEnded, Refused, Unreachable.
        """
        async for one in self.steps(since):
            for change in one.changes:
                yield change

    async def steps(self, since: Cursor | None = None) -> AsyncIterator[Step]:
        """The changes of `pull` as pages, at least one. Raises as `pull`."""
        cursor = since or Cursor()
        if cursor.following:
            try:
                bundle = page_of(await self.get(at_same_server(self._diga.fhir_base, cursor.following)))
            except (Refused, Unreachable) as error:
                if isinstance(error, Unanswered):
                    raise
                # Recorders keep pages for a while only, and then some answer 500: search again; known versions are left
                # out.
                seen = None if cursor.seen is None else frozenset[str]()
                cursor = Cursor(cursor.since, cursor.known, "", seen, scope=cursor.scope)
                bundle = await self._first(cursor)
        else:
            cursor = cursor.under(await self._session.scope())
            bundle = await self._first(cursor)
        read = {cursor.following}
        while True:
            following = self._next(bundle, read)
            found = step(cursor, bundle, await self._related(bundle), following, self._floor())
            unshown, moved = lacks(cursor, bundle), bool(cursor.following)
            found, limit = await self._settle_missing(found, cursor.known, unshown, moved)
            yield found
            if limit is not None:
                raise limit
            if not found.more:
                return
            cursor, bundle = found.cursor, page_of(await self.get(following))

    async def pages(self, kind: str, parameters: Mapping[str, str]) -> AsyncIterator[Json]:
        """The Bundles of a search, page by page. Raises as `get`."""
        url, read = f"{self._diga.fhir_base}/{kind}?{urlencode(parameters)}", set[str]()
        while url:
            bundle = page_of(await self.get(url))
            yield bundle
            url = self._next(bundle, read)

    async def get(self, url: str) -> Json:
        """The resource in the response to a FHIR request, in FHIR's JSON form.

        Raises Throttled, PairingEnded, Refused, Unreachable.
        """
        waited, failed, rejected = 0.0, 0, None
        while True:
            token = await self._session.token(rejected)
            try:
                answer = await oauth.ask(
                    self._http, "GET", url, headers={"authorization": f"Bearer {token}", "accept": ACCEPT}
                )
                if answer.is_success:
                    return content_of(answer)
                if answer.status_code >= 500 and answer.status_code not in (501, 503):  # 501 is permanent
                    raise Unreachable(f"the recorder responds with {answer.status_code}")
            except Unreachable:
                failed += 1
                if failed == TRIES:
                    raise
                await asyncio.sleep(random.uniform(0.5, 1) * 2 ** (failed - 1))  # noqa: S311
                continue
            if answer.status_code == 401:
                if rejected is not None:
                    raise Refused(401, *outcome_of(answer))  # despite a new token; invalid_grant would have ended it
                rejected = token
            elif answer.status_code in (429, 503):
                pause = max(1.0, oauth.retry_seconds(answer)) + random.uniform(0, 1)  # noqa: S311 - so that not all come at once
                if waited + pause > self._patience:
                    raise throttled(answer.status_code, pause)
                waited += pause
                await asyncio.sleep(pause)
            else:
                code, text = outcome_of(answer)
                raise (ScopeRefused if answer.status_code == 403 else Refused)(answer.status_code, code, text)

    async def _first(self, cursor: Cursor) -> Json:
        url = f"{self._diga.fhir_base}/Observation?"
        try:
            return page_of(await self.get(url + urlencode(query_of(cursor))))
        except Refused as error:
            if error.status != 400 or not cursor.since:
                raise
            # HDDT requires `_lastUpdated` for continuous glucose only: search everything; known versions are left out.
            return page_of(await self.get(url + urlencode(query_of(Cursor()))))

    async def _related(self, bundle: Json) -> Mapping[str, Json]:
        """Device and DeviceMetric that the page refers to; those that it does not contain are read one by one."""
        observations, related = resources_of(bundle)
        waiting = [one.get("device") for one in observations]
        waiting += [one.get("source") for one in related.values() if one["resourceType"] == "DeviceMetric"]
        asked: set[str] = set()
        while waiting:
            one = waiting.pop()
            for key in keys_of(str(one.get("reference") or "") if isinstance(one, dict) else ""):
                if key in related:
                    break
                if key in asked or not key.startswith(("Device/", "DeviceMetric/")):
                    continue
                asked.add(key)
                try:
                    related[key] = await self.get(f"{self._diga.fhir_base}/{key}")
                except Refused:  # not served, or not consented to: the values are usable without it
                    continue
                waiting.append(related[key].get("source"))
                break
        return related

    async def _settle_missing(
        self, found: Step, known: Mapping[str, Known], unshown: bool, moved: bool
    ) -> tuple[Step, Throttled | None]:
        """`found`, in which each missing Observation is deleted, gone (too old), or stays known.

        `unshown`: the recorder has more than it has shown. `moved`: the search had several pages, and meanwhile an
        Observation may have changed its place in it, by a new version or because another one was deleted. In both cases
        the missing ones are read, and stay known when they are served. They also stay known when the recorder gives no
        answer; beyond the first MOST_ASKED only if `unshown`, since so many cannot merely have moved. Old ones are
        read, too, to tell whether they are gone; without an answer they count as deleted.

        The second value is a Throttled when the recorder wants fewer requests. Then the rest stays known; otherwise
        each full search would begin with the same reads.
        """
        young = self._now() - SHORTEST_HISTORY
        missing = [change.id for change in found.changes if change.kind is Kind.DELETED]
        old = {name for name in missing if before(known[name].end, young)}
        doubtful = [name for name in missing if name in old or unshown or moved]
        fates, limit = await self._fates(doubtful)
        silent = None in fates.values()

        def stays(name: str) -> bool:
            fate = fates.get(name)
            if fate is None and limit:
                return True
            return name not in old and (fate is Kind.CHANGED or (fate is None and (unshown or silent)))

        # Those read now come last next time: one that is never answered, or many that are served, must not keep others
        # from being settled.
        kept = {name: known[name] for name in sorted(filter(stays, doubtful), key=fates.__contains__)}
        gone = {name for name, fate in fates.items() if fate in (Kind.CHANGED, Kind.GONE)}
        cursor = replace(found.cursor, known={**found.cursor.known, **kept})
        changes = [
            replace(change, kind=Kind.GONE) if change.id in gone else change
            for change in found.changes
            if change.id not in kept
        ]
        changes[-1:] = [replace(change, cursor=cursor) for change in changes[-1:]]
        return replace(found, changes=tuple(changes), cursor=cursor), limit

    async def _fates(self, names: Sequence[str]) -> tuple[dict[str, Kind | None], Throttled | None]:
        """What has become of the first MOST_ASKED, up to the first one without an answer (None), or until the recorder
        wants fewer requests; the second value is then that Throttled. Raises as `_fate`."""
        fates: dict[str, Kind | None] = {}
        for name in names[:MOST_ASKED]:
            try:
                fates[name] = await self._fate(name)
            except Throttled as limit:
                return fates, limit
            if fates[name] is None:
                break
        return fates, None

    async def _fate(self, name: str) -> Kind | None:
        """What has become of an Observation that a search no longer finds: GONE where the outcome names the
        Historic-Data-Period (HDDT fhir-api-observation.md, read), DELETED, or CHANGED when it is served under its id.
        None: the recorder does not answer. Raises as `get` for errors about the token."""
        try:
            await self.get(f"{self._diga.fhir_base}/Observation/{quote(name, safe='')}")
        except Refused as error:
            if error.status in (405, 501):  # a recorder with pages but without reads can be pulled all the same
                return None
            if error.status not in (403, 404, 410):
                raise
            return Kind.GONE if "historic" in str(error).casefold() else Kind.DELETED
        except Unanswered:
            raise
        except Unreachable:
            return None
        return Kind.CHANGED

    def _next(self, bundle: Json, read: set[str]) -> str:
        """The URL of the next page, "" on the last one; it is added to `read`. Raises Refused for one that was read
        already, since a circle of pages has no end."""
        found = next_page(bundle, f"{self._diga.fhir_base}/Observation")
        if found and found in read:
            raise Refused(200, "link", "the link to the next page leads back to a page that was already read")
        read.add(found)
        return found

    def _floor(self) -> datetime | None:
        return None if self._history is None else self._now() - self._history

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
