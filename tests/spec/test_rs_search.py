"""FHIR resource server, black box: rules that hold for every search and read (area RS)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import pytest

from ddr.fhir.instants import date_time
from tests.spec.world import (
    BG,
    CGM,
    HOUR,
    MINUTE,
    Home,
    Scene,
    entries,
    furnished,
    later,
    link,
    paired,
    refused,
    searchset,
    warnings,
)
from tests.support.recorder import Recorder

TYPES = ("Observation", "Device", "DeviceMetric")


@pytest.fixture(scope="module")
async def two_metrics(ddr: Recorder) -> Scene:
    """A scene with more than one resource of every type; leave the data as it is."""
    scene = await furnished(ddr)
    await scene.home.strips()
    return scene


@pytest.mark.requirement("RS-046")
async def test_flat_json_is_tolerated_but_not_announced(scene: Scene) -> None:
    query = {"code": "2339-0,85354-9", "date": "gt2025", "_include": "Observation:device", "_sort": "-date"}
    by_json = searchset(await scene.reader.post("Observation/_search", json=query))
    by_form = searchset(await scene.reader.post("Observation/_search", data=query))
    assert by_json["entry"] == by_form["entry"]
    assert by_json["entry"] == (await scene.reader.search(f"Observation?{urlencode(query)}"))["entry"]
    assert "application/json" not in (await scene.reader.get("metadata")).json()["format"]


@pytest.mark.requirement("RS-035", "DEV-036")
@pytest.mark.parametrize("kind", TYPES)
async def test_id_include_sort_and_count_on_every_type(two_metrics: Scene, kind: str) -> None:
    scene = two_metrics
    found = await scene.reader.ids(kind)
    assert len(found) > 1
    assert await scene.reader.ids(f"{kind}?_id={found[-1]}") == [found[-1]]
    assert set(await scene.reader.ids(f"{kind}?_id={found[0]},{found[-1]},unknown")) == {found[0], found[-1]}
    ascending = sorted(found)
    assert await scene.reader.ids(f"{kind}?_sort=_id") == ascending
    assert await scene.reader.ids(f"{kind}?_sort=-_id") == ascending[::-1]
    assert await scene.reader.ids(f"{kind}?_sort=_id&_count=1") == ascending[:1]
    included = entries(await scene.reader.search(f"{kind}?_include=DeviceMetric:source"), "include")
    assert {resource["resourceType"] for resource in included} == ({"Device"} if kind == "DeviceMetric" else set())


@pytest.mark.requirement("RS-035")
async def test_ids_decide_among_equals(two_metrics: Scene) -> None:
    reader = two_metrics.reader
    for query in ("", "&_include=Observation:device", "&_lastUpdated=gt2000", "&code=2339-0,99504-3"):
        found = entries(await reader.search(f"Observation?{query}"))
        keys = sorted((one["code"]["coding"][0]["code"], one["id"]) for one in found)
        for sort, expected in (
            ("code,_id", keys),
            ("code,-_id,date", sorted(sorted(keys, reverse=True), key=lambda key: key[0])),
            ("-code,_id", sorted(keys, key=lambda key: key[0], reverse=True)),
        ):
            first = await reader.search(f"Observation?_sort={sort}&_count=2{query}")
            assert (first["total"], len(entries(first))) == (len(keys), 2)
            shown = entries(first)
            while (following := link(first, "next")) is not None:
                first = searchset(await reader.get(following))
                shown += entries(first)
            assert [one["id"] for one in shown] == [logical_id for _, logical_id in expected], (sort, query)
    nothing = await reader.search("Observation?_sort=_id&date=lt1990")
    assert (nothing["total"], entries(nothing)) == (0, [])
    only = await reader.search("Observation?_sort=_id&_count=0")
    assert (only["total"], entries(only), link(only, "next")) == (len(await reader.ids("Observation")), [], None)


@pytest.mark.requirement("RS-035")
async def test_count_zero_counts_only(scene: Scene) -> None:
    bundle = await scene.reader.search("Observation?_count=0")
    assert "entry" not in bundle
    assert bundle["total"] == len(await scene.reader.ids("Observation"))


@pytest.mark.requirement("RS-036")
@pytest.mark.parametrize("kind", TYPES)
async def test_last_updated(ddr: Recorder, kind: str) -> None:
    scene = await furnished(ddr)
    before = await scene.reader.ids(kind)
    last = max(resource["meta"]["lastUpdated"] for resource in entries(await scene.reader.search(kind)))
    assert await scene.reader.ids(f"{kind}?_lastUpdated=gt{last}") == []
    assert set(await scene.reader.ids(f"{kind}?_lastUpdated=le{last}")) == set(before)
    with later(ddr, 2 * MINUTE):
        await scene.home.device("new", type="337414009")
        metric = await scene.home.sensor("new", "2339-0", "mg/dL", calibration={"state": "calibrated"})
        glucose = await scene.home.glucose("bg-newest", ddr.clock() - MINUTE, device="new", sensor="s")
        new = {"Observation": [glucose], "Device": [scene.home.ids["new"]], "DeviceMetric": [metric]}
        assert await scene.reader.ids(f"{kind}?_lastUpdated=gt{last}") == new[kind]
        assert await scene.reader.ids(f"{kind}?_sort=-_lastUpdated&_count=1") == new[kind]


@pytest.mark.requirement("RS-037")
async def test_has_and_revinclude(scene: Scene) -> None:
    ids = scene.home.ids
    assert await scene.reader.ids("Device?_has:Observation:device:code=85354-9") == [ids["cuff"]]
    assert await scene.reader.ids("Device?_has:DeviceMetric:source:_id=" + ids["metric"]) == [ids["cgm"]]
    assert await scene.reader.ids("DeviceMetric?_has:Observation:device:code=99504-3") == [ids["metric"]]
    assert await scene.reader.ids("DeviceMetric?_has:Observation:device:code=2339-0") == []
    bundle = await scene.reader.search(f"Device?_id={ids['cuff']}&_revinclude=Observation:device")
    assert [observation["id"] for observation in entries(bundle, "include")] == [ids["bp"]]
    refused(await scene.reader.get("Device?_has:Patient:link:name=x"), 400)


async def test_an_include_goes_on_from_what_points_to_a_match(scene: Scene) -> None:
    ids, further = scene.home.ids, "_include:iterate=Observation:derived-from"

    async def included(query: str) -> set[str]:
        bundle = await scene.reader.search(query)
        return {observation["id"] for observation in entries(bundle, "include")}

    backwards = f"Device?_id={ids['spirometer']}&_revinclude=Observation:device"
    measured = {ids[key] for key in ("pef", "fev1", "relative")}
    assert await included(backwards) == measured
    assert await included(f"{backwards}&{further}") == measured | {ids["reference"]}
    backwards = f"Observation?_id={ids['fev1']}&_revinclude=Observation:derived-from"
    assert await included(f"{backwards}&_include=Observation:derived-from") == {ids["relative"]}
    assert await included(f"{backwards}&{further}") == {ids["relative"], ids["reference"]}


@pytest.fixture(scope="module")
async def many(ddr: Recorder) -> Scene:
    """A patient with 25 blood glucose values, one per hour; leave the data as it is."""
    return await hourly(ddr)


async def hourly(ddr: Recorder) -> Scene:
    """A new patient with 25 blood glucose values, one per hour."""
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    common = {"code": "2339-0", "unit": "mg/dL", "device": "meter"}
    values = [
        {"key": f"bg-{number}", "value": 80 + number, "effective": home.ago(number * HOUR), **common}
        for number in range(25)
    ]
    response = await home.patient.gateway.post("measurements", json={"measurements": values})
    assert response.json()["created"] == 25
    return Scene(home, await paired(ddr, home.patient, BG))


@pytest.mark.requirement("RS-038")
@pytest.mark.parametrize("more", [10, 2200])  # the link contains the rest of the result, or that is too long
async def test_a_large_result_has_pages_though_nobody_asked_for_them(ddr: Recorder, more: int) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    same = {"code": "2339-0", "unit": "mg/dL", "device": "meter"}
    first = ddr.settings.search_default_count
    count = first + more
    values = [{**same, "key": f"m{at}", "value": 100, "effective": home.ago(at * MINUTE)} for at in range(1, count + 1)]
    response = await home.patient.gateway.post("measurements", json={"measurements": values})
    assert response.json()["created"] == count
    found = [entries(bundle) for bundle in await (await paired(ddr, home.patient, BG)).pages("Observation")]
    assert [len(page) for page in found] == [min(first, count - at) for at in range(0, count, first)]
    assert len({one["id"] for page in found for one in page}) == count


@pytest.mark.requirement("RS-038")
async def test_pages_survive_new_and_changed_data(ddr: Recorder) -> None:
    """All pages show what the first page found, each item once, whatever arrives meanwhile."""
    many = await hourly(ddr)
    expected = await many.reader.ids("Observation?_sort=-date")
    bundle = await many.reader.search("Observation?_sort=-date&_count=4")
    found = [resource["id"] for resource in entries(bundle)]
    round_ = 0
    while url := link(bundle, "next"):
        await many.home.glucose(f"bg-new-{round_}", ddr.clock(), 150)
        await many.home.glucose(f"bg-{20 - round_}", ddr.clock() - (20 - round_) * HOUR, 200 + round_)
        bundle = await many.reader.search(url)
        found += [resource["id"] for resource in entries(bundle)]
        round_ += 1
    assert found == expected


@pytest.mark.requirement("RS-038")
async def test_pages_by_post_in_xml_with_includes(many: Scene) -> None:
    query = {"_count": "10", "_include": "Observation:device", "_format": "xml"}
    first = await many.reader.post("Observation/_search", data=query)
    assert first.headers["content-type"].startswith("application/fhir+xml")
    bundles = await many.reader.pages("Observation?_count=10&_include=Observation:device")
    assert [len(entries(bundle, "include")) for bundle in bundles] == [1, 1, 1]
    assert [len(entries(bundle)) for bundle in bundles] == [10, 10, 5]


@pytest.mark.requirement("RS-038", "RS-019")
async def test_links_expire_and_cannot_be_altered(ddr: Recorder, many: Scene) -> None:
    url = link(await many.reader.search("Observation?_count=4"), "next")
    assert url is not None
    refused(await many.reader.get(url[:-2]), 400)
    refused(await many.reader.get(url + "&code=2339-0"), 400, "invalid")
    refused(await many.reader.get(url.replace("/Observation?", "/Device?")), 400, "invalid")
    with later(ddr, 2 * HOUR):
        refused(await many.reader.get(url), 410)


@pytest.mark.requirement("RS-039")
@pytest.mark.parametrize("kind", TYPES)
async def test_reads_follow_fhir(scene: Scene, kind: str) -> None:
    """FHIR R4 http.html#read: ETag and Last-Modified, and HEAD like GET without a body."""
    for resource in entries(await scene.reader.search(kind)):
        path = f"{kind}/{resource['id']}"
        for target in (path, f"{path}/_history/{resource['meta']['versionId']}"):
            response = await scene.reader.get(target)
            assert response.headers["etag"] == f'W/"{resource["meta"]["versionId"]}"'
            changed = parsedate_to_datetime(response.headers["last-modified"])
            assert changed.strftime("%Y-%m-%dT%H:%M:%S") == resource["meta"]["lastUpdated"][:19]
            head = await scene.reader.send("HEAD", target)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(response.content))
        if kind != "Device":  # its status changes without a new version
            known = await scene.reader.get(path, **{"if-none-match": f'W/"{resource["meta"]["versionId"]}"'})
            assert (known.status_code, known.content) == (304, b"")


