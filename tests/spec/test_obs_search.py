"""Observation, black box: the parameters of a search (area OBS)."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from ddr.fhir.instants import date_time
from tests.spec.world import (
    BG,
    CGM,
    HOUR,
    LF,
    MINUTE,
    Home,
    Reader,
    Scene,
    code_of,
    entries,
    later,
    paired,
    refused,
    searchset,
    warnings,
)
from tests.support.recorder import Recorder

LOINC = "http://loinc.org"


async def found(scene: Scene, query: str) -> set[str]:
    """Keys of the measurements (and "cgm" for a chunk) that a search finds."""
    keys = {logical_id: key for key, logical_id in scene.home.ids.items()}
    return {keys.get(logical_id, "cgm") for logical_id in await scene.reader.ids(f"Observation?{query}")}


def canonical(reader: Reader, miv: str) -> str:
    """The canonical of the MIV's ValueSet."""
    return next(each.valueset for each in reader.ddr.core.catalog.mivs if each.name == miv)


@pytest.mark.requirement("OBS-006")
async def test_without_a_code_all_granted_kinds_are_found(ddr: Recorder, scene: Scene) -> None:
    glucose, lung = {"2339-0", "15074-8"}, {"19935-6", "20150-9", "20149-1", "20152-5"}
    everything = entries(await scene.reader.search("Observation?_count=100"))
    assert {code_of(one) for one in everything} == {*glucose, *lung, "85354-9", "99504-3"}
    reader = await paired(ddr, scene.home.patient, BG, LF)
    two = entries(await reader.search("Observation?_count=100"))
    assert {code_of(one) for one in two} == glucose | lung
    assert {one["id"] for one in two} == {one["id"] for one in everything if code_of(one) in glucose | lung}


@pytest.mark.requirement("OBS-007", "OBS-011")
async def test_codes_match_exactly(scene: Scene) -> None:
    for query in ("code=2339-0", f"code={LOINC}|2339-0"):
        assert await found(scene, query) == {"bg-old", "bg-new"}
    for query in ("code=2339", "code=http://snomed.info/sct|2339-0", "code=|2339-0", "code=2339-0%20"):
        assert await found(scene, query) == set()
    assert len(await found(scene, f"code={LOINC}|")) == 9  # keys; the two chunks share one
    refused(await scene.reader.get("Observation?code:not=2339-0"), 400)


@pytest.mark.requirement("OBS-008", "OBS-009", "OBS-036")
async def test_codes_outside_the_valueset_match_nothing(ddr: Recorder, scene: Scene) -> None:
    reader = await paired(ddr, scene.home.patient, BG)
    only = await reader.search("Observation?code=85354-9")
    assert entries(only) == []
    assert warnings(only) == [f"Code 85354-9 not in ValueSet {canonical(reader, BG)}"]
    mixed = await reader.search("Observation?code=2339-0,8480-6,85354-9")
    assert [code_of(observation) for observation in entries(mixed)] == ["2339-0", "2339-0"]
    assert warnings(mixed) == [f"Code {code} not in ValueSet {canonical(reader, BG)}" for code in ("8480-6", "85354-9")]
    assert warnings(await reader.search("Observation?code=2339-0")) == []
    for token in (
        "http://snomed.info/sct|2339-0",
        "|2339-0",
        "http://snomed.info/sct|",
    ):  # only the system is foreign
        foreign = await reader.search(f"Observation?code={token}")
        assert warnings(foreign) == [f"Code {token} not in ValueSet {canonical(reader, BG)}"]


@pytest.mark.requirement("OBS-010")
async def test_dates_of_single_measurements(scene: Scene) -> None:
    home = scene.home
    taken = home.ago(3 * HOUR)
    assert await found(scene, f"code=2339-0,15074-8&date={taken}") == {"bg-new"}
    assert await found(scene, f"code=2339-0,15074-8&date=lt{taken}") == {"bg-old", "bg-mmol"}
    assert await found(scene, f"code=2339-0,15074-8&date=le{taken}") == {"bg-old", "bg-mmol", "bg-new"}
    assert await found(scene, f"code=2339-0,15074-8&date=gt{taken}") == set()
    between = f"date=ge{home.ago(10 * HOUR)}&date=lt{taken}"
    assert await found(scene, f"code=2339-0,15074-8&{between}") == {"bg-mmol"}
    assert await found(scene, f"code=2339-0,15074-8&date={home.ago(30 * HOUR)},{taken}") == {"bg-old", "bg-new"}
    abroad = quote(date_time(home.ddr.clock() - 3 * HOUR + 2 * HOUR).replace("Z", "+02:00"))
    assert await found(scene, f"code=2339-0,15074-8&date={abroad}") == {"bg-new"}


