"""Every Observation against the profiles of HDDT, rule by rule (measurement-*.md, use_of_hl7_fhir.md)."""

from __future__ import annotations

from collections.abc import Iterable

from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange, Json
from ddr.conform.found import key_of
from ddr.conform.judging import Rule, judge
from ddr.conform.kit import Kit
from ddr.conform.laws import codes, observations, structure
from ddr.conform.laws.naive import bounded, references
from ddr.conform.laws.times import updated
from ddr.conform.verdict import Failed, NoData, expect
from ddr.conform.view import View
from ddr.durations import MINUTE_MS
from ddr.http_dates import http_date_ms

PATIENT = (Need.PATIENT,)
LUNG = frozenset({**codes.LUNG_RAW, **codes.LUNG_REFERENCE, **codes.LUNG_RELATIVE})
SINGLE = codes.BLOOD_GLUCOSE | LUNG


def _judge(kit: Kit, rule: Rule, of: Iterable[str] = ()) -> None:
    """Every Observation with one of the codes, all by default."""
    wanted = frozenset(of)
    judge(kit, "Observation", rule, lambda one: not wanted or observations.code(one) in wanted)


@check("RS-001", "OBS-002", needs=PATIENT, searches=1)
def everything_is_fhir_r4(kit: Kit) -> None:
    """Every resource has only known elements, lists where FHIR has lists, and well-formed primitives."""
    for view in kit.views:
        for kind in ("Observation", "Device", "DeviceMetric"):
            found = view.listed(kind)
            for one in found.matches:
                if wrong := structure.problems(one):
                    raise Failed(f"{key_of(one)}: {wrong[0]}", found.origin[key_of(one)])


@check("RS-018", needs=PATIENT, searches=1)
def no_modifier_extensions(kit: Kit) -> None:
    """No resource has a modifierExtension, which would stop a DiGA."""
    for view in kit.views:
        for kind in ("Observation", "Device", "DeviceMetric"):
            for page in view.listed(kind).pages:
                expect('"modifierExtension"' not in page.text, "a modifierExtension", page)


@check("RS-001", "RS-013", needs=PATIENT, searches=1)
def meta_is_complete(kit: Kit) -> None:
    """Every resource names its profile and, where searchable by it, has a meta.lastUpdated not in the future."""
    for view in kit.views:
        for kind in ("Observation", "Device", "DeviceMetric"):
            found = view.listed(kind)
            polled = "_lastUpdated" in kit.parameters(kind)
            polled = polled or (kind == "Observation" and view.sees("continuous-glucose-measurement"))
            for one in found.matches:
                meta = one.get("meta") or {}
                shown = found.origin[key_of(one)]
                expect("lastUpdated" in meta or not polled, f"{key_of(one)}: no meta.lastUpdated", shown)
                late = "lastUpdated" in meta and updated(one) > _now(kit, shown) + MINUTE_MS
                expect(not late, f"{key_of(one)}: meta.lastUpdated lies in the future", shown)
                named = any("gematik.de/fhir/hddt/" in str(name) for name in meta.get("profile") or ())
                expect(named or not meta.get("profile"), f"{key_of(one)}: no profile of HDDT", shown)


def _now(kit: Kit, answer: Exchange) -> int:
    """In milliseconds, by our clock or by the server's, whichever is later."""
    return max(kit.now_ms(), http_date_ms(answer.headers.get("date")) or 0)


@check("OBS-021", "RS-013", "BG-006", "BG-010", "LF-007", needs=PATIENT, searches=1)
def observations_are_complete(kit: Kit) -> None:
    """Every Observation has status, time, and a value or the reason why there is none."""
    _judge(kit, observations.mandatory)


@check("RS-042", "OBS-020", "BG-002", "CGM-002", "LF-003", "LF-010", "LF-016", needs=PATIENT, searches=1)
def codes_are_loinc(kit: Kit) -> None:
    """Every Observation, and every component, has a code of HDDT in the system LOINC."""
    _judge(kit, observations.system_of_code)


@check("SER-005", "OBS-021", needs=PATIENT, searches=1)
def no_reason_beside_a_value(kit: Kit) -> None:
    """dataAbsentReason is never given together with a value (obs-6)."""
    _judge(kit, observations.value_or_reason)


@check("BG-004", "CGM-004", "LF-005", needs=PATIENT, searches=1)
def values_have_the_right_type(kit: Kit) -> None:
    """Single values are Quantities, continuous values are SampledData, and blood pressure has components only."""
    _judge(kit, observations.one_value)


@check("OBS-022", "OBS-024", "BG-007", "LF-008", "BP-011", "CGM-007", needs=PATIENT, searches=1)
def observations_name_their_device(kit: Kit) -> None:
    """Every Observation refers to one Device or one DeviceMetric."""
    _judge(kit, observations.device_reference)


@check("OBS-024", "DEV-026", needs=PATIENT, searches=1)
def devices_can_be_reached(kit: Kit) -> None:
    """From every Observation a Device can be reached, directly or by DeviceMetric.source."""
    for view in kit.views:
        devices = {key_of(one) for one in view.listed("Device").matches}
        metrics = {key_of(one): one for one in view.listed("DeviceMetric").matches}
        for one in view.everything.matches:
            for key in references(one, "device"):
                behind = list(references(metrics[key], "source")) if key in metrics else [key]
                good = len(behind) == 1 and (behind[0] in devices or "#" in behind[0])
                expect(good, f"{key_of(one)}: no Device behind {key}", view.everything.origin[key_of(one)])