@pytest.mark.requirement("RS-039")
@pytest.mark.parametrize("kind", TYPES)
async def test_pages_of_every_type_lead_on_to_all_there_is(two_metrics: Scene, kind: str) -> None:
    """FHIR R4 http.html#paging."""
    pages = await two_metrics.reader.pages(f"{kind}?_count=1")
    assert [one["id"] for page in pages for one in entries(page)] == await two_metrics.reader.ids(kind)
    assert len(pages) > 1


@pytest.mark.requirement("RS-039")
async def test_repeated_parameters_are_joined_by_and(scene: Scene) -> None:
    assert await scene.reader.ids("Observation?code=2339-0&code=15074-8") == []
    assert len(await scene.reader.ids("Observation?code=2339-0&code=2339-0,15074-8")) == 2


@pytest.mark.requirement("RS-033", "OBS-009", "OBS-014")
async def test_an_empty_bundle_is_explained(ddr: Recorder, scene: Scene) -> None:
    reader = await paired(ddr, scene.home.patient, CGM)
    bundle = await reader.search("Observation?code=2339-0&date=lt2020-01-01")
    (valueset,) = [miv.valueset for miv in ddr.core.catalog.mivs if miv.name == CGM]
    assert warnings(bundle) == [
        f"Code 2339-0 not in ValueSet {valueset}",
        "Search includes a time range which is outside the historical time range of this service. "
        "Potentially no matches found.",
    ]


