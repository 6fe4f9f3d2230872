"""Following the ZTS: what is published, fetched, stored, rejected; and activating a version."""

from __future__ import annotations

import random
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.demo.registry_state import Package, RegistryState
from ddr.demo.registry_zts import PACKAGE, valuesets
from ddr.miv.loader import load_catalog
from ddr.miv.model import MivCatalog, MivError
from ddr.miv.versions import MivVersion
from ddr.registries import zts as zts_reading
from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import fetch
from ddr.registries.terminology import SOURCE, Zts, current_catalog, waiting
from ddr.registries.wording import LONGEST_NOTE
from ddr.registries.zts import Published, newest
from ddr.settings import Settings
from ddr.store.registries import sources as store
from ddr.store.registries import terminology
from tests.support.clock import Clock

BG = "blood-glucose-measurement"
DAY = 86_400
LOINC = "http://loinc.org"


@pytest.fixture
def catalog(settings: Settings) -> MivCatalog:
    return load_catalog(settings.miv_packages, {})


@pytest.fixture
async def zts(registry_settings: Settings, empty_store: asyncpg.Pool, clock: Clock, catalog: MivCatalog) -> Zts:
    return Zts(registry_settings, empty_store, clock, catalog)


def resources(settings: Settings, version: str, *without: str) -> list[dict[str, Any]]:
    """The ValueSets of the folder as another version, blood glucose without some codes."""
    found = [{**one, "version": version} for one in valuesets(settings.miv_packages)]
    for one in found:
        if one["id"] == f"hddt-miv-{BG}":
            include = one["compose"]["include"][0]
            kept = [concept for concept in include["concept"] if concept["code"] not in without]
            one["compose"] = {"include": [{**include, "concept": kept}]}
    return found


NEW = "32016-8"


