"""A naive recorder of single measurements of one patient: the response to each request, and the state after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ddr.fhir.instants import date_time
from tests.gateway.samples import METHODS

MINUTE, DAY = 60_000, 86_400_000
ERROR = "entered-in-error"

# By kind: code, unit, and for a relative value what it is derived from.
CODES = {
    "glucose": ("2339-0", "mg/dL"),
    "pressure": ("85354-9", "mm[Hg]"),
    "reading": ("20150-9", "L"),
    "reference": ("20149-1", "L"),
    "relative": ("20152-5", "%"),
}


@dataclass(frozen=True)
class Item:
    """A measurement as it is sent; `zone` and `note` change its notation and the additions to its value."""

    key: str
    kind: str
    device: str
    at_ms: int
    value: int
    status: str = "final"
    note: bool = False
    sources: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def imported(self) -> bool:
        """True for what an import sends."""
        return self.key.startswith("import-")

    @property
    def end_ms(self) -> int | None:
        """Its last millisecond; None for a reference value that is in force."""
        return None if self.kind == "reference" else self.at_ms + (0 if self.at_ms % 1000 else 999)

    def body(self) -> dict[str, Any]:
        """Its JSON, with its key."""
        code, unit = CODES[self.kind]
        time = date_time(self.at_ms)
        body: dict[str, Any] = {"key": self.key, "code": code, "effective": time, "status": self.status}
        if self.kind == "pressure":
            parts = (("8480-6", self.value), ("8462-4", 80))
            body["components"] = [{"code": part, "value": value, "unit": unit} for part, value in parts]
        else:
            body |= {"value": self.value, "unit": unit}
        if self.kind == "reference":
            body |= {"effective": {"start": time}, "method": {"coding": [{"system": METHODS, "code": "GLI-2022"}]}}
        else:
            body["device"] = self.device
            if self.device == "strips" and self.kind == "glucose":
                body["sensor"] = "strip"
        if self.sources:
            body["derivedFrom"] = list(self.sources)
        if self.note:
            body["note"] = "after sport"
        return body


Content = tuple[int, int | None, int, bool, tuple[int, ...]]
"""First and last millisecond, value, whether it has a note, and the numbers of what it is derived from."""


@dataclass
class Measurement:
    """A stored measurement; `no` is the database's."""

    no: int
    key: str
    kind: str
    device: str | None
    versions: list[tuple[str, Content]]  # status and content, the newest last
    deleted: bool = False

    @property
    def status(self) -> str:
        """Its status now."""
        return self.versions[-1][0]

    @property
    def content(self) -> Content:
        """Its content now."""
        return self.versions[-1][1]

    @property
    def imported(self) -> bool:
        """True for a measurement of an import."""
        return self.key.startswith("import-")

    def stands(self) -> bool:
        """True when it has a content."""
        return not self.deleted and self.status != ERROR

    def equals(self, other: Measurement) -> bool:
        """True when an export would write both alike, except for the seconds."""
        same = (self.kind, self.content[2]) == (other.kind, other.content[2])
        return same and abs(self.content[0] - other.content[0]) < MINUTE


class Differs(Exception):
    """The recorder's response differs from the model's."""