NAMES = (
    ("Ørsted Medical", "ørsted MEDICAL"),
    ("ŁÓDŹ Med", "łódź"),
    ("ЖИВА Сенсор", "жива сЕНС"),
    ("Ελλάς", "ελλασ"),
    ("Straße 1", "STRASSE"),
    ("Ärzte", "arzte"),
    ("ŠKODA", "škoda"),
)


@pytest.mark.requirement("RS-050", "DEV-006")
async def test_strings_ignore_case_and_accents_in_every_script(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    for key, (name, _) in enumerate(NAMES):
        await home.device(f"d{key}", manufacturer=name, name=f"{name} {key}")
        await home.glucose(f"g{key}", ddr.clock() - key * MINUTE, device=f"d{key}")
    reader = await paired(ddr, home.patient, BG)
    for key, (name, searched) in enumerate(NAMES):
        for query in ({"manufacturer": searched}, {"device-name:contains": searched[1:]}, {"manufacturer:exact": name}):
            assert await reader.ids(f"Device?{urlencode(query)}") == [home.ids[f"d{key}"]], query
    names = [device["manufacturer"] for device in entries(await reader.search("Device?_sort=manufacturer"))]
    latin = ["Ärzte", "ŁÓDŹ Med", "Ørsted Medical", "ŠKODA", "Straße 1"]
    assert names == [*latin, "Ελλάς", "ЖИВА Сенсор"]


@pytest.mark.requirement("RS-050")
async def test_a_comma_that_is_escaped_parts_no_values(ddr: Recorder) -> None:
    """FHIR R4 search.html#escaping."""
    home, names = Home(ddr, await ddr.patient()), ("Muster, Sohn & Co", "Muster", "Pipe|Dollar$")
    for key, name in enumerate(names):
        await home.device(f"d{key}", manufacturer=name)
        await home.glucose(f"g{key}", ddr.clock() - key * MINUTE, device=f"d{key}")
    reader = await paired(ddr, home.patient, BG)
    for searched, found in (
        (r"Muster\, Sohn & Co", (0,)),
        (r"Muster\, Sohn & Co,Muster", (0, 1)),
        (r"Pipe\|Dollar\$", (2,)),
    ):
        query = urlencode({"manufacturer:exact": searched})
        assert set(await reader.ids(f"Device?{query}")) == {home.ids[f"d{key}"] for key in found}


@pytest.mark.requirement("RS-050")
async def test_numbers_and_references_follow_their_data_types(ddr: Recorder, scene: Scene) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    for number, value in enumerate((94, 95, 104, 105, 140)):
        await home.glucose(f"g{number}", ddr.clock() - number * MINUTE, value)
    reader = await paired(ddr, home.patient, BG)
    assert await reader.ids("Observation?value-quantity=1e2||mg/dL&_sort=date") == [home.ids["g2"], home.ids["g1"]]
    for searched, numbers in {
        "ne1e2": (0, 3, 4),
        "gt104": (3, 4),
        "ge104": (2, 3, 4),
        "lt95": (0,),
        "le95": (0, 1),
        "sa104": (3, 4),
        "eb95": (0,),
        "ap1e2": (0, 1, 2, 3),
        "ne140": (0, 1, 2, 3),
    }.items():
        assert set(await reader.ids(f"Observation?value-quantity={searched}")) == {
            home.ids[f"g{one}"] for one in numbers
        }
    for form in ("140", "140.0", "1.40e2"):
        assert await reader.ids(f"Observation?value-quantity={form}") == [home.ids["g4"]]
    whole, base = scene.reader, ddr.settings.fhir_base
    for query in ("Observation?device={}Device/" + scene.home.ids["cuff"],
                  "Observation?device={}DeviceMetric/" + scene.home.ids["metric"],
                  "DeviceMetric?source={}Device/" + scene.home.ids["cgm"],
                  "Observation?derived-from={}Observation/" + scene.home.ids["fev1"],
                  "Device?_has:Observation:device:derived-from={}Observation/" + scene.home.ids["fev1"]):  # fmt: skip
        found = await whole.ids(query.format(""))
        assert found
        assert await whole.ids(query.format(f"{base}/")) == found
        assert await whole.ids(query.format("https://elsewhere.example/fhir/")) == []


@pytest.mark.requirement("RS-050", "RS-051")
async def test_what_finds_the_running_chunk(ddr: Recorder, scene: Scene) -> None:
    now = date_time(ddr.clock()).replace("+", "%2B")
    running = "code=99504-3"
    assert await scene.reader.ids(f"Observation?{running}&date={now}") == []
    latest = await scene.reader.ids(f"Observation?{running}&_sort=-date&_count=1")
    assert len(latest) == 1
    assert await scene.reader.ids(f"Observation?{running}&date=ap{now}") == latest
    assert await scene.reader.ids(f"Observation?{running}&date=ge{now}") == latest
