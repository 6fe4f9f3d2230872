"""Continuous series as a DiGA sees them: chunks of one span, without overlap, with correct gaps (HDDT, SER-*)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ddr.conform.check import Need, check
from ddr.conform.kit import Kit
from ddr.conform.laws import chunks, codes
from ddr.conform.laws.chunks import Chunk
from ddr.conform.laws.observations import code, sampled_value
from ddr.conform.verdict import Failed, NoData, expect
from ddr.conform.view import View

PATIENT = (Need.PATIENT,)


def _series(kit: Kit) -> Iterator[tuple[View, str, list[Chunk]]]:
    """Each series of each view. Raises NotApplicable when there is none."""
    seen = False
    for view in kit.views:
        for name, found in chunks.series(view.everything.matches).items():
            seen = True
            yield view, name, chunks.of_versions(found) if _in_versions(kit, view, name) else found
    if not seen:
        raise NoData("the test patient has no continuous values")


def _in_versions(kit: Kit, view: View, name: str) -> bool:
    """Whether the DeviceMetric of a series has had another version before this one."""
    metric = view.everything.included.get(name.partition(" ")[0], {})
    versions = "vread" in {one.get("code") for one in kit.declared("DeviceMetric").get("interaction") or ()}
    number = str((metric.get("meta") or {}).get("versionId", ""))
    return versions and metric.get("resourceType") == "DeviceMetric" and number not in ("", "1")


def _judge(kit: Kit, law: Callable[[Sequence[Chunk]], Iterable[str]]) -> None:
    for view, _, found in _series(kit):
        for text in law(found):
            shown = [view.everything.origin[one.key] for one in found if one.key in text]
            raise Failed(text, *shown[:2])


@check("SER-001", "CGM-003", needs=PATIENT, searches=1)
def continuous_values_are_chunks(kit: Kit) -> None:
    """Continuous values come as chunks of SampledData, never as single values."""
    seen = False
    for view in kit.views:
        for one in view.everything.matches:
            if code(one) in codes.CGM:
                seen = True
                shown = view.everything.origin[f"Observation/{one['id']}"]
                good = "valueSampledData" in one or "dataAbsentReason" in one
                expect(good, f"Observation/{one['id']} is not a chunk", shown)
    if not seen:
        raise NoData("the test patient has no continuous values")


@check("SER-003", "SER-002", needs=PATIENT, searches=1)
def chunks_have_one_span(kit: Kit) -> None:
    """All chunks of a sensor have the same span; only the last one, when it has ended, may be shorter."""
    _judge(kit, chunks.lengths)


@check("SER-004", "SER-013", needs=PATIENT, searches=1)
def preliminary_chunks_cover_the_span(kit: Kit) -> None:
    """The effectivePeriod of a preliminary chunk covers the full span."""
    _judge(kit, chunks.preliminary)


@check("SER-016", needs=PATIENT, searches=1)
def chunks_do_not_overlap(kit: Kit) -> None:
    """The samples of one sensor's chunks do not overlap."""
    _judge(kit, chunks.overlaps)


@check("SER-003", needs=PATIENT, searches=1)
def chunks_follow_one_grid(kit: Kit) -> None:
    """The starts of a sensor's chunks are whole spans apart, by the sensor's clock."""
    _judge(kit, chunks.grid)


@check("SER-016", "CGM-008", needs=PATIENT, searches=1)
def samples_are_readable(kit: Kit) -> None:
    """Each sample is a number, E, L or U, and the samples fit into the period."""
    _judge(kit, chunks.data)


@check("SER-014", "SER-015", "OBS-027", "CGM-006", needs=PATIENT, searches=1)
def empty_chunks_say_so(kit: Kit) -> None:
    """A chunk without values is preliminary with temp-unknown; no other chunk has temp-unknown."""
    _judge(kit, chunks.absent)


@check("CGM-013", "SER-007", needs=PATIENT, searches=1)
def nothing_is_final_too_early(kit: Kit) -> None:
    """No value lies in the future, and no chunk is final before its end."""
    _judge(kit, lambda found: chunks.future(found, kit.now_ms()))


@check("SER-007", needs=PATIENT, searches=1)
def full_chunks_are_final(kit: Kit) -> None:
    """A chunk that has all its values and ended hours ago is not preliminary."""
    _judge(kit, lambda found: chunks.unfinished(found, kit.now_ms()))


@check("SER-017", needs=PATIENT, searches=1)
def ended_sensors_have_no_open_chunk(kit: Kit) -> None:
    """No chunk of an inactive Device is preliminary and still running."""
    for view, name, found in _series(kit):
        device = view.device_of(name)
        inactive = view.everything.included.get(device, {}).get("status") == "inactive"
        for one in found if inactive else ():
            running = one.status == "preliminary" and one.start <= kit.now_ms() <= one.end
            text = f"{one.key} is open although {device} is inactive"
            expect(not running, text, view.everything.origin[one.key])


@check("SER-006", needs=PATIENT, searches=1)
def open_chunks_keep_their_id(kit: Kit) -> None:
    """A preliminary chunk that is read again by its id still has its former values."""
    for view, _, found in _series(kit):
        for one in [chunk for chunk in found if chunk.status == "preliminary"][-2:]:
            answer = view.get(one.key)
            expect(answer.status == 200, f"{one.key} cannot be read again", answer)
            data = str((answer.json.get("valueSampledData") or {}).get("data", ""))
            expect(chunks.kept(one.tokens, data.split()), f"{one.key} has lost values", answer)


@check("CGM-008", "CGM-009", needs=PATIENT, searches=1)
def values_lie_within_the_limits(kit: Kit) -> None:
    """The numbers in data lie within lowerLimit and upperLimit, where these are given."""
    for view in kit.views:
        for one in view.everything.matches:
            data = one.get("valueSampledData") or {}
            low, high = float(data.get("lowerLimit", "-inf")), float(data.get("upperLimit", "inf"))
            for token in str(data.get("data", "")).split():
                if token in ("E", "L", "U") or not chunks.is_sample(token):
                    continue
                # FHIR does not say whether a limit refers to the numbers as written or to what they stand for.
                good = any(low <= number <= high for number in (float(token), sampled_value(data, token)))
                shown = view.everything.origin[f"Observation/{one['id']}"]
                expect(good, f"Observation/{one['id']}: {token} is beyond the limits", shown)
