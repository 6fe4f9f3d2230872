"""The allow list against a registry over HTTPS: refresh, faults, age, several workers, restart, consequences."""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ddr.demo.registry import SEARCHES
from ddr.demo.registry_fhir import manufacturer
from ddr.demo.registry_state import ListedDiga, RegistryState
from ddr.http.asgi import Scope
from ddr.http.core import Core
from ddr.oauth.client import authenticate
from ddr.oauth.errors import OAuthError
from ddr.registries import diga_reading, diga_vz, fhir_search
from ddr.registries.certificates import expires_ms
from ddr.registries.diga_vz import SOURCE, DigaVz
from ddr.registries.snapshot import reconcile
from ddr.settings import Settings
from ddr.store.database.clock import steady_ms
from ddr.store.registries import sources as store
from ddr.tls.peer import with_certificate
from tests.support.clock import Clock
from tests.support.counting import counted

CLIENT = "urn:diga:bfarm:00001"
OTHER = "urn:diga:bfarm:00002"
NO_REGISTRY = "https://127.0.0.1:9/fhir"


async def refresh(vz: DigaVz, clock: Clock) -> None:
    """One refresh interval later."""
    clock.advance(900)
    await vz.step()


async def test_first_start_reads_the_registry(vz: DigaVz, clock: Clock, der: dict[str, bytes]) -> None:
    assert vz.stale(clock())
    await vz.start()
    assert not vz.stale(clock())
    diga = vz.by_client_id(CLIENT)
    assert diga is not None and diga.active and diga.manufacturer == "Eins GmbH"
    assert vz.by_certificate(der["a"]) is diga
    assert vz.by_certificate(der["c"]) is None
    assert sorted(vz.certificates()) == sorted([der["a"], der["b"]])


