"""Changes while a DiGA reads: new values, corrections, deletions, calibrations, another device (--data)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ddr.conform.agree import unpaged
from ddr.conform.check import Need, check
from ddr.conform.data import Data
from ddr.conform.earlier import digest
from ddr.conform.exchange import Json
from ddr.conform.found import Found, key_of
from ddr.conform.judging import expect_refused
from ddr.conform.kit import Kit
from ddr.conform.laws.chunks import ENDED, SECOND, Chunk, series
from ddr.conform.laws.times import milliseconds
from ddr.conform.verdict import Failed, NoData, NotApplicable, expect
from ddr.conform.view import View

DATA = (Need.PATIENT, Need.DATA)
HOLDUP = 60  # seconds after which single measurements must be served (HDDT mivs.md)
WAITS = (0, 2, 5, 10, 20, 23)


def _singles(kit: Kit) -> View:
    """A view that sees single measurements. Raises NoData."""
    kinds = ("blood-glucose-measurement", "blood-pressure-value", "lung-function-testing")
    for view in kit.views:
        if any(view.sees(miv) for miv in kinds):
            return view
    raise NoData("the test patient has no single measurements")


@dataclass(frozen=True)
class Cut:
    """A chunk that was running before something happened to its sensor, the same chunk afterwards, and the series after
    that, by name."""

    view: View
    name: str
    before: Chunk
    after: Chunk
    series: dict[str, list[Chunk]]

    @property
    def following(self) -> list[str]:
        """Names of series with a chunk that begins where this one ends."""
        margin = max(self.before.step, SECOND)
        return [
            name
            for name, found in self.series.items()
            if any(one.key != self.before.key and abs(one.start - self.after.end) <= 2 * margin for one in found)
        ]


def _cut(kit: Kit, data: Data, what: str) -> Cut:
    """Make something happen to a worn sensor. Raises Failed when no running chunk has ended after it, NoData,
    NotRun."""
    view, running = _running(kit)
    _bring(kit, view, data)
    found = series(view.again("Observation").matches)
    now = kit.now_ms()
    for name, before in running.items():
        for after in found.get(name, ()):
            if after.key == before.key and after.status in ENDED and after.end <= min(now + SECOND, before.end):
                return Cut(view, name, before, after, found)
    shown = [view.everything.origin[one.key] for one in running.values() if one.key in view.everything.origin]
    raise Failed(f"no running chunk has ended with {what}: {', '.join(one.key for one in running.values())}", *shown)


def _running(kit: Kit) -> tuple[View, dict[str, Chunk]]:
    """A view with running chunks that have values, by their series. Raises NoData."""
    now = kit.now_ms()
    for view in kit.views:
        last = {name: found[-1] for name, found in series(view.again("Observation").matches).items()}
        running = {
            name: one
            for name, one in last.items()
            if one.status == "preliminary" and one.start <= now <= one.end and one.tokens
        }
        if running:
            return view, running
    raise NoData("the test patient has no sensor whose chunk is running")


def _keyed(found: Found) -> dict[str, Json]:
    return {key_of(one): one for one in found.matches}


def _bring(kit: Kit, view: View, data: Data) -> None:
    kit.bring(data, kit.target.patients[view.patient])


def _until(kit: Kit, view: View) -> Iterator[Found]:
    """Everything, read repeatedly until the holdup is over."""
    for seconds in WAITS:
        if seconds:
            kit.patience.wait(seconds, "data may take a minute to be served")
        yield view.again("Observation")


@check("OBS-028", "BG-012", "LF-021", "BP-018", "OPS-016", needs=DATA, searches=2)
def new_values_are_served(kit: Kit) -> None:
    """A single measurement is found within the Vendor-Holdup of 60 seconds after it came, with a later lastUpdated."""
    view = _singles(kit)
    before = _keyed(view.again("Observation"))
    latest = max(map(_stamp, before.values()), default=0)
    _bring(kit, view, Data.NEW)
    for found in _until(kit, view):
        new = [one for key, one in _keyed(found).items() if key not in before]
        if new:
            text = "the new measurement has an earlier lastUpdated than the existing ones"
            expect(max(map(_stamp, new)) >= latest, text, found.origin[key_of(new[0])])
            return
    expect(False, f"a new measurement is not served after {HOLDUP} s", *found.pages[:1])


@check("RS-038", needs=DATA, searches=2)
def paging_survives_changes(kit: Kit) -> None:
    """When data arrive while a DiGA follows the pages of a search, no earlier match is lost or repeated."""
    view = _singles(kit)
    before = _keyed(view.again("Observation"))
    if len(before) < 3:
        raise NotApplicable("the test patient has fewer than three Observations")
    size = max(1, min(20, len(before) // 3))
    found = view.all_pages(f"Observation?_count={size}", meanwhile=lambda: _bring(kit, view, Data.NEW))
    if unpaged(view, "Observation", found, size):
        raise NotApplicable("the recorder shows no pages")
    keys = [key_of(one) for one in found.matches]
    expect(len(keys) == len(set(keys)), "a match is on two pages", *found.pages[:2])
    lost = before.keys() - set(keys)
    expect(not lost, f"{min(lost, default='')} is on no page", *found.pages[:2])


@check("OBS-032", "RS-036", needs=DATA, searches=2)
def corrections_are_told(kit: Kit) -> None:
    """A corrected measurement has the status amended or corrected, another version and a later lastUpdated."""
    view = _singles(kit)
    _bring(kit, view, Data.NEW)
    before = _keyed(view.again("Observation"))
    _bring(kit, view, Data.CORRECTION)
    for found in _until(kit, view):
        changed = [(before[key], one) for key, one in _keyed(found).items() if _is_other(before.get(key), one)]
        for old, one in changed:
            shown = found.origin[key_of(one)]
            told = one.get("status") in ("amended", "corrected", "entered-in-error", "preliminary")
            expect(told, f"{key_of(one)} has changed and is {one.get('status')}", shown)
            versions = [(part.get("meta") or {}).get("versionId") for part in (old, one)]
            expect(versions[0] is None or versions[0] != versions[1], f"{key_of(one)} has the same version", shown)
            moved = _stamp(one) > _stamp(old)
            expect(moved or not _stamp(old), f"{key_of(one)} has the same lastUpdated", shown)
        if changed:
            return
    raise NotApplicable("the recorder shows no correction")


def _stamp(one: Json) -> int:
    """When it was last changed; 0 if it does not say: `meta-is-complete` knows where it must."""
    stamp = (one.get("meta") or {}).get("lastUpdated")
    return 0 if stamp is None else milliseconds(stamp)


def _is_other(old: Json | None, one: Json) -> bool:
    return old is not None and "valueSampledData" not in one and digest(old) != digest(one)


@check("RS-029", "RS-020", needs=DATA, searches=2)
def deleted_is_gone(kit: Kit) -> None:
    """A deleted resource is no longer found, and a read of it gets 410 "Resource was deleted"."""
    view = _singles(kit)
    _bring(kit, view, Data.NEW)
    before = _keyed(view.again("Observation"))
    _bring(kit, view, Data.DELETION)
    for found in _until(kit, view):
        gone = before.keys() - _keyed(found).keys()
        for key in gone:
            expect_refused(view.get(key), 410, "Resource was deleted")
        if gone:
            return
    raise NotApplicable("the recorder shows no deletion: the data is entered-in-error, or not deleted")


@check("SER-008", "SER-009", "OBS-025", needs=DATA, searches=2)
def calibration_starts_a_chunk(kit: Kit) -> None:
    """A change of calibration.state ends the running chunk; the next refers to a DeviceMetric of another state."""
    cut = _cut(kit, Data.CALIBRATION, "a change of calibration.state")
    shown = cut.view.everything.origin[cut.after.key]
    expect(cut.following, "no chunk begins there", shown)
    metrics = {key_of(one): one for one in cut.view.again("DeviceMetric").matches}
    states = {name: _state(metrics.get(name.partition(" ")[0], {})) for name in (cut.name, *cut.following)}
    other = any(name != cut.name and states[name] != states[cut.name] for name in cut.following)
    same = cut.name in cut.following  # one DeviceMetric with versions: it shows the present state
    expect(other or same, "the next chunk leads to no DeviceMetric of another state", shown)


def _state(metric: Json) -> list[str]:
    return [str(one.get("state")) for one in metric.get("calibration") or ()]


@check("SER-011", "SER-012", "DEV-011", "DEV-033", "DEV-013", needs=DATA, searches=2)
def another_device_starts_a_chunk(kit: Kit) -> None:
    """When a sensor is replaced, its chunk ends, its Device is inactive, and the next chunk leads to a new Device."""
    known = {key_of(one) for view in kit.views for one in view.again("Device").matches}
    cut = _cut(kit, Data.DEVICE, "a change of the device")
    shown = cut.view.everything.origin[cut.after.key]
    expect(cut.following, "no chunk of the new sensor", shown)
    old, *devices = [cut.view.device_of(name) for name in (cut.name, *cut.following)]
    text = f"the next chunk leads to {', '.join(devices)}, which was there before"
    expect(set(devices) - known, text, shown)
    answer = cut.view.get(old)
    expect(answer.json.get("status") == "inactive", f"{old} is {answer.json.get('status')} after its end", answer)