def with_new(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With one code more for blood glucose."""
    for one in found:
        if one["id"] == f"hddt-miv-{BG}":
            one["compose"]["include"][0]["concept"].append({"code": NEW, "display": "Glucose"})
    return found


async def codes(settings: Settings, pool: asyncpg.Pool) -> tuple[str, set[str]]:
    """The version of blood glucose in force, and its codes."""
    miv = (await current_catalog(settings, pool)).by_name(BG)
    assert miv is not None
    return miv.version, {code.code for code in miv.codes}


@pytest.mark.requirement("REG-007", "REG-010")
async def test_what_narrows_holds_by_itself(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    _, all_codes = await codes(settings, pool)
    state.packages = [Package(PACKAGE, "1.1.0", resources(settings, "1.1.0", "2339-0"))]
    await read(zts, clock)
    assert await codes(settings, pool) == ("1.1.0", all_codes - {"2339-0"})
    miv = zts.catalog.by_name(BG)
    assert miv is not None and miv.version == "1.1.0", "this worker serves it"
    (event,) = await store.events(pool, 0, clock() + 1, "narrowed")
    assert (event["detail"]["miv"], event["detail"]["lost"]) == (BG, ["2339-0"])
    assert await pool.fetchval("SELECT count(*) FROM audit WHERE event = 'system:miv:narrowed' AND at_ms = $1", clock())
    state.packages.append(Package(PACKAGE, "1.2.0", resources(settings, "1.2.0")))
    notes = await read(zts, clock)
    assert await codes(settings, pool) == ("1.1.0", all_codes - {"2339-0"}), "what comes back is wider: it waits"
    assert f"MIV {BG}: version 1.2.0 waits for activation (1 codes added, 0 removed)" in notes


@pytest.mark.requirement("REG-007", "REG-010")
async def test_of_a_version_that_takes_and_adds_only_the_taking_holds_at_once(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    _, all_codes = await codes(settings, pool)
    state.packages = [Package(PACKAGE, "1.1.0", with_new(resources(settings, "1.1.0", "2339-0")))]
    notes = await read(zts, clock)
    assert await codes(settings, pool) == ("1.0.1+1.1.0", all_codes - {"2339-0"})
    assert f"MIV {BG}: version 1.1.0 waits for activation (1 codes added, 0 removed)" in notes
    await terminology.activate(
        pool, BG, "1.0.1", "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-" + BG, [], [(LOINC, "2339-0")], clock()
    )
    assert (await codes(settings, pool))[1] == all_codes
    await read(zts, clock)
    assert await codes(settings, pool) == ("1.0.1+1.1.0", all_codes - {"2339-0"}), "nobody widens beyond the ZTS"
    state.packages = []
    await read(zts, clock)
    assert (await codes(settings, pool))[1] == all_codes - {"2339-0"}, "the end of a package widens nothing"


@pytest.mark.requirement("REG-007", "REG-008", "REG-010")
@pytest.mark.parametrize("broken", ["checksum", "no codes", "new codes only"])
async def test_a_package_that_cannot_be_read_narrows_nothing_and_counts_as_no_reading(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock, broken: str
) -> None:
    """What is in force is relied on for a day after the last reading in which it could be compared."""
    await read(zts, clock)
    before, read_ms = await codes(settings, pool), clock()
    changed = resources(settings, "1.1.0")
    (glucose,) = (one for one in changed if one["id"] == f"hddt-miv-{BG}")
    if broken == "no codes":
        glucose["compose"] = {"include": []}
    elif broken == "new codes only":
        glucose["compose"] = {"include": [{"system": LOINC, "concept": [{"code": NEW, "display": "Glucose"}]}]}
    state.packages = [Package(PACKAGE, "1.1.0", changed)]
    state.fault = "checksum" if broken == "checksum" else ""
    for _ in range(2):
        assert await read(zts, clock) == []
    found = await store.read_source(pool, SOURCE)
    assert found.fault is not None and found.fault.startswith(f"package {PACKAGE}#1.1.0: ")
    assert found.fault_ms == read_ms + 3_600_000 and found.seen_ms == read_ms, "told at once, and since when"
    assert await codes(settings, pool) == before
    clock.advance(DAY - 2 * 3600)
    assert not zts.stale(clock())
    clock.advance(1)
    assert zts.stale(clock())
    state.packages.append(Package(PACKAGE, "1.2.0", resources(settings, "1.2.0", "2339-0")))
    state.fault = ""
    await read(zts, clock)
    assert not zts.stale(clock()) and (await store.read_source(pool, SOURCE)).fault is None
    assert (await codes(settings, pool))[1] == before[1] - {"2339-0"}


@pytest.mark.requirement("REG-010")
async def test_what_could_be_read_beside_a_broken_package_holds(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    changed = resources(settings, "1.1.0", "2339-0")
    for one in changed:
        if "lung" in one["id"]:
            one["compose"] = {"include": []}
    state.packages = [Package(PACKAGE, "1.1.0", changed)]
    await read(zts, clock)
    assert "lung" in str((await store.read_source(pool, SOURCE)).fault)
    assert "2339-0" not in (await codes(settings, pool))[1]


@pytest.mark.parametrize("package", ["1.1.0", "1.2.0"])
async def test_what_is_published_anew_under_a_version_that_is_known_holds(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock, package: str
) -> None:
    """The same package with another digest, or a later one whose ValueSet still has the version of the last."""
    state.packages = [Package(PACKAGE, "1.1.0", with_new(resources(settings, "1.1.0")))]
    await read(zts, clock)
    assert "2339-0" in (await codes(settings, pool))[1]
    again = Package(PACKAGE, package, with_new(resources(settings, "1.1.0", "2339-0")))
    state.packages = [*state.packages[: package != "1.1.0"], again]
    notes = await read(zts, clock)
    assert f"package {PACKAGE}#{package}: MIV {BG} 1.1.0 differs from the stored one of the same number" in notes
    assert "2339-0" not in (await codes(settings, pool))[1]
    waits = [one for one in await waiting(pool, await current_catalog(settings, pool)) if one.miv.name == BG]
    assert [list(one.difference.added) for one in waits] == [[(LOINC, NEW)]]
    asked = state.requests
    await read(zts, clock)
    assert not zts.stale(clock())
    assert state.requests - asked == 6, "four searches, one package, one feed: no further download"


async def read(zts: Zts, clock: Clock) -> list[str]:
    """The notes after the next reading."""
    clock.advance(3600)
    return list((await zts.step()).notes)


async def test_a_package_that_the_catalogue_leaves_out_is_asked_about(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    """A catalogue without it says nothing of what its newest version has taken away."""
    state.packages = [Package(PACKAGE, "1.0.1", resources(settings, "1.0.1"))]
    assert await read(zts, clock) == []
    state.packages.append(Package(PACKAGE, "1.1.0", resources(settings, "1.1.0", "2339-0")))
    state.fault, state.fault_on = "empty", "zts"
    await read(zts, clock)
    assert "2339-0" not in (await codes(settings, pool))[1]
    seen_ms = zts.seen_ms()
    state.packages = []
    gone = f"package {PACKAGE} is no longer on the ZTS: the version in force stays in force"
    assert gone in await read(zts, clock)
    assert zts.seen_ms() > seen_ms and "2339-0" not in (await codes(settings, pool))[1]
    assert gone not in await read(zts, clock)


async def test_a_package_that_nobody_can_be_asked_about_is_no_reading(
    zts: Zts, state: RegistryState, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.packages = [Package(PACKAGE, "1.0.1", resources(settings, "1.0.1"))]
    await read(zts, clock)
    seen_ms = zts.seen_ms()

    async def refused(http: httpx.AsyncClient, url: str, **more: Any) -> tuple[str, bytes | None]:
        if url.endswith(f"/packages/{PACKAGE}"):
            raise RegistryFault("answered HTTP 500", 500)
        return await fetch(http, url, **more)

    monkeypatch.setattr(zts_reading, "fetch", refused)
    state.fault, state.fault_on = "empty", "zts"
    clock.advance(DAY + 1)
    await zts.step()
    assert zts.seen_ms() == seen_ms and zts.stale(clock())


async def test_nothing_published_is_no_fault(zts: Zts, clock: Clock) -> None:
    assert await read(zts, clock) == []
    assert not zts.stale(clock())


async def test_the_same_version_changes_nothing(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    state.packages = [Package(PACKAGE, "1.0.1", resources(settings, "1.0.1"))]
    assert await read(zts, clock) == []
    assert await terminology.stored_versions(pool) == []


async def test_a_new_version_waits(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, catalog: MivCatalog, clock: Clock
) -> None:
    state.packages = [Package(PACKAGE, "1.1.0", with_new(resources(settings, "1.1.0")))]
    notes = await read(zts, clock)
    assert f"MIV {BG}: version 1.1.0 waits for activation (1 codes added, 0 removed)" in notes
    found = {one.miv.name: one.difference for one in await waiting(pool, catalog)}
    assert list(found[BG].added) == [(LOINC, NEW)]
    assert len(found) == 4 and not found["lung-function-testing"]
    assert (await current_catalog(settings, pool)) == catalog
    asked = state.requests
    await read(zts, clock)
    assert state.requests - asked == 6, "four searches, one package, one feed: no second download"


async def test_other_codes_under_an_unchanged_version_are_noted_and_narrow(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    state.packages = [Package(PACKAGE, "1.0.1", resources(settings, "1.0.1", "2339-0"))]
    assert any("different codes" in note for note in await read(zts, clock))
    assert not zts.stale(clock())
    assert "2339-0" not in (await codes(settings, pool))[1]


@pytest.mark.parametrize("fault", ["error", "html", "truncated", "huge", "stale"])
async def test_a_fault_leaves_what_is_in_force_for_a_day(
    zts: Zts, state: RegistryState, clock: Clock, pool: asyncpg.Pool, fault: Any
) -> None:
    await read(zts, clock)
    state.fault = fault
    await read(zts, clock)
    assert (await store.read_source(pool, SOURCE)).fault
    clock.advance(DAY - 3600)
    assert not zts.stale(clock())
    clock.advance(1)
    assert zts.stale(clock())


async def test_deprecated_versions_are_told_and_not_fetched(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    state.packages = [Package(PACKAGE, "1.1.0", resources(settings, "1.1.0"), unlisted="wrong code")]
    assert await read(zts, clock) == []
    entries = await store.read_entries(pool, SOURCE)
    assert entries[f"{PACKAGE}#1.1.0"]["deprecated"] == "wrong code"
    assert any(name.startswith("Veraltet:") for name in entries)


async def test_texts_that_nothing_can_be_stored_under_keep_no_reading_from_being_one(
    zts: Zts, state: RegistryState, settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    """Longer than an entry of an index may be, or with what the database takes for no text."""
    state.packages = [Package(PACKAGE, "1.1.0", [], unlisted=random.Random(1).randbytes(4000).hex())]
    state.packages[0].resources = resources(settings, "1.1.0")
    assert await read(zts, clock) == [] and not zts.stale(clock())
    (title,) = (name for name in await store.read_entries(pool, SOURCE) if name.startswith("Veraltet:"))
    assert len(title) == LONGEST_NOTE
    odd = zts_reading._published(PACKAGE, "1.0.0\x00", {"unlisted": "because\x00of"})
    assert (odd.version, odd.deprecated) == ("1.0.0", "becauseof")


def test_the_newest_is_the_highest_stable_version() -> None:
    versions = [("1.9.0", ""), ("1.10.0", ""), ("2.0.0-rc.1", ""), ("3.0.0", "withdrawn"), ("x", "")]
    assert [one.version for one in newest(Published("a.b", *one[:1], "", one[1]) for one in versions)] == ["1.10.0"]


async def test_every_worker_follows_an_activation(
    zts: Zts, registry_settings: Settings, settings: Settings, pool: asyncpg.Pool, catalog: MivCatalog, clock: Clock
) -> None:
    exchanged: list[MivCatalog] = []
    follower = Zts(registry_settings, pool, clock, catalog)
    follower.exchanged = exchanged.append
    await zts.start()
    await follower.start()
    await put_in_force(pool, settings, catalog, clock, "2339-0")
    await zts.step()
    await follower.step()
    for one in (zts.catalog, *exchanged):
        miv = one.by_name(BG)
        assert miv is not None and miv.version == "1.1.0"
        assert one.code(LOINC, "2339-0") is None
    assert len(exchanged) == 1


async def put_in_force(
    pool: asyncpg.Pool, settings: Settings, catalog: MivCatalog, clock: Clock, *without: str
) -> None:
    """Keep and activate a version of blood glucose without these codes."""
    miv = catalog.by_name(BG)
    assert miv is not None
    content = [one for one in resources(settings, "1.1.0", *without) if one["id"] == f"hddt-miv-{BG}"]
    await terminology.keep(pool, BG, MivVersion("1.1.0", tuple(content)), "test", "", clock())
    lost = [(LOINC, code) for code in without]
    left = [(code.system, code.code) for code in miv.codes if code.code not in without]
    await terminology.activate(pool, BG, "1.1.0", miv.valueset, lost, left, clock())


async def test_a_version_that_contradicts_its_package_does_not_come_into_force(settings: Settings) -> None:
    version = MivVersion(
        "1.1.0", ({"url": "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-" + BG, "version": "1.1.0"},)
    )
    with pytest.raises(MivError, match="has no codes"):
        load_catalog(settings.miv_packages, {}, {BG: version})