@dataclass
class Model:
    """The measurements of a patient. Each request comes with its response, from which the model learns new numbers."""

    measurements: dict[str, Measurement] = field(default_factory=dict)  # by key
    numbers: set[int] = field(default_factory=set)  # numbers given so far

    def named(self, key: str) -> Measurement | None:
        """The measurement of this key."""
        return self.measurements.get(key)

    def put(self, items: Sequence[Item], oldest_ms: int, answers: Sequence[Any]) -> None:
        """A request with these items. Raises Differs."""
        told: dict[int, Any] = {}
        seen: dict[str, Item] = {}
        for at, item in enumerate(items):
            others = [seen[key] for key in item.others if key in seen]
            alike = any((one.kind, _device(one)) == (item.kind, _device(item)) for one in others)
            if item.end_ms is not None and item.end_ms < oldest_ms:
                told[at] = "too-old"
            elif item.key in seen or alike:
                told[at] = "repeated-key"
            else:
                seen[item.key] = item
        changed: set[int] = set()
        meant: dict[str, str] = {}
        for derived in (False, True):
            wave = {at: item for at, item in enumerate(items) if at not in told and bool(item.sources) == derived}
            self._wave(wave, told, answers, changed, meant)
        for at, answer in enumerate(answers):
            if told[at] != answer:
                raise Differs(f"{items[at]}: {answer}, not {told[at]}")

    def _wave(
        self,
        wave: dict[int, Item],
        told: dict[int, Any],
        answers: Sequence[Any],
        changed: set[int],
        meant: dict[str, str],
    ) -> None:
        known = dict(self.measurements)
        known |= {key: self.measurements[other] for key, other in meant.items()}
        written: list[tuple[int, Measurement]] = []
        for at, item in wave.items():
            before = self._before(item, known)
            if before is not None and before.no in changed:
                told[at] = "repeated-key"
                continue
            if before is not None:
                changed.add(before.no)
                if before.key != item.key:
                    known[item.key], meant[item.key] = before, before.key
            sources = self._sources(item, known)
            if isinstance(sources, str):
                told[at] = sources
                continue
            content = (item.at_ms, item.end_ms, item.value, item.note, sources)
            if before is None:
                written.append((at, Measurement(0, item.key, item.kind, _device(item), [(item.status, content)])))
                continue
            refusal = _refusal(item, before, content)
            if refusal is not None:
                told[at] = refusal
                continue
            status = _next(before.status, item.status, before.content, content)
            if status is None:
                told[at] = self._told("unchanged", before)
            else:
                before.versions.append((status, content))
                written.append((at, before))
        self._stand_once(written, told, answers)

    def _stand_once(self, written: list[tuple[int, Measurement]], told: dict[int, Any], answers: Sequence[Any]) -> None:
        """What an app and an import both send is stored once, as the app's."""
        apps = [one for one in self.measurements.values() if one.stands() and not one.imported]
        apps += [one for _, one in written if one.stands() and not one.imported and not one.no]
        there: list[tuple[int, Measurement]] = []
        for at, one in written:
            same = next((app for app in apps if one.imported and one.stands() and one.equals(app)), None)
            if one.no:
                if same is not None:
                    one.versions[-1] = (ERROR, one.content)
                told[at] = self._told("updated", one)
            elif same is not None:
                there.append((at, same))
            else:
                self._number(one, answers[at])
                told[at] = self._told("created", one)
        for at, same in there:
            told[at] = self._told("unchanged", same)
        fresh = [one for _, one in written if one.stands() and not one.imported]
        mine = {one.no for _, one in written}
        for one in self.measurements.values():
            if one.imported and one.stands() and one.no not in mine and any(one.equals(app) for app in fresh):
                one.versions.append((ERROR, one.content))

    def _number(self, one: Measurement, answer: Any) -> None:
        if not isinstance(answer, tuple) or answer[0] != "created" or answer[1] in self.numbers:
            raise Differs(f"{one}: {answer}")
        one.no = answer[1]
        self.numbers.add(one.no)
        self.measurements[one.key] = one

    def _before(self, item: Item, known: dict[str, Measurement]) -> Measurement | None:
        if item.key in known:
            return known[item.key]
        others = [known[key] for key in item.others if key in known]
        return next((one for one in others if (one.kind, one.device) == (item.kind, _device(item))), None)

    def _sources(self, item: Item, known: dict[str, Measurement]) -> tuple[int, ...] | str:
        """The numbers of what it is derived from, or the reason for its refusal."""
        if not item.sources:
            return ()
        named = [known.get(key) for key in item.sources]
        if item.key not in known and any(one is not None and one.status == ERROR for one in named):
            return "derivation"
        for one in named:
            if one is None or one.deleted:
                return "unknown-measurement" if one is None else "derivation"
        found = {one.kind: one.no for one in named if one is not None}
        if set(found) != {"reading", "reference"}:
            return "derivation"
        return found["reading"], found["reference"]

    @staticmethod
    def _told(result: str, one: Measurement) -> Any:
        return result, one.no, len(one.versions), one.status

    def delete(self, key: str, answer: Any) -> None:
        """Delete one. Raises Differs."""
        one = self.measurements.get(key)
        if one is None:
            expected: Any = "not-found"
        elif not one.deleted and self._in_use(one):
            expected = "in-use"
        else:
            expected, one.deleted = None, True
        if answer != expected:
            raise Differs(f"delete {key}: {answer}, not {expected}")

    def _in_use(self, one: Measurement) -> bool:
        return any(one.no in other.content[4] for other in self.measurements.values() if not other.deleted)

    def forget(self, before_ms: int) -> None:
        """Retention deletes what ended before this, except what something newer is derived from."""

        def old(one: Measurement) -> bool:
            return one.content[1] is not None and one.content[1] < before_ms

        newer = [one for one in self.measurements.values() if not old(one) and not one.deleted]
        kept = {no for one in newer for no in one.content[4]}
        gone = [key for key, one in self.measurements.items() if old(one) and one.no not in kept]
        for key in gone:
            del self.measurements[key]

    def shown(self, floors: dict[str, int]) -> dict[int, Measurement]:
        """What a DiGA sees when its periods begin at these instants, by kind."""
        there = [one for one in self.measurements.values() if not one.deleted]
        within = {one.no: one for one in there if _end(one) >= floors[one.kind]}
        sources = {no for one in there if one.content[0] >= floors[one.kind] for no in one.content[4]}
        return within | {one.no: one for one in there if one.no in sources}


def _end(one: Measurement) -> float:
    return float("inf") if one.content[1] is None else one.content[1]


def _device(item: Item) -> str | None:
    return None if item.kind == "reference" else item.device


def _refusal(item: Item, before: Measurement, content: Content) -> str | None:
    if before.deleted:
        return "deleted"
    if (before.kind, before.device) != (item.kind, _device(item)):
        return "conflict"
    if before.status == ERROR and (item.status != ERROR or before.content != content):
        return ERROR
    return None


def _next(stored: str, wanted: str, before: Content, after: Content) -> str | None:
    """The status of the next version; None when there is none (`_refusal` has allowed it)."""
    if before == after and wanted in (stored, "preliminary"):
        return None
    if stored == "preliminary" or wanted in ("amended", "corrected", ERROR):
        return wanted
    if before == after:
        return None
    return "corrected" if before[2] != after[2] else "amended"
