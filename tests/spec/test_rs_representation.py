"""FHIR resource server, black box: CapabilityStatement, formats and the content of resources (area RS)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class

from ddr.demo.tls import client_context
from ddr.fhir.instants import date_time
from tests.spec.world import CGM, HOUR, Home, Json, Reader, Scene, entries, later, link, paired, refused, searchset
from tests.support.recorder import Recorder

TYPES = ("Observation", "Device", "DeviceMetric")
PROFILE = "https://gematik.de/fhir/hddt/StructureDefinition/hddt-"
PROFILES = {
    "Observation": {
        *("blood-glucose-measurement", "blood-pressure-value", "continuous-glucose-measurement"),
        *("lung-function-testing", "lung-function-testing-complete", "lung-reference-value"),
    },
    "Device": {"personal-health-device"},
    "DeviceMetric": {"sensor-type-and-calibration-status"},
}
INCLUDES = {
    "Observation": {"Observation:device", "Observation:derived-from", "DeviceMetric:source"},
    "DeviceMetric": {"DeviceMetric:source"},
}
REVINCLUDES = {
    "Observation": {"Observation:derived-from"},
    "Device": {"Observation:device", "DeviceMetric:source"},
    "DeviceMetric": {"Observation:device"},
}
EACH_MINUTE = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "min"}}
WRONG_VERSION = "FHIR version not supported. This server supports FHIR R4 (version 4.0.1)"

# Elements beyond those that the profiles require, as docs/conformance/decisions.toml lists them (RS-016).
SENT = {
    "Observation": {
        *("id", "meta", "status", "category", "code", "subject", "effectiveDateTime", "effectivePeriod", "note"),
        *("valueQuantity", "valueSampledData", "dataAbsentReason", "interpretation", "method", "device"),
        *("derivedFrom", "component"),
    },
    "Device": {
        *("id", "meta", "definition", "status", "manufacturer", "expirationDate", "serialNumber", "deviceName"),
        *("modelNumber", "type"),
    },
    "DeviceMetric": {
        *("id", "meta", "type", "unit", "source", "operationalStatus", "category", "measurementPeriod", "calibration"),
    },
}


async def everything(reader: Reader) -> list[Json]:
    """Every resource that the DiGA may read."""
    return [resource for kind in TYPES for resource in entries(await reader.search(kind))]


def walk(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every member of a JSON value, with its name."""
    yield name, value
    for key, item in value.items() if isinstance(value, dict) else ():
        yield from walk(item, key)
    for item in value if isinstance(value, list) else ():
        yield from walk(item, name)


async def statement(reader: Reader) -> Json:
    """The CapabilityStatement."""
    return await reader.read("metadata")


@pytest.mark.requirement("RS-003")
async def test_device_data_has_one_way_out(ddr: Recorder, scene: Scene) -> None:
    token = {"authorization": f"Bearer {scene.reader.tokens.access_token}"}
    for path in ("fhir/Observation", "Observation", "gateway/v1/Observation", "fhir/metadata"):
        response = await scene.home.patient.gateway.get(f"{ddr.settings.gateway_base_url}/{path}", headers=token)
        assert response.status_code == 404
        public = await ddr.public.get(f"/{path}", headers=token)
        assert public.status_code == (200 if path == "fhir/metadata" else 404)
    own = await scene.reader.diga.http.get(f"{ddr.settings.diga_base_url}/gateway/v1/devices", headers=token)
    assert own.status_code == 404


@pytest.mark.requirement("RS-004")
async def test_metadata_needs_no_token_on_the_diga_listener(ddr: Recorder, scene: Scene) -> None:
    response = await scene.reader.diga.http.get("metadata")
    assert response.status_code == 200
    assert response.json() == (await ddr.public.get("/fhir/metadata")).json()