async def test_certificates_are_compared_beside_the_event_loop(vz: DigaVz, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred that are called like the issuer of a hundred others are ten thousand signatures to verify."""
    threads = []

    def watched(*given: Any) -> Any:
        threads.append(threading.current_thread())
        return reconcile(*given)

    monkeypatch.setattr(diga_vz, "reconcile", watched)
    await vz.start()
    assert threads and threading.main_thread() not in threads


async def test_a_certificate_that_ends_between_two_readings_authenticates_nobody(
    core: Core, vz: DigaVz, clock: Clock, der: dict[str, bytes]
) -> None:
    ends_ms = min(map(expires_ms, (der["a"], der["b"])))
    clock.ms = ends_ms - 1000
    await vz.start()
    (ended,) = [one for one in (der["a"], der["b"]) if expires_ms(one) == ends_ms][:1]
    diga = vz.by_certificate(ended)
    assert diga is not None and diga.active
    scope: Scope = {"headers": []}
    core = replace(core, registry=vz)
    with_certificate(scope, ended)
    assert authenticate(core, scope, {"client_id": diga.client_id}) is diga
    clock.advance(1)
    assert vz.by_certificate(ended) is None and not vz.stale(clock())
    with pytest.raises(OAuthError) as refused:
        authenticate(core, scope, {"client_id": diga.client_id})
    assert (refused.value.status, refused.value.error) == (401, "invalid_client")


@pytest.mark.parametrize("back", [5, 60, 600, 7200])
async def test_a_clock_that_was_set_back_stops_no_reading(
    vz: DigaVz, state: RegistryState, clock: Clock, back: int
) -> None:
    await vz.start()
    clock.advance(-back)
    state.digas[0].redirect_uri = "https://one.example/after"
    await refresh(vz, clock)
    await refresh(vz, clock)
    found = vz.by_client_id(CLIENT)
    assert found is not None and found.redirect_uri == "https://one.example/after"
    clock.advance(4 * 3600 + 1)
    assert vz.stale(clock()), "not trusted for longer than allowed"


async def test_a_clock_that_was_set_back_makes_nothing_younger(
    vz: DigaVz, state: RegistryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set back by a day as the registry goes away: what it said was relied on for a day longer than it may be."""
    now = steady_ms()
    monkeypatch.setattr("ddr.registries.follower.steady_ms", lambda: now)
    clock.advance(600)
    await vz.start()
    clock.advance(-24 * 3600)
    state.fault = "error"
    now += 4 * 3600 * 1000 - 60_000
    clock.advance(4 * 3600 - 60)
    await vz.step()
    assert not vz.stale(clock())
    now += 60_001
    clock.advance(60.001)
    assert vz.stale(clock())


async def test_the_name_of_a_diga_outlives_its_entry(
    vz: DigaVz, state: RegistryState, registry_settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    """Patients read in their trail for two years who read what; a certificate ends before."""
    await vz.start()
    name = state.digas[0].name
    assert vz.name_of(CLIENT) == name
    ends_ms = max(map(expires_ms, vz.certificates()))
    del state.digas[0]
    await refresh(vz, clock)
    assert vz.by_client_id(CLIENT) is not None, "absent"
    clock.ms = ends_ms
    await refresh(vz, clock)
    await refresh(vz, clock)
    assert vz.by_client_id(CLIENT) is None
    assert vz.name_of(CLIENT) == name
    another = DigaVz(registry_settings, pool, clock)
    await another.start()
    assert another.name_of(CLIENT) == name
    assert another.name_of("urn:diga:bfarm:99999") is None


async def test_all_pages_are_read(vz: DigaVz, state: RegistryState, diga: ListedDiga) -> None:
    state.page_size = 3
    state.digas = [replace(diga, number=f"{n:05}", client_id="", certificates=[]) for n in range(10)]
    await vz.start()
    assert all(vz.by_client_id(one.client_id) for one in state.digas)


async def test_a_second_worker_takes_the_reading_over(
    vz: DigaVz, state: RegistryState, registry_settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    follower = DigaVz(registry_settings, pool, clock)
    await asyncio.gather(vz.start(), follower.start())
    assert state.requests == 3
    assert follower.by_client_id(CLIENT) == vz.by_client_id(CLIENT)


async def test_changes_reach_every_worker_within_one_refresh(
    vz: DigaVz,
    state: RegistryState,
    registry_settings: Settings,
    pool: asyncpg.Pool,
    clock: Clock,
    der: dict[str, bytes],
) -> None:
    follower = DigaVz(registry_settings, pool, clock)
    await vz.start()
    await follower.start()
    state.digas[0].certificates = [der["c"]]
    state.digas[0].mivs = []
    await refresh(vz, clock)
    await follower.step()
    assert sorted(follower.certificates()) == sorted([der["b"], der["c"]])
    assert follower.by_certificate(der["a"]) is None
    rolled_over = follower.by_certificate(der["c"])
    assert rolled_over is not None and rolled_over.valuesets == frozenset()


async def test_restart_has_the_last_good_state(
    vz: DigaVz, registry_settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    await vz.start()
    restarted = DigaVz(replace(registry_settings, diga_vz_base=NO_REGISTRY), pool, clock)
    await restarted.start()
    assert restarted.by_client_id(CLIENT) == vz.by_client_id(CLIENT)
    assert not restarted.stale(clock())


async def test_a_start_reads_what_is_stored_once(
    vz: DigaVz, registry_settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    await vz.start()
    async with counted(pool) as statements:
        await DigaVz(registry_settings, pool, clock).start()
    read = [re.search(r"FROM (\w+)", one)[1] for one in statements]  # type: ignore[index]
    assert read == ["registry_source", "registry_entry", "registry_entry"], "the entries, and names of former ones"
    assert len(set(statements)) == len(statements)


@pytest.mark.parametrize("fault", ["error", "html", "truncated", "loop", "huge", "empty", "foreign-link", "stale"])
async def test_a_fault_leaves_the_last_good_state_until_its_age_ends(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, fault: str
) -> None:
    await vz.start()
    state.fault = fault  # type: ignore[assignment]
    await refresh(vz, clock)
    diga = vz.by_client_id(CLIENT)
    assert diga is not None and diga.active
    assert (await store.read_source(pool, SOURCE)).fault
    clock.advance(4 * 3600 - 900)
    assert not vz.stale(clock())
    clock.advance(1)
    assert vz.stale(clock())


async def test_recovery_ends_the_fault(vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock) -> None:
    state.fault = "html"
    await vz.start()
    assert vz.stale(clock())
    state.fault = ""
    await refresh(vz, clock)
    assert not vz.stale(clock())
    assert (await store.read_source(pool, SOURCE)).fault is None


async def test_an_unreachable_registry_fails_closed(
    registry_settings: Settings, empty_store: asyncpg.Pool, clock: Clock
) -> None:
    for broken in (
        replace(registry_settings, diga_vz_base=NO_REGISTRY),
        replace(registry_settings, registry_token="wrong"),
        replace(registry_settings, registry_ca="/nonexistent.pem"),
    ):
        vz = DigaVz(broken, empty_store, clock)
        await vz.start()
        assert vz.stale(clock()) and vz.certificates() == []
        clock.advance(60)


async def pair(pool: asyncpg.Pool, patient_id: UUID, client_id: str) -> None:
    await pool.execute(
        "INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms) VALUES ($1, $2, $3, '', 0)",
        patient_id,
        client_id,
        client_id,
    )


async def paired(pool: asyncpg.Pool, patient_id: UUID) -> list[str]:
    rows = await pool.fetch("SELECT client_id FROM pairing WHERE patient_id = $1 AND ended_ms IS NULL", patient_id)
    return [row["client_id"] for row in rows]


async def test_the_end_of_a_listing_ends_all_pairings_of_the_diga(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, patient_id: UUID
) -> None:
    await pair(pool, patient_id, CLIENT)
    await pair(pool, patient_id, OTHER)
    await vz.start()
    state.digas[0].certificates = []
    state.digas[1].status = "retired"
    await refresh(vz, clock)
    diga = vz.by_client_id(CLIENT)
    assert diga is not None and not diga.active
    assert await paired(pool, patient_id) == [CLIENT], "a broken entry alone ends no pairing"
    state.digas.pop(0)
    await refresh(vz, clock)
    assert await paired(pool, patient_id) == [CLIENT], "that it is missing proves nothing yet"
    await refresh(vz, clock)
    assert await paired(pool, patient_id) == []


async def test_history_tells_what_was_believed_when(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock
) -> None:
    await vz.start()
    first_ms = clock()
    state.digas[0].name = "Eins neu"
    await refresh(vz, clock)
    rows = await pool.fetch("SELECT * FROM registry_entry WHERE entry = $1 ORDER BY from_ms", CLIENT)
    assert [(row["from_ms"], row["until_ms"]) for row in rows] == [(first_ms, clock()), (clock(), None)]
    assert [row["content"]["name"] for row in rows] == ["Eins", "Eins neu"]


async def test_an_unchanged_registry_writes_no_new_state(vz: DigaVz, pool: asyncpg.Pool, clock: Clock) -> None:
    await vz.start()
    before = await store.read_source(pool, SOURCE)
    await refresh(vz, clock)
    after = await store.read_source(pool, SOURCE)
    assert (after.generation, after.seen_ms) == (before.generation, clock())


async def test_a_requested_reading_is_due_at_once(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock
) -> None:
    await vz.start()
    state.digas[0].status = "retired"
    clock.advance(1)
    await store.request_reading(pool, SOURCE)
    await vz.step()
    diga = vz.by_client_id(CLIENT)
    assert diga is not None and not diga.active


async def test_a_reading_requested_during_another_is_not_forgotten(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vz.start()
    save = store.save_reading

    async def requested_meanwhile(*arguments: Any, **named: Any) -> bool:
        await store.request_reading(pool, SOURCE)
        return await save(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(store, "save_reading", requested_meanwhile)
        await refresh(vz, clock)
    state.digas[0].status = "retired"
    clock.advance(1)
    await vz.step()
    diga = vz.by_client_id(CLIENT)
    assert diga is not None and not diga.active


async def test_an_unchanged_answer_is_not_fetched_again(vz: DigaVz, state: RegistryState, clock: Clock) -> None:
    await vz.start()
    await refresh(vz, clock)
    assert (state.requests, state.unchanged) == (6, 3)
    assert not vz.stale(clock())
    state.digas[0].redirect_uri = "https://eins.example/new"
    await refresh(vz, clock)
    diga = vz.by_client_id(CLIENT)
    assert diga is not None and diga.redirect_uri == "https://eins.example/new"
    assert state.unchanged == 5


async def test_a_malformed_entry_disables_only_that_diga(vz: DigaVz, state: RegistryState, clock: Clock) -> None:
    await vz.start()
    state.fault = "malformed"
    await refresh(vz, clock)
    found = {client_id: vz.by_client_id(client_id) for client_id in (CLIENT, OTHER)}
    assert [diga is not None and diga.active for diga in found.values()] == [False, True]


async def test_time_in_a_cache_on_the_way_counts(vz: DigaVz, state: RegistryState, clock: Clock) -> None:
    state.fault, state.stale_seconds = "stale", 1800
    await vz.start()
    clock.advance(4 * 3600 - 1800)
    assert not vz.stale(clock())
    clock.advance(1)
    assert vz.stale(clock())


async def test_what_a_cache_gives_that_is_older_than_what_is_known_brings_nobody_back(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, der: dict[str, bytes]
) -> None:
    """One of several caches on the way still has the answer from before a certificate was taken away."""
    state.digas[0].certificates = [der["c"]]
    await vz.start()
    last_ms = clock()
    state.digas[0].certificates = [der["a"], der["c"]]
    state.fault, state.stale_seconds = "stale", 3000
    await refresh(vz, clock)
    assert vz.by_certificate(der["a"]) is None
    found = await store.read_source(pool, SOURCE)
    assert found.seen_ms == last_ms and found.fault == (
        "the response is older than the previous one and comes from an intermediate cache"
    )
    state.fault = ""
    clock.advance(60)
    await vz.step()
    assert vz.by_certificate(der["a"]) is not None and (await store.read_source(pool, SOURCE)).fault is None


async def test_an_answer_about_something_else_changes_nothing(
    vz: DigaVz, state: RegistryState, pool: asyncpg.Pool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vz.start()
    monkeypatch.setitem(SEARCHES, "DeviceDefinition", ("HealthApp", manufacturer))
    await refresh(vz, clock)
    diga = vz.by_client_id(CLIENT)
    assert diga is not None and diga.active
    assert (await store.read_source(pool, SOURCE)).fault == "the response contains no DeviceDefinition"


async def test_who_answers_no_question_and_names_no_manufacturer_has_given_its_lists(
    vz: DigaVz, state: RegistryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing is read while one DiGA is missing, and after four hours everybody is refused."""
    await vz.start()
    search = fhir_search.search_all

    async def hangs(http: Any, url: str, parameters: Any, *more: Any) -> Any:
        if url.endswith("/Organization") or "identifier" in parameters:
            await asyncio.Event().wait()
        return await search(http, url, parameters, *more)

    monkeypatch.setattr(diga_reading, "search_all", hangs)
    monkeypatch.setattr(diga_reading, "NAMES_SECONDS", 0.05)
    monkeypatch.setattr(diga_reading, "ASKING_SECONDS", 0.05)
    monkeypatch.setattr("ddr.registries.follower.READING_SECONDS", 20)
    state.digas.pop(0)
    await refresh(vz, clock)
    assert vz.seen_ms() == clock()
    found = {client_id: vz.by_client_id(client_id) for client_id in (CLIENT, OTHER)}
    assert [diga is not None and diga.active for diga in found.values()] == [False, True]


async def test_a_slow_registry_does_not_hold_up_the_start(
    vz: DigaVz, state: RegistryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.registries.follower.START_SECONDS", 0.2)
    state.fault, state.slow_seconds = "slow", 1
    await vz.start()
    assert vz.stale(clock())
    clock.advance(2)
    await vz.step()
    assert not vz.stale(clock()), "the turn that was broken off is nobody's: it is taken at once"


async def test_a_start_does_not_wait_for_a_registry_whose_data_may_be_relied_on(
    vz: DigaVz, state: RegistryState, registry_settings: Settings, pool: asyncpg.Pool, clock: Clock
) -> None:
    """For instance of a worker in the place of one that died, while the registry hangs."""
    await vz.start()
    clock.advance(1800)
    state.requests = 0
    late = DigaVz(registry_settings, pool, clock)
    await late.start()
    assert state.requests == 0 and late.certificates() == vz.certificates() != []
    await late.step()
    assert state.requests == 3, "the first step does what is due"


async def test_a_worker_does_not_start_without_what_is_stored(
    registry_settings: Settings, pool: asyncpg.Pool, clock: Clock, vz: DigaVz, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that did would refuse the certificates of all DiGA, until it looks again."""
    await vz.start()
    late, read = DigaVz(registry_settings, pool, clock), store.read_source

    async def times_out(*_: object) -> store.Source:
        raise TimeoutError

    monkeypatch.setattr(store, "read_source", times_out)
    with pytest.raises(TimeoutError):
        await late.start()
    monkeypatch.setattr(store, "read_source", read)
    await late.start()
    assert late.certificates() == vz.certificates() != []
