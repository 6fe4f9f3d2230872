"""What changed since last time: searches by `_lastUpdated` with the devices, told as changes. No I/O of its own."""

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

# Both includes: a chunk is nothing without the calibration state and the serial number it was measured under.
INCLUDES = {"_include": "Observation:device", "_include:iterate": "DeviceMetric:source"}
OVERLAP = timedelta(seconds=60)  # a recorder that does not order its stamps by commit shows what came in between


class Kind(StrEnum):
    """What a change is."""

    NEW = "new"  # an id that was not known
    CHANGED = "changed"  # a further version, of a chunk that grows for instance
    AMENDED = "amended"  # a change of what was final
    ENTERED_IN_ERROR = "entered-in-error"  # drop what was read under this id
    DELETED = "deleted"  # not served any more: erased by its gateway, or the consent for its kind was withdrawn
    GONE = "gone"  # older than the Historic-Data-Period: keep what you may keep, no more will come


class Known(NamedTuple):
    """What was read under an id: which version, and until when it was measured."""

    version: str
    end: str


@dataclass(frozen=True)
class Cursor:
    """How far a DiGA has read, and which version of what. Keep `to_json()` with the data, in one transaction.

    In the middle of a search `following` is the next page, `begun` what its first page gave as Bundle.meta.lastUpdated,
    and `seen` what a whole search has found so far (None: this search only asks for what changed). `scope` is what had
    been granted when the search began: what is granted later may be older than `since`.
    """

    since: str = ""  # an instant (FHIR), from which on it is searched next
    known: Mapping[str, Known] = field(default_factory=dict)
    following: str = ""
    seen: frozenset[str] | None = None
    begun: str = ""
    scope: str = ""  # "": not known

    def whole(self) -> Cursor:
        """The same, but the next pull looks at everything: that finds out what is deleted. A first one does anyway."""
        whole = Cursor("", self.known, "", frozenset(), scope=self.scope)
        return whole if self.known or self.since else self

    def under(self, scope: str) -> Cursor:
        """The same for the next search, under this scope. More than before: the next pull looks at everything, since
        nobody says that what was consented to later has a later `lastUpdated`."""
        more = set(scope.split()) - set(self.scope.split())
        return replace(self.whole() if more and self.scope else self, scope=scope or self.scope)

    def to_json(self) -> Json:
        """For keeping."""
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
        """What `to_json` gave."""
        seen = content.get("seen")
        known = {name: Known(*one) for name, one in content["known"].items()}
        seen = None if seen is None else frozenset(seen)
        texts = (str(content.get(name, "")) for name in ("begun", "scope"))
        return cls(content["since"], known, content.get("following", ""), seen, *texts)


@dataclass(frozen=True)
class Change:
    """One Observation that is new, changed or not there any more (then `resource` is None).

    `related` are Device and DeviceMetric by `<Type>/<id>`, and one of a version by `<Type>/<id>/_history/<version>`,
    too. `cursor` is set on the last change of each page, where a
    pull can be resumed.
    """

    kind: Kind
    id: str
    resource: Json | None
    related: Mapping[str, Json]
    cursor: Cursor | None = None


@dataclass(frozen=True)
class Step:
    """The changes of one page, and the cursor to keep with them. `more`: further pages follow.

    `unshown`: so many more Observations the recorder says that this search has found, and neither shows nor has pages
    for. The cursor moves on all the same: they have to be asked for by their time.
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
    """The parameters of the search that goes on from `cursor`."""
    return {**INCLUDES, "_lastUpdated": f"ge{cursor.since}"} if cursor.since else dict(INCLUDES)


def resources_of(bundle: Json) -> tuple[list[Json], dict[str, Json]]:
    """The Observations of a page in the order of their change, and Device and DeviceMetric by `<Type>/<id>`, and by
    `<Type>/<id>/_history/<version>`: of one that is kept in versions there may be several.

    Told apart by type: recorders differ in the order of entries and in what they say of them.
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
    """Where what an absolute, relative or versioned reference means may stand among what is related, the best first."""
    plain, _, number = reference.partition("/_history/")
    key = "/".join(plain.split("/")[-2:])
    return [f"{key}/_history/{number}", key] if number else [key]


def step(cursor: Cursor, bundle: Json, related: Mapping[str, Json], following: str, floor: datetime | None) -> Step:
    """What a page says. Known versions are left out; the last page also tells what is not there any more.

    `floor` is where the Historic-Data-Period begins; without it nothing is gone, but deleted (the Recorder asks). What
    is older and served nevertheless is told as gone once: looking at everything does not make it new again.

    The cursor that goes on after the last page is `Bundle.meta.lastUpdated` of the first page where the recorder sends
    it (what changes between two pages may stand on a page that was read), else the newest `meta.lastUpdated` of the
    last page, less an overlap.
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
    """HDDT leaves pages to the recorder, and how much it answers without (retrieving-data.md#paging). Many do not say
    how much there is."""
    total = bundle.get("total")
    return max(0, total - shown) if isinstance(total, int) else 0


def lacks(cursor: Cursor, bundle: Json) -> bool:
    """Whether a look at everything whose last page this is has fewer Observations than the recorder says it has."""
    found = {one["id"] for one in resources_of(bundle)[0]} | (cursor.seen or frozenset())
    return _unshown(bundle, len(found)) > 0


def version(resource: Json) -> str:
    """What tells two states of a resource apart: its version and its stamp; FHIR demands neither, so without them its
    content."""
    number, stamp = version_id(resource), updated(resource)
    if number or stamp:
        return f"{number}@{stamp}"
    return sha256(json.dumps(resource, sort_keys=True).encode("utf-8", "replace")).hexdigest()


def version_id(resource: Json) -> str:
    """`meta.versionId`, empty where there is none."""
    return str((resource.get("meta") or {}).get("versionId") or "")


def updated(resource: Json) -> str:
    """`meta.lastUpdated`, empty where there is none."""
    return str((resource.get("meta") or {}).get("lastUpdated") or "")


def _updated(resource: Json) -> datetime:
    """Of what does not say it, or in no form of FHIR, the beginning of time."""
    return _instant(updated(resource)) or datetime.min.replace(tzinfo=UTC)


def _instant(text: str) -> datetime | None:
    """None for what is no instant: the cursor has it for ever, and a pull goes on."""
    try:
        return instant(text)
    except (ValueError, OverflowError):
        return None


def end_of(resource: Json) -> str:
    """Until when an Observation was measured; empty where it does not say."""
    period = resource.get("effectivePeriod")
    period = period if isinstance(period, dict) else {}
    return str(period.get("end") or resource.get("effectiveDateTime") or period.get("start") or "")


def _kind(resource: Json, known: Mapping[str, Known]) -> Kind | None:
    """None: this version is known."""
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
    """What is not served any more; it is forgotten. `present` is what this page has."""
    for name, one in list(known.items()):
        if name in present:
            continue
        old = floor is not None and before(one.end, floor)
        missing = old if seen is None else name not in seen  # a search for changes shows age alone
        if missing:
            del known[name]
            yield Change(Kind.GONE if old else Kind.DELETED, name, None, related)


def before(end: str, floor: datetime) -> bool:
    """Whether what was measured until `end` is older; what is no instant is not."""
    found = _instant(end)
    return found is not None and found < floor


def _earlier(stamp: str) -> str:
    found = _instant(stamp)
    if found is None or found.year == 1:  # the overlap would lie before the calendar
        return ""
    return (found - OVERLAP).isoformat(timespec="milliseconds").replace("+00:00", "Z")