@pytest.mark.requirement("RS-006", "RS-012", "RS-024", "RS-037", "OBS-019", "DEV-007")
async def test_metadata_declares_what_the_server_does(scene: Scene) -> None:
    """Everything declared works, and everything that FHIR R4 has beyond it is refused."""
    rest = (await statement(scene.reader))["rest"][0]
    general = {parameter["name"] for parameter in rest["searchParam"]}
    subset = {"_summary": "true", "_elements": "id", "_total": "none"}
    assert general == {"_count", "_sort", "_include", "_revinclude", "_has", "_format", "_pretty", *subset}
    for resource in rest["resource"]:
        kind = resource["type"]
        for parameter in resource["searchParam"]:
            value = {"date": "2026", "quantity": "5", "composite": "8480-6$gt1"}.get(parameter["type"], "x")
            await scene.reader.search(f"{kind}?{parameter['name']}={value}")
        for name, all_paths in (("Include", INCLUDES), ("RevInclude", REVINCLUDES)):
            assert set(resource.get(f"search{name}", ())) == all_paths.get(kind, set())
            for value in resource.get(f"search{name}", ()):
                await scene.reader.search(f"{kind}?_{name.lower()}={value}")
        for name, value in subset.items():
            await scene.reader.search(f"{kind}?{name}={value}")
        unknown = refused(await scene.reader.get(f"{kind}?there-is-none=1"), 400)["diagnostics"]
        declared = {parameter["name"] for parameter in resource["searchParam"]} | general - {"_format", "_pretty"}
        assert set(unknown.partition(": ")[2].split(", ")) == declared
        for name in ("_totalMethod", "_text", "_content", "_contained", "_security", "identifier", "encounter"):
            refused(await scene.reader.get(f"{kind}?{name}=true"), 400)


@pytest.mark.requirement("DEV-040")
@pytest.mark.parametrize("kind", TYPES)
async def test_definitions_of_devices_are_not_included(scene: Scene, kind: str) -> None:
    more = {"Observation": {"_include": "Observation:device"}, "DeviceMetric": {"_include": "DeviceMetric:source"}}
    for name, value in (
        ("_include", "Device:definition"),
        ("_include:iterate", "Device:definition"),
        ("_include", "Device:definition:DeviceDefinition"),
        ("definition", "DeviceDefinition/1"),
    ):
        asked = [*more.get(kind, {}).items(), (name, value)]
        refused(await scene.reader.get(f"{kind}?{urlencode(asked)}"), 400)
        form = {"content-type": "application/x-www-form-urlencoded"}
        refused(await scene.reader.post(f"{kind}/_search", content=urlencode(asked), headers=form), 400)


@pytest.mark.requirement("RS-007")
async def test_every_call_is_answered_in_both_formats(scene: Scene) -> None:
    reads = [f"{one['resourceType']}/{one['id']}" for one in await everything(scene.reader)]
    versions = [f"{read}/_history/1" for read in reads[:1] + reads[-1:]]
    further = link(await scene.reader.search("Observation?_count=1"), "next")
    assert further
    for path in ("metadata", *TYPES, *reads, *versions, further, "Observation/$hddt-cgm-summary"):
        for accept, beginning in (("application/fhir+json", "{"), ("application/fhir+xml", "<")):
            response = await scene.reader.get(path, accept=accept)
            told = response.status_code, response.headers["content-type"].partition(";")[0], response.text[:1]
            assert told == (200, accept, beginning), path


@pytest.mark.requirement("RS-006", "RS-044")
async def test_metadata_declares_profiles_and_operations_of_the_mivs(scene: Scene) -> None:
    observation = (await statement(scene.reader))["rest"][0]["resource"][0]
    seen = {profile for resource in entries(await scene.reader.search("Observation")) for profile in meta(resource)}
    assert seen <= set(observation["supportedProfile"])
    (operation,) = observation["operation"]
    assert operation["name"] == "hddt-cgm-summary"
    assert f"{PROFILE}cgm-summary" in operation["documentation"]
    assert (await scene.reader.get(f"Observation/${operation['name']}")).status_code == 200


def meta(resource: Json) -> list[str]:
    """The profiles that a resource claims."""
    profiles: list[str] = resource["meta"]["profile"]
    return profiles


