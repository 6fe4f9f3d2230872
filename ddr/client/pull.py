"""What changed since last time: searches by `_lastUpdated` with the devices, told as changes. No I/O of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

Json = dict[str, Any]
Pages = Callable[[str, Mapping[str, str]], AsyncIterator[Json]]

# Both includes: a chunk is nothing without the calibration state and the serial number it was measured under.
INCLUDES = {"_include": "Observation:device", "_include:iterate": "DeviceMetric:source"}


class Kind(StrEnum):
    """What a change is."""

    NEW = "new"  # an id that was not known
    CHANGED = "changed"  # a further version, of a chunk that grows for instance
    AMENDED = "amended"  # a change of what was final
    ENTERED_IN_ERROR = "entered-in-error"  # drop what was read under this id
    REPEATED = "repeated"  # known already, after an answer that was lost


@dataclass(frozen=True)
class Cursor:
    """How far a DiGA has read, and which version of what. Keep `to_json()` with the data, in one transaction."""

    since: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> Json:
        """For keeping."""
        return {"since": self.since, "versions": dict(self.versions)}

    @classmethod
    def from_json(cls, content: Json) -> Cursor:
        """What `to_json` gave."""
        return cls(content["since"], content["versions"])


@dataclass(frozen=True)
class Change:
    """One resource that is new or changed. `related` are Device and DeviceMetric of this pull by `<Type>/<id>`.

    `cursor` is set on the last change of a pull only, whose `resource` may be None: nothing changed.
    """

    kind: Kind
    resource: Json | None
    related: Mapping[str, Json]
    cursor: Cursor | None = None


async def changes(pages: Pages, cursor: Cursor) -> AsyncIterator[Change]:
    """The changes since `cursor`, in the order of the answer, each id once; the last one has the new cursor.

    The cursor is that of `Bundle.meta.lastUpdated` when the recorder sends it (this one promises that nothing appears
    later with a stamp at or below it), else the newest `meta.lastUpdated` seen; then it is searched from there on with
    `ge`, and what comes again is known by its version.
    """
    query = dict(INCLUDES)
    if cursor.since:
        query["_lastUpdated"] = cursor.since
    found: dict[str, Json] = {}
    stamp = ""
    async for bundle in pages("Observation", query):
        stamp = (bundle.get("meta") or {}).get("lastUpdated", stamp)
        for entry in bundle.get("entry", ()):
            resource = entry.get("resource") or {}
            if resource.get("resourceType") in ("Observation", "Device", "DeviceMetric"):
                found[f"{resource['resourceType']}/{resource['id']}"] = resource
    related = {key: one for key, one in found.items() if not key.startswith("Observation/")}
    observations = [one for key, one in found.items() if key.startswith("Observation/")]
    observations.sort(key=lambda one: str((one.get("meta") or {}).get("lastUpdated", "")))
    versions = dict(cursor.versions)
    told = [Change(_kind(one, versions), one, related) for one in observations]
    for one in observations:
        versions[one["id"]] = version(one)
    newest = max((str((one.get("meta") or {}).get("lastUpdated", "")) for one in observations), default="")
    since = f"gt{stamp}" if stamp else f"ge{newest}" if newest else cursor.since
    last = Cursor(since, versions)
    if not told:
        yield Change(Kind.REPEATED, None, related, last)
        return
    for change in told[:-1]:
        yield change
    yield replace(told[-1], cursor=last)


def version(resource: Json) -> str:
    """What tells two states of a resource apart."""
    meta = resource.get("meta") or {}
    return f"{meta.get('versionId', '')}@{meta.get('lastUpdated', '')}"


def _kind(resource: Json, versions: Mapping[str, str]) -> Kind:
    before = versions.get(resource["id"])
    if before == version(resource):
        return Kind.REPEATED
    status = resource.get("status")
    if status == "entered-in-error":
        return Kind.ENTERED_IN_ERROR
    if before is None:
        return Kind.NEW
    return Kind.AMENDED if status in ("amended", "corrected") else Kind.CHANGED