@pytest.mark.requirement("OBS-038")
async def test_dates_of_chunks_follow_the_rules_of_periods(scene: Scene) -> None:
    """FHIR R4 search.html#prefix: gt when the range above the value intersects the period, and so on."""
    chunks = entries(await scene.reader.search("Observation?code=99504-3&_sort=date"))
    first, running = (chunk["id"] for chunk in chunks)
    start, end = (chunks[1]["effectivePeriod"][name] for name in ("start", "end"))
    inside = scene.home.ago(HOUR)
    expected = {
        f"gt{inside}": {running},
        f"ge{inside}": {running},
        f"lt{inside}": {first, running},
        f"eq{inside}": set(),
        f"ne{inside}": {first, running},
        f"sa{inside}": set(),
        f"eb{inside}": {first},
        f"gt{end}": set(),
        f"ge{end}": set(),
        f"lt{start}": {first},
        f"eb{start}": {first},
        f"sa{chunks[0]['effectivePeriod']['end']}": {running},
        f"eq{start[:7]}": {first, running},
        f"ap{inside}": {running},
    }
    for value, ids in expected.items():
        assert set(await scene.reader.ids(f"Observation?code=99504-3&date={value}")) == ids, value


@pytest.mark.requirement("OBS-018")
async def test_the_current_chunk_is_the_latest_even_without_data(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.rtcgm(ddr.clock())
    reader = await paired(ddr, home.patient, CGM)
    with later(ddr, 24 * HOUR):
        (chunk,) = entries(await reader.search("Observation?_sort=-date&_count=1"))
        now = date_time(ddr.clock())
    assert chunk["effectivePeriod"]["start"] <= now <= chunk["effectivePeriod"]["end"]


@pytest.mark.requirement("OBS-037")
async def test_the_tables_name_of_value_quantity_is_understood_too(scene: Scene) -> None:
    value = "gt140|http://unitsofmeasure.org|mg/dL"
    expected = await found(scene, f"value-quantity={value}")
    assert expected == {"bg-new"}
    assert await found(scene, f"valueQuantity={value}") == expected
    for form in ("data", "json"):
        posted = await scene.reader.post("Observation/_search", **{form: {"valueQuantity": value}})
        assert [one["id"] for one in entries(searchset(posted))] == [scene.home.ids["bg-new"]]
    refused(await scene.reader.get("Observation?valueQuantity=x"), 400)
    refused(await scene.reader.get("Device?valueQuantity=gt140"), 400)


@pytest.mark.requirement("OBS-019")
async def test_further_parameters(scene: Scene) -> None:
    """Units of one kind are converted; a value without unit is compared as it is; sampled data never matches."""
    ids, ucum = scene.home.ids, "http://unitsofmeasure.org"
    assert await found(scene, f"value-quantity=5.5|{ucum}|mmol/L") == {"bg-mmol"}
    assert await found(scene, "value-quantity=143") == {"bg-new"}
    assert await found(scene, f"value-quantity=gt5|{ucum}|mmol/L") >= {"bg-mmol"}
    assert await found(scene, "component-code=8480-6") == {"bp"}
    assert await found(scene, "component-code-value-quantity=8480-6$gt120") == {"bp"}
    assert await found(scene, "component-code-value-quantity=8462-4$gt120") == set()
    assert await found(scene, "component-value-quantity=lt90") == {"bp"}
    assert await found(scene, "status=preliminary") == {"cgm"}
    assert await found(scene, f"device=Device/{ids['meter']}") == {"bg-old", "bg-new", "bg-mmol"}
    assert await found(scene, f"device={ids['metric']}") == {"cgm"}
    assert await found(scene, f"derived-from={ids['fev1']}") == {"relative"}


@pytest.mark.requirement("OBS-012")
async def test_without_date_everything_stored_is_found(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    expected = [await home.glucose(f"bg-{n}", ddr.clock() - n * 47 * HOUR - MINUTE) for n in range(15)]
    reader = await paired(ddr, home.patient, BG)
    assert set(await reader.ids("Observation")) == set(expected)
