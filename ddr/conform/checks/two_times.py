"""Two times compared: what an earlier run saw, and the present state (HDDT SER-*, RS-041, DEV-*)."""

from __future__ import annotations

from collections.abc import Iterator

from ddr.conform.check import Need, check
from ddr.conform.earlier import digest
from ddr.conform.exchange import Json
from ddr.conform.found import key_of
from ddr.conform.kit import Kit
from ddr.conform.laws.chunks import kept
from ddr.conform.laws.times import milliseconds, span
from ddr.conform.verdict import NotApplicable, expect
from ddr.conform.view import View
from ddr.durations import DAY_MS

EARLIER = (Need.PATIENT, Need.EARLIER)
OVER = ("amended", "corrected", "entered-in-error", "cancelled")


def _both(kit: Kit, *kinds: str) -> Iterator[tuple[View, Json, Json]]:
    """View, remembered resource, and present resource. Raises NotApplicable when none exists at both times."""
    assert kit.earlier
    seen = False
    for view in kit.views:
        before = kit.earlier.resources.get(view.name, {})
        for kind in kinds:
            for one in view.listed(kind).matches:
                if old := before.get(key_of(one)):
                    seen = True
                    yield view, old, one
    if not seen:
        raise NotApplicable("nothing that the earlier run saw is there now")


@check("CGM-013", "OBS-032", needs=EARLIER, searches=1)
def final_stays_final(kit: Kit) -> None:
    """A final resource changes only if it becomes amended, corrected or entered-in-error, and is never reopened."""
    for view, old, one in _both(kit, "Observation"):
        if old["status"] in ("final", "amended", "corrected"):
            same = old["digest"] == digest(one)
            text = f"{key_of(one)} was {old['status']} and has changed, but is {one.get('status')}"
            expect(same or one.get("status") in OVER, text, view.everything.origin[key_of(one)])


@check("DEV-012", "DEV-034", "RS-039", needs=EARLIER, searches=1)
def versions_move_with_content(kit: Kit) -> None:
    """versionId changes exactly when the content changes."""
    for view, old, one in _both(kit, "Observation", "DeviceMetric"):
        version = str((one.get("meta") or {}).get("versionId", ""))
        if not version or not old["version"]:
            continue
        same = old["digest"] == digest(one)
        shown = view.listed(key_of(one).partition("/")[0]).origin[key_of(one)]
        expect(same or version != old["version"], f"{key_of(one)} has changed within version {version}", shown)
        expect(not same or version == old["version"], f"{key_of(one)} has another version and the same content", shown)


@check("RS-036", "CGM-010", needs=EARLIER, searches=1)
def last_updated_moves_on(kit: Kit) -> None:
    """meta.lastUpdated is later when the content has changed, and never goes back."""
    for view, old, one in _both(kit, "Observation", "DeviceMetric"):
        stamp = (one.get("meta") or {}).get("lastUpdated")
        if not old["updated"] or stamp is None:  # `meta-is-complete` says where it must be
            continue
        before, now = milliseconds(old["updated"]), milliseconds(stamp)
        shown = view.listed(key_of(one).partition("/")[0]).origin[key_of(one)]
        expect(now >= before, f"{key_of(one)}: lastUpdated went back", shown)
        changed = old["digest"] != digest(one)
        expect(not changed or now > before, f"{key_of(one)} has changed but its lastUpdated has not", shown)


@check("SER-006", needs=EARLIER, searches=1)
def growing_chunks_keep_values(kit: Kit) -> None:
    """A chunk that was preliminary still has its values, its start and its sampling period."""
    for view, old, one in _both(kit, "Observation"):
        if old["status"] != "preliminary" or "data" not in old or one.get("status") in OVER:
            continue
        data = one.get("valueSampledData") or {}
        shown = view.everything.origin[key_of(one)]
        now = str(data.get("data", "")).split()
        expect(kept(old["data"].split(), now), f"{key_of(one)} has lost values", shown)
        moved = span(one["effectivePeriod"]["start"]) != span(old["period"]["start"])
        expect(not moved, f"{key_of(one)} starts at another time", shown)


@check("RS-041", "OBS-012", needs=EARLIER, searches=1)
def nothing_disappears(kit: Kit) -> None:
    """Resources that the earlier run saw and that are within the Historic-Data-Period can still be read by their id."""
    assert kit.earlier
    asked = 0
    for view in kit.views:
        days = min((kit.terms(miv).historic_days for miv in view.mivs), default=0)
        oldest = kit.now_ms() - max(0, days - 1) * DAY_MS
        now = {key_of(one) for kind in ("Observation", "Device") for one in view.listed(kind).matches}
        for key, old in kit.earlier.resources.get(view.name, {}).items():
            end = old.get("period", {}).get("end")
            recent = end is None or span(end)[1] > oldest
            if key in now or not recent or asked > 20 or not key.startswith(("Observation/", "Device/")):
                continue
            asked += 1
            answer = view.get(key)
            expect(answer.status in (200, 410), f"{key} has disappeared", answer)