@pytest.mark.requirement("RS-052")
async def test_fhir_version_in_the_content_type(scene: Scene) -> None:
    for parameters in ("fhirVersion=5.0", "charset=utf-8; fhirVersion=5.0", 'charset=utf-8;FHIRVERSION="3.0"'):
        await _of_another_version(scene, {"content-type": f"application/fhir+json; {parameters}"})
    searchset(await scene.reader.get("Device", **{"content-type": "application/fhir+json; fhirVersion=4.0"}))


async def _of_another_version(scene: Scene, wrong: dict[str, str]) -> None:
    for path in (*TYPES, "metadata", f"Device/{scene.home.ids['meter']}"):
        refused(await scene.reader.get(path, **wrong), 406, "not-supported", WRONG_VERSION)
    for path in ("Observation/_search", "Observation/$hddt-cgm-summary"):
        response = await scene.reader.post(path, content=b"{}", headers=wrong)
        refused(response, 406, "not-supported", WRONG_VERSION)


@pytest.mark.requirement("RS-011")
async def test_a_format_whose_plus_is_not_escaped_is_understood(scene: Scene) -> None:
    response = await scene.reader.get("Device?_format=application/fhir+xml")
    assert (response.status_code, response.headers["content-type"][:20]) == (200, "application/fhir+xml")


@pytest.mark.requirement("RS-012")
async def test_pretty(scene: Scene) -> None:
    json = await scene.reader.get("Device")
    pretty = await scene.reader.get("Device?_pretty=true")
    assert pretty.text.count("\n") > json.text.count("\n")
    assert entries(pretty.json()) == entries(json.json())


@pytest.mark.requirement("RS-001", "RS-013", "RS-017", "DEV-001", "DEV-024")
async def test_resources_are_r4_under_hddt_profiles(scene: Scene) -> None:
    """An independent model of FHIR R4 reads them; the profiles are HDDT's own, and none is derived from them."""
    for resource in await everything(scene.reader):
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
        (own,) = meta(resource)
        assert own.removeprefix(PROFILE) in PROFILES[resource["resourceType"]]


@pytest.mark.requirement("RS-001")
@pytest.mark.parametrize("pretty", ["true", "false"])
async def test_xml_is_in_the_namespace_of_fhir(scene: Scene, pretty: str) -> None:
    for path in (*TYPES, "metadata", f"Device/{scene.home.ids['cgm']}", "Device/there-is-none"):
        root = ElementTree.fromstring((await scene.reader.get(f"{path}?_format=xml&_pretty={pretty}")).text)
        assert {one.tag.partition("}")[0] for one in root.iter()} == {"{http://hl7.org/fhir"}, path


