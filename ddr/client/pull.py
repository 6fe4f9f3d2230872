"""What changed since last time: searches by `_lastUpdated` with the devices, as changes. No I/O of its own."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

from ddr.client.instants import instant

Json = dict[str, Any]

# Both includes: a chunk needs the calibration state and the serial number that it was measured under.
INCLUDES = {"_include": "Observation:device", "_include:iterate": "DeviceMetric:source"}
OVERLAP = timedelta(seconds=60)  # finds late commits of recorders whose timestamps do not follow commit order


class Kind(StrEnum):
    """The kinds of a change."""

    NEW = "new"  # an id that was not known
    CHANGED = "changed"  # a further version, for instance of a growing chunk
    AMENDED = "amended"  # a change to a final Observation
    ENTERED_IN_ERROR = "entered-in-error"  # drop what was read under this id
    DELETED = "deleted"  # no longer served: erased by its gateway, or the consent for its kind was withdrawn
    GONE = "gone"  # older than the Historic-Data-Period: keep what you are allowed to keep; no more will come


class Known(NamedTuple):
    """What was read under an id: its version, and when its measurement ended."""

    version: str
    end: str


@dataclass(frozen=True)
class Cursor:
    """How far a DiGA has read, and which versions. Store `to_json()` with the data, in one transaction.

    In the middle of a search `following` is the next page, `begun` is Bundle.meta.lastUpdated of its first page, and
    `seen` are the ids that a full search has found so far (None: this search asks only for changes). `scope` was
    granted when the search began; data of a scope granted later may be older than `since`.
    """

    since: str = ""  # the instant (FHIR) from which the next search begins
    known: Mapping[str, Known] = field(default_factory=dict)
    following: str = ""
    seen: frozenset[str] | None = None
    begun: str = ""
    scope: str = ""  # "": unknown

    def whole(self) -> Cursor:
        """The cursor for a full search with the next pull, which finds deletions. A first pull is a full search
        anyway."""
        whole = Cursor("", self.known, "", frozenset(), scope=self.scope)
        return whole if self.known or self.since else self

    def under(self, scope: str) -> Cursor:
        """The cursor for the next search under this scope. A larger scope needs a full search: data consented to later
        does not necessarily have a later `lastUpdated`."""
        more = set(scope.split()) - set(self.scope.split())
        return replace(self.whole() if more and self.scope else self, scope=scope or self.scope)

    def to_json(self) -> Json:
        """The cursor as JSON, for storing."""
        found: Json = {"since": self.since, "known": {name: list(one) for name, one in self.known.items()}}
        if self.following:
            found |= {"following": self.following, "begun": self.begun}
        if self.seen is not None:
            found["seen"] = sorted(self.seen)
        if self.scope:
            found["scope"] = self.scope
        return found

    @classmethod
    def from_json(cls, content: Json) -> Cursor:
        """The inverse of `to_json`."""
        seen = content.get("seen")
        known = {name: Known(*one) for name, one in content["known"].items()}
        seen = None if seen is None else frozenset(seen)
        texts = (str(content.get(name, "")) for name in ("begun", "scope"))
        return cls(content["since"], known, content.get("following", ""), seen, *texts)


@dataclass(frozen=True)
class Change:
    """An Observation that is new, changed or no longer there (then `resource` is None).

    `related` are Device and DeviceMetric by `<Type>/<id>`, and those with a version also by
    `<Type>/<id>/_history/<version>`. `cursor` is set on the last change of each page, where a pull can be resumed.
    """

    kind: Kind
    id: str
    resource: Json | None
    related: Mapping[str, Json]
    cursor: Cursor | None = None


@dataclass(frozen=True)
class Step:
    """The changes of one page, and the cursor to store with them. `more`: further pages follow.

    `unshown` is the number of Observations that the recorder says this search has found but does not show, on no page.
    The cursor advances all the same: search for them by their time.
    """

    changes: tuple[Change, ...]
    cursor: Cursor
    more: bool
    unshown: int = 0

    @property
    def related(self) -> Mapping[str, Json]:
        """Device and DeviceMetric of this page by `<Type>/<id>`."""
        return self.changes[0].related if self.changes else {}


def query_of(cursor: Cursor) -> dict[str, str]:
    """The parameters of the search that continues from `cursor`."""
    return {**INCLUDES, "_lastUpdated": f"ge{cursor.since}"} if cursor.since else dict(INCLUDES)


def resources_of(bundle: Json) -> tuple[list[Json], dict[str, Json]]:
    """The Observations of a page in the order of their changes, and Device and DeviceMetric by `<Type>/<id>` and by
    `<Type>/<id>/_history/<version>`, since a page may hold several versions of one.

    They are told apart by type: recorders differ in the order of entries and in how they label them.
    """
    found: dict[str, Json] = {}
    for entry in bundle.get("entry") or ():
        resource = entry.get("resource") or {}
        if resource.get("resourceType") in ("Observation", "Device", "DeviceMetric") and resource.get("id"):
            key = f"{resource['resourceType']}/{resource['id']}"
            found[key] = resource
            if resource["resourceType"] != "Observation" and (number := version_id(resource)):
                found[f"{key}/_history/{number}"] = resource
    related = {key: one for key, one in found.items() if not key.startswith("Observation/")}
    observations = [one for key, one in found.items() if key.startswith("Observation/")]
    observations.sort(key=_updated)
    return observations, related


def keys_of(reference: str) -> list[str]:
    """The keys under which the target of an absolute, relative or versioned reference may be found, best first."""
    plain, _, number = reference.partition("/_history/")
    key = "/".join(plain.split("/")[-2:])
    return [f"{key}/_history/{number}", key] if number else [key]


def step(cursor: Cursor, bundle: Json, related: Mapping[str, Json], following: str, floor: datetime | None) -> Step:
    """The changes on a page. Known versions are left out; the last page also gives what is no longer there.

    `floor` is the beginning of the Historic-Data-Period. Without it, missing Observations count as deleted, not as gone
    (Recorder then asks for each). An older Observation that is still served is reported as gone once: a full search
    does not report it as new again.

    After the last page the cursor continues from `Bundle.meta.lastUpdated` of the first page where the recorder sends
    it (what changes between two pages may belong on the page already read), else from the newest `meta.lastUpdated` of
    the last page; an overlap is subtracted in both cases.
    """
    observations, _ = resources_of(bundle)
    known = dict(cursor.known)
    found: list[Change] = []
    for one in observations:
        if cursor.seen is not None and one["id"] not in known and floor is not None and before(end_of(one), floor):
            continue
        if (kind := _kind(one, known)) is not None:
            found.append(Change(kind, one["id"], one, related))
        known[one["id"]] = Known(version(one), end_of(one))
    seen = None if cursor.seen is None else cursor.seen | {one["id"] for one in observations}
    begun = cursor.begun if cursor.following else updated(bundle)
    if following:
        last = Cursor(cursor.since, known, following, seen, begun, cursor.scope)
    else:
        found += _missing(known, seen, floor, related, {one["id"] for one in observations})
        newest = updated(observations[-1]) if observations else ""
        since = _earlier(begun) or _earlier(newest) or cursor.since
        last = Cursor(since, known, scope=cursor.scope)
    if found:
        found[-1] = replace(found[-1], cursor=last)
    alone = not following and not cursor.following
    return Step(tuple(found), last, bool(following), _unshown(bundle, len(observations)) if alone else 0)


def _unshown(bundle: Json, shown: int) -> int:
    """How many Observations the recorder has found but not shown. HDDT leaves it to the recorder whether to page, and
    how much to return without pages (retrieving-data.md#paging). Many recorders do not give a total."""
    total = bundle.get("total")
    return max(0, total - shown) if isinstance(total, int) else 0


def lacks(cursor: Cursor, bundle: Json) -> bool:
    """Whether a full search that ends with this page has found fewer Observations than the recorder says it has."""
    found = {one["id"] for one in resources_of(bundle)[0]} | (cursor.seen or frozenset())
    return _unshown(bundle, len(found)) > 0


def version(resource: Json) -> str:
    """What distinguishes two states of a resource: version and timestamp; its content where both are missing, since
    FHIR requires neither."""
    number, stamp = version_id(resource), updated(resource)
    if number or stamp:
        return f"{number}@{stamp}"
    return sha256(json.dumps(resource, sort_keys=True).encode("utf-8", "replace")).hexdigest()


def version_id(resource: Json) -> str:
    """`meta.versionId`, empty if missing."""
    return str((resource.get("meta") or {}).get("versionId") or "")


def updated(resource: Json) -> str:
    """`meta.lastUpdated`, empty if missing."""
    return str((resource.get("meta") or {}).get("lastUpdated") or "")


def _updated(resource: Json) -> datetime:
    """`meta.lastUpdated`; the beginning of time where it is missing or invalid."""
    return _instant(updated(resource)) or datetime.min.replace(tzinfo=UTC)


def _instant(text: str) -> datetime | None:
    """The instant; None if invalid: cursors keep the text for ever, and must not stop a pull."""
    try:
        return instant(text)
    except (ValueError, OverflowError):
        return None


def end_of(resource: Json) -> str:
    """When the measurement of an Observation ended; empty if missing."""
    period = resource.get("effectivePeriod")
    period = period if isinstance(period, dict) else {}
    return str(period.get("end") or resource.get("effectiveDateTime") or period.get("start") or "")


def _kind(resource: Json, known: Mapping[str, Known]) -> Kind | None:
    """The kind of the change; None when this version is known."""
    before = known.get(resource["id"])
    if before is not None and before.version == version(resource):
        return None
    status = resource.get("status")
    if status == "entered-in-error":
        return Kind.ENTERED_IN_ERROR
    if before is None:
        return Kind.NEW
    return Kind.AMENDED if status in ("amended", "corrected") else Kind.CHANGED


def _missing(
    known: dict[str, Known],
    seen: frozenset[str] | None,
    floor: datetime | None,
    related: Mapping[str, Json],
    present: Container[str],
) -> Iterable[Change]:
    """The Observations that are no longer served; they are removed from `known`. `present` are the ids on this page."""
    for name, one in list(known.items()):
        if name in present:
            continue
        old = floor is not None and before(one.end, floor)
        missing = old if seen is None else name not in seen  # a search for changes can only find what is too old
        if missing:
            del known[name]
            yield Change(Kind.GONE if old else Kind.DELETED, name, None, related)


def before(end: str, floor: datetime) -> bool:
    """Whether a measurement that ended at `end` is older than `floor`; false for an invalid instant."""
    found = _instant(end)
    return found is not None and found < floor


def _earlier(stamp: str) -> str:
    found = _instant(stamp)
    if found is None or found.year == 1:  # subtracting the overlap would leave the calendar
        return ""
    return (found - OVERLAP).isoformat(timespec="milliseconds").replace("+00:00", "Z")