@check("BG-005", "BG-004", "RS-042", needs=PATIENT, searches=1)
def glucose_units_fit(kit: Kit) -> None:
    """Blood glucose is in mg/dL or mmol/L of UCUM, as its code says."""
    _judge(kit, observations.unit, codes.BLOOD_GLUCOSE)


@check("LF-006", "LF-005", "RS-042", needs=PATIENT, searches=1)
def lung_units_fit(kit: Kit) -> None:
    """Lung function is in L/min, L or %, as its code says."""
    _judge(kit, observations.unit, LUNG)


@check("BG-003", "LF-004", needs=PATIENT, searches=1)
def single_values_have_a_moment(kit: Kit) -> None:
    """Single measurements have effectiveDateTime, and no period."""
    _judge(kit, observations.moment, SINGLE)


@check("BG-009", needs=PATIENT, searches=1)
def comparators_are_lo_and_hi(kit: Kit) -> None:
    """Values beyond the limits of a meter have the comparator < or >."""
    _judge(kit, observations.comparator, codes.BLOOD_GLUCOSE)


@check("BG-008", needs=PATIENT, searches=1)
def lo_and_hi_are_shown(kit: Kit) -> None:
    """Values beyond the limits of a meter are served."""
    for view in kit.views:
        for one in view.everything.matches:
            if observations.code(one) in codes.BLOOD_GLUCOSE and bounded(one):
                return
    raise NoData("the test patient has no blood glucose beyond the limits of a meter (LO, HI)")


@check("CGM-004", "CGM-005", "RS-042", needs=PATIENT, searches=1)
def sampled_data_is_complete(kit: Kit) -> None:
    """SampledData has origin with the unit of the code in UCUM, period, one dimension, and data."""
    _judge(kit, observations.sampled, codes.CGM)


@check("CGM-003", needs=PATIENT, searches=1)
def chunks_have_a_period(kit: Kit) -> None:
    """A chunk has effectivePeriod with start and end, and no other time."""
    _judge(kit, observations.period_of_chunk, codes.CGM)


@check("CGM-009", needs=PATIENT, searches=1)
def limits_are_given(kit: Kit) -> None:
    """SampledData with L has lowerLimit, and SampledData with U has upperLimit."""
    _judge(kit, observations.limits, codes.CGM)


@check("BP-004", "BP-005", needs=PATIENT, searches=1)
def pressure_components(kit: Kit) -> None:
    """Blood pressure has systolic and diastolic once each, and at most one mean."""
    _judge(kit, observations.components, (codes.PRESSURE,))


@check("BP-006", "BP-007", "BP-008", "RS-042", needs=PATIENT, searches=1)
def pressure_values(kit: Kit) -> None:
    """Each component has a value in mm[Hg] with unit, or a dataAbsentReason."""
    _judge(kit, observations.pressures, (codes.PRESSURE,))


@check("BP-010", needs=PATIENT, searches=1)
def pressure_time(kit: Kit) -> None:
    """Blood pressure has a time, at least to the day."""
    _judge(kit, observations.day_at_least, (codes.PRESSURE,))


@check("BP-009", needs=PATIENT, searches=1)
def pressure_category(kit: Kit) -> None:
    """Blood pressure is in the category vital-signs."""
    _judge(kit, observations.vital_signs, (codes.PRESSURE,))


@check("BP-002", "BP-003", needs=PATIENT, searches=1)
def pressure_coding(kit: Kit) -> None:
    """Blood pressure has one coding, from LOINC."""
    _judge(kit, observations.pressure_code, (codes.PRESSURE,))


@check("LF-012", "LF-013", "LF-014", needs=PATIENT, searches=1)
def reference_values_say_their_method(kit: Kit) -> None:
    """A reference value states how it was derived."""
    _judge(kit, observations.method, codes.LUNG_REFERENCE)


@check("LF-011", needs=PATIENT, searches=1)
def reference_values_have_a_period(kit: Kit) -> None:
    """The time of a reference value, if given, is its period of validity."""
    _judge(kit, observations.validity, codes.LUNG_REFERENCE)


@check("LF-017", "LF-019", "LF-002", needs=PATIENT, searches=1)
def relative_values_name_their_sources(kit: Kit) -> None:
    """A relative value is derived from one raw and one reference value, and both can be read."""
    _judge(kit, observations.derived, codes.LUNG_RELATIVE)
    for view in kit.views:
        for one in _relative(view)[:3]:
            read = [view.get(key) for key in references(one, "derivedFrom")]
            kinds = [observations.code(answer.json) for answer in read]
            raw = sum(kind in codes.LUNG_RAW for kind in kinds)
            good = raw == 1 and sum(kind in codes.LUNG_REFERENCE for kind in kinds) == 1
            expect(good, f"{key_of(one)} is derived from {' and '.join(kinds)}", *read)


def _relative(view: View) -> list[Json]:
    return [one for one in view.everything.matches if observations.code(one) in codes.LUNG_RELATIVE]


@check("PRIV-004", "BP-013", needs=PATIENT, searches=1)
def subjects_lead_to_nobody(kit: Kit) -> None:
    """A subject, where a base profile requires one, identifies nobody."""
    _judge(kit, observations.anonymous)


@check("PRIV-003", needs=PATIENT, searches=1)
def no_subjects(kit: Kit) -> None:
    """Observations other than blood pressure have no subject, and devices have no patient."""
    for view in kit.views:
        for one in view.everything.matches:
            free = "subject" not in one or observations.code(one) == codes.PRESSURE
            expect(free, f"{key_of(one)} has a subject", view.everything.origin[key_of(one)])
        devices = view.listed("Device")
        for one in devices.matches:
            expect("patient" not in one, f"{key_of(one)} has a patient", devices.origin[key_of(one)])