@pytest.mark.requirement("RS-013", "RS-017")
@pytest.mark.parametrize(
    "said",
    [
        {"calibration": {"state": "calibrated"}},
        {"calibration": {"state": "not-calibrated", "type": "offset"}, "metric": {"operationalStatus": "standby"}},
        {"metric": {"type": {"coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "160212"}]}}},
        {"metric": {"category": "calculation", "measurementPeriod": EACH_MINUTE}, "displayUnit": "mmol/L"},
    ],
)
async def test_whatever_an_app_says_of_a_sensor_the_mandatory_elements_are_there(ddr: Recorder, said: Json) -> None:
    home, started_ms = Home(ddr, await ddr.patient()), ddr.clock()
    await home.device("cgm", startedAt=home.ago(0))
    calibration = {"state": "calibrated", "type": "two-point", "time": date_time(started_ms)}
    metric = await home.cgm("cgm", started_ms, None, **{"calibration": calibration, **said})
    with later(ddr, HOUR):
        await home.readings("cgm", started_ms, [100] * 12)
        found = await (await paired(ddr, home.patient, CGM)).read(f"DeviceMetric/{metric}")
    get_fhir_model_class("DeviceMetric").model_validate(found)
    assert found["type"]["coding"][0]["code"] == "160212"
    assert found["category"] == said.get("metric", {}).get("category", "measurement")
    assert found["source"] == {"reference": f"Device/{home.ids['cgm']}"}
    assert found["calibration"][0]["state"] == said.get("calibration", calibration)["state"]


@pytest.mark.requirement("RS-014", "RS-015")
async def test_must_support_elements_are_filled(scene: Scene) -> None:
    device = await scene.reader.read(f"Device/{scene.home.ids['cgm']}")
    assert {"status", "expirationDate", "serialNumber", "deviceName"} <= device.keys()
    metric = await scene.reader.read(f"DeviceMetric/{scene.home.ids['metric']}")
    assert metric["calibration"][0]["time"]
    for observation in entries(await scene.reader.search("Observation")):
        parts = observation.get("component", [observation])
        assert all({"valueQuantity", "valueSampledData"} & part.keys() for part in parts)
        assert "device" in observation or meta(observation) == [PROFILE + "lung-reference-value"]
    reference = await scene.reader.read(f"Observation/{scene.home.ids['reference']}")
    assert reference["method"]["coding"]
    query = "Observation?_include=Observation:device&_include:iterate=DeviceMetric:source"
    included = entries(await scene.reader.search(query), "include")
    assert {device["id"], metric["id"]} <= {one["id"] for one in included}
    for one in included:
        assert one == await scene.reader.read(f"{one['resourceType']}/{one['id']}")


@pytest.mark.requirement("RS-016", "RS-018")
async def test_nothing_undocumented_is_sent(scene: Scene) -> None:
    for resource in await everything(scene.reader):
        assert resource.keys() - {"resourceType"} <= SENT[resource["resourceType"]]
        assert not {name for name, _ in walk(resource)} & {"modifierExtension", "extension", "contained"}


@pytest.mark.requirement("RS-049")
async def test_only_https_and_an_issuer_without_path(ddr: Recorder) -> None:
    assert re.fullmatch(r"https://[^/]+", ddr.settings.public_base_url)
    answer = await ddr.public.get("/.well-known/oauth-authorization-server")
    assert answer.json()["issuer"] == ddr.settings.public_base_url
    async with httpx.AsyncClient(verify=client_context(ddr.authority.cert)) as client:
        for base in (ddr.settings.fhir_base, ddr.settings.public_base_url):
            with pytest.raises(httpx.TransportError):
                await client.get(base.replace("https://", "http://"))


@pytest.mark.requirement("RS-049")
@pytest.mark.parametrize("listener", ["public", "diga"])
async def test_the_metadata_of_the_authorization_server_as_hddt_writes_its_address(
    ddr: Recorder, scene: Scene, listener: str
) -> None:
    """{Base URL OAuth-API}//.well-known/oauth-authorization-server, in security-and-privacy.md."""
    client, base = {
        "public": (ddr.public, ddr.settings.public_base_url),
        "diga": (scene.reader.diga.http, ddr.settings.diga_base_url),
    }[listener]
    address = "/.well-known/oauth-authorization-server"
    once, twice = [await client.get(f"{base}{slash}{address}") for slash in ("", "/")]
    assert (twice.status_code, twice.content) == (200, once.content)
    assert twice.headers["content-type"] == once.headers["content-type"] == "application/json"


@pytest.mark.requirement("RS-004", "TLS-010")
async def test_the_public_address_of_the_metadata_is_where_machines_look(ddr: Recorder, scene: Scene) -> None:
    """The registered base answers only clients with a certificate."""
    response = await ddr.public.get("/.well-known/oauth-authorization-server")
    found = response.json()
    address = found["fhir_metadata_endpoint"]
    assert found["protected_resources"] == [ddr.settings.fhir_base]
    assert response.headers["link"].startswith(f'<{address}>; rel="service-desc"')
    assert (await ddr.public.get("/status")).json()["metadata"]["fhir"] == address
    anybody = (await ddr.public.get(address)).json()
    assert anybody["implementation"]["url"] == ddr.settings.fhir_base
    assert address in anybody["description"]
    assert anybody == await statement(scene.reader)
