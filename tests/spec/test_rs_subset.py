"""FHIR resource server, black box: parts of resources and Bundles on request (RS-012, FHIR R4 search)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lxml import etree

from tests.spec.world import Json, Scene, entries, link, refused

TYPES = ("Observation", "Device", "DeviceMetric")
TAG = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
ALWAYS = {"resourceType", "id", "meta"}
MANDATORY = {"Observation": {"status", "code"}, "Device": {"status"}, "DeviceMetric": {"type", "category"}}

pytestmark = pytest.mark.requirement("RS-012")


def without_tag(resource: Json) -> Json:
    """The resource without the tag that marks it as a part; fails when there is no such tag."""
    meta = dict(resource["meta"])
    assert meta.pop("tag") == [TAG]
    return {**resource, "meta": meta}


def part(keep: Callable[[str], bool], resource: Json) -> Json:
    """The root elements with these names, and those that are always present."""
    names = ALWAYS | MANDATORY[resource["resourceType"]]
    return {name: value for name, value in resource.items() if name in names or keep(name)}


def keeping(*prefixes: str) -> Callable[[str], bool]:
    """Whether a name begins with one of these."""
    return lambda name: name.startswith(prefixes)


@pytest.mark.parametrize("kind", TYPES)
async def test_elements(scene: Scene, kind: str) -> None:
    whole = entries(await scene.reader.search(kind))
    for asked, prefixes in (("value,device", ("value", "device")), (f"{kind}.meta", ()), ("resourceType,text", ())):
        if asked.startswith("value") and kind != "Observation":
            continue
        expected = [part(keeping(*prefixes), each) for each in whole]
        found = entries(await scene.reader.search(f"{kind}?_elements={asked}"))
        assert [without_tag(each) for each in found] == expected
        read = await scene.reader.read(f"{kind}/{whole[0]['id']}?_elements={asked}")
        assert without_tag(read) == expected[0]


@pytest.mark.parametrize("kind", TYPES)
async def test_summaries(scene: Scene, kind: str) -> None:
    whole = await scene.reader.search(kind)
    assert entries(await scene.reader.search(f"{kind}?_summary=false")) == entries(whole)
    assert entries(await scene.reader.search(f"{kind}?_summary=data")) == entries(whole)
    texts = entries(await scene.reader.search(f"{kind}?_summary=text"))
    assert [without_tag(each) for each in texts] == [part(keeping(), each) for each in entries(whole)]
    shorter = entries(await scene.reader.search(f"{kind}?_summary=true"))
    for short, full in zip(map(without_tag, shorter), entries(whole), strict=True):
        assert short.keys() <= full.keys()
        assert ALWAYS | MANDATORY[kind] <= short.keys()
        assert short.keys().isdisjoint({"device", "method", "category"} if kind == "Observation" else {"deviceName"})
        if "valueQuantity" in full:
            assert short["valueQuantity"] == full["valueQuantity"]


async def test_count_is_the_total_alone(scene: Scene) -> None:
    whole = await scene.reader.search("Observation")
    for query in ("_summary=count", "_summary=count&_count=3", "_summary=count&_total=none"):
        counted = await scene.reader.search(f"Observation?{query}")
        assert counted["total"] == len(entries(whole))
        assert "entry" not in counted
        assert link(counted, "next") is None


async def test_the_total_can_be_left_out(scene: Scene) -> None:
    for value, told in (("none", False), ("estimate", True), ("accurate", True)):
        first = await scene.reader.search(f"Observation?_count=3&_total={value}")
        second = await scene.reader.search(link(first, "next") or "")
        assert ("total" in first, "total" in second) == (told, told)


async def test_further_pages_have_the_same_parts(scene: Scene) -> None:
    whole = {each["id"]: each for each in entries(await scene.reader.search("Observation"))}
    pages = await scene.reader.pages("Observation?_count=3&_elements=status&_include=Observation:device")
    found = [each for page in pages for each in entries(page)]
    assert len(pages) > 2
    assert {each["id"] for each in found} == whole.keys()
    for each in found:
        assert without_tag(each) == part(keeping(), whole[each["id"]])
    included = [each for page in pages for each in entries(page, "include")]
    assert included
    assert all("tag" not in each["meta"] for each in included)


async def test_clients_repeat_on_a_link_what_the_first_page_has_settled(scene: Scene) -> None:
    """Medplum's searchResourcePages adds _count=1000 to `next`."""
    first = await scene.reader.search("Observation?_count=3")
    url = link(first, "next") or ""
    plain = await scene.reader.search(url)
    for more in ("_count=1000", "_count=3&_total=accurate", "_summary=false", "_elements=id"):
        assert entries(await scene.reader.search(f"{url}&{more}")) == entries(plain)
    refused(await scene.reader.get(f"{url}&date=2020"), 400, "invalid")


async def test_parts_in_xml(scene: Scene) -> None:
    response = await scene.reader.get("Device?_elements=serialNumber&_format=xml")
    devices = etree.fromstring(response.content).findall(".//{http://hl7.org/fhir}Device")
    assert devices
    for device in devices:
        names = {etree.QName(child).localname for child in device}
        assert names - {"id", "meta"} <= {"status", "serialNumber"}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("Observation?_summary=maybe", "_summary: maybe"),
        ("Observation?_elements=nonsense", "_elements: nonsense"),
        ("Observation?_elements=-code", "_elements: -code"),
        ("Observation?_elements=,", "_elements: "),
        ("Observation?_total=all", "_total: all"),
        ("Observation?_summary=true&_summary=false", "_summary: false"),
        ("Observation?_summary=text&_include=Observation:device", "_summary: text cannot be combined with _include"),
        ("Device?_elements=Observation.code", "_elements: Observation.code"),
    ],
)
async def test_what_makes_no_sense_is_refused(scene: Scene, path: str, named: str) -> None:
    issue = refused(await scene.reader.get(path), 400)
    assert issue["diagnostics"].startswith(f"Invalid value of search parameter {named}")


async def test_a_read_cannot_count(scene: Scene) -> None:
    refused(await scene.reader.get(f"Device/{scene.home.ids['meter']}?_summary=count"), 400)
