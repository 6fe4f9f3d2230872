"""Every Device and DeviceMetric against its profile (HDDT fhir-api-device.md, fhir-api-devicemetric.md)."""

from __future__ import annotations

from ddr.conform.check import Need, check
from ddr.conform.exchange import Json
from ddr.conform.found import key_of
from ddr.conform.judging import judge
from ddr.conform.kit import Kit
from ddr.conform.laws import codes
from ddr.conform.laws.chunks import series
from ddr.conform.laws.naive import codings, references
from ddr.conform.verdict import Failed, NeedsPerson, NoData, expect

PATIENT = (Need.PATIENT,)


@check("DEV-017", "DEV-015", needs=PATIENT)
def devices_have_a_status(kit: Kit) -> None:
    """Every Device has a status of FHIR R4, so that a DiGA can notice missing data."""
    judge(kit, "Device", lambda one: _among(one, "status", codes.DEVICE_STATES))


def _among(one: Json, name: str, known: frozenset[str]) -> str:
    return "" if one.get(name) in known else f"{name} is {one.get(name)}"


@check("DEV-016", needs=PATIENT)
def device_types_are_known(kit: Kit) -> None:
    """Device.type, if present, is in the ValueSet hddt-device-type."""

    def rule(one: Json) -> str:
        found = list(codings(one.get("type")))
        good = not found or any(system == codes.SNOMED and code in codes.DEVICE_TYPES for system, code in found)
        return "" if good else f"type is {', '.join(code for _, code in found)}"

    judge(kit, "Device", rule)


@check("DEV-018", needs=PATIENT)
def devices_have_a_name(kit: Kit) -> None:
    """Every Device has a deviceName, with name and type."""

    def rule(one: Json) -> str:
        names = one.get("deviceName") or []
        return "" if names and all(name.get("name") and name.get("type") for name in names) else "no deviceName"

    judge(kit, "Device", rule)


@check("DEV-019", needs=PATIENT)
def devices_have_a_serial_number(kit: Kit) -> None:
    """Every Device has a serialNumber, by which patients can recognize it."""
    judge(kit, "Device", lambda one: "" if one.get("serialNumber") else "no serialNumber")


@check("DEV-023", needs=PATIENT)
def definitions_are_in_the_registry(kit: Kit) -> None:
    """Device.definition, if present, is a DeviceDefinition of the HIIS-VZ."""

    def rule(one: Json) -> str:
        found = one.get("definition")
        if found is None:
            return ""
        identifier = (found.get("identifier") or {}).get("system")
        good = "hiis.bfarm.de" in str(found.get("reference")) or identifier == "http://fhir.de/sid/gkv/hmnr"
        return "" if good else f"definition is {found.get('reference')}"

    judge(kit, "Device", rule)


@check("DEV-026", needs=PATIENT)
def metrics_have_a_source(kit: Kit) -> None:
    """Every DeviceMetric refers to its Device."""
    judge(kit, "DeviceMetric", _source)


def _source(one: Json) -> str:
    found = list(references(one, "source"))
    return "" if len(found) == 1 and found[0].startswith("Device/") else f"source is {', '.join(found) or 'missing'}"


@check("DEV-028", needs=PATIENT)
def metrics_have_type_and_category(kit: Kit) -> None:
    """Every DeviceMetric has type and category."""

    def rule(one: Json) -> str:
        return _among(one, "category", codes.METRIC_CATEGORIES) if one.get("type") else "no type"

    judge(kit, "DeviceMetric", rule)


@check("RS-043", needs=PATIENT)
def metric_types_are_of_iso_11073(kit: Kit) -> None:
    """What a DeviceMetric measures is coded in the nomenclature of ISO/IEEE 11073 (a SHOULD)."""

    def rule(one: Json) -> str:
        systems = [system for system, _ in codings(one.get("type"))]
        return "" if codes.NOMENCLATURE in systems else f"type is of {', '.join(systems) or 'no system'}"

    judge(kit, "DeviceMetric", rule)


@check("DEV-029", "RS-042", needs=PATIENT)
def metrics_have_ucum_units(kit: Kit) -> None:
    """DeviceMetric.unit, if present, has a UCUM code; codes of other systems may be present as well."""

    def rule(one: Json) -> str:
        systems = [system for system, code in codings(one.get("unit")) if code]
        good = "unit" not in one or codes.UCUM in systems
        return "" if good else f"unit is of {', '.join(systems) or 'no system'}"

    judge(kit, "DeviceMetric", rule)


@check("DEV-031", "DEV-030", "DEV-027", needs=PATIENT)
def calibrations_have_a_state(kit: Kit) -> None:
    """Each calibration of a DeviceMetric has a state of FHIR R4."""

    def rule(one: Json) -> str:
        for entry in one.get("calibration") or ():
            if wrong := _among(entry, "state", codes.CALIBRATION_STATES):
                return wrong
        return ""

    judge(kit, "DeviceMetric", rule)


@check("OBS-023", needs=PATIENT, searches=1)
def worn_sensors_have_a_metric(kit: Kit) -> None:
    """Continuous glucose refers to a DeviceMetric if any of its sensors has a calibration state."""
    for view in kit.views:
        calibrated = {
            source
            for one in view.listed("DeviceMetric").matches
            if one.get("calibration")
            for source in references(one, "source")
        }
        for one in view.everything.matches:
            for key in references(one, "device"):
                if "valueSampledData" in one and key in calibrated:
                    shown = view.everything.origin[key_of(one)]
                    raise Failed(f"{key_of(one)} refers to {key}, whose sensor has a calibration state", shown)


@check("DEV-035", needs=PATIENT, searches=1)
def metrics_measure_one_value(kit: Kit) -> None:
    """A DeviceMetric stands for one measured value: no two kinds of Observations refer to it."""
    seen = False
    for view in kit.views:
        kinds: dict[str, set[str]] = {}
        for one in view.everything.matches:
            for key in references(one, "device"):
                if key.startswith("DeviceMetric/"):
                    seen = True
                    code = next((code for _, code in codings(one.get("code"))), "")
                    found = kinds.setdefault(key, set())
                    found.add("continuous glucose" if code in codes.CGM else code)
                    text = f"{key} stands for {' and '.join(sorted(found))}"
                    expect(len(found) == 1, text, view.everything.origin[key_of(one)])
    if not seen:
        raise NoData("the test patient has no values of a DeviceMetric")


@check("DEV-021", needs=PATIENT, searches=1)
def sensors_have_an_end(kit: Kit) -> None:
    """Devices that are worn for a limited time have an expirationDate."""
    if not any(series(view.everything.matches) for view in kit.views):
        raise NoData("the test patient has no sensor")
    for view in kit.views:
        for name in series(view.everything.matches):
            device = view.device_of(name)
            if "expirationDate" not in view.everything.included.get(device, {"expirationDate": ""}):
                raise NeedsPerson(
                    f"{device} has no expirationDate: acceptable only if the time of wearing is not limited"
                )
