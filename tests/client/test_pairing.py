"""Pairing by the library: the patient agrees or not, forged redirects, rotation by two processes, the end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ddr.client import FileTokens, Grant, PairingEnded, PairingStore, Recorder, Refused, SqliteTokens
from ddr.client.errors import NoAnswerToThisRequest
from ddr.client.postgres import PostgresTokens
from tests.client.conftest import Backend
from tests.spec.world import BG, CGM, Home
from tests.support.pooler import direct_only
from tests.support.recorder import Recorder as Server


async def test_a_patient_agrees_and_the_grant_is_kept(backend: Backend, home: Home) -> None:
    pairing_id = await backend.pair(home.patient, CGM, BG)
    grant = await backend.tokens.load(pairing_id)
    assert grant is not None and "continuous-glucose" in grant.scope and grant.refresh_token


@pytest.mark.parametrize("change", [("state=", "state=x"), ("iss=", "iss=https%3A%2F%2Fevil.example&x=")])
async def test_a_redirect_that_is_no_answer_is_dropped(backend: Backend, home: Home, change: tuple[str, str]) -> None:
    started = await backend.pairing.start(backend.valuesets(CGM))
    landed = await backend.browse(started.url, home.patient, (CGM,))
    with pytest.raises(NoAnswerToThisRequest):
        await backend.pairing.finish(started, landed.replace(*change))
    assert (await backend.pairing.finish(started, landed)).pairing_id


async def test_a_code_is_good_once(backend: Backend, home: Home) -> None:
    started = await backend.pairing.start(backend.valuesets(CGM))
    landed = await backend.browse(started.url, home.patient, (CGM,))
    await backend.pairing.finish(started, landed)
    with pytest.raises(PairingEnded):
        await backend.pairing.finish(started, landed)


async def test_what_the_recorder_refuses_says_why(backend: Backend) -> None:
    with pytest.raises(Refused) as refused:
        await backend.pairing.start(["https://nowhere.example/ValueSet/x"])
    assert (refused.value.status, refused.value.code) == (400, "invalid_scope")


async def expired(backend: Backend, pairing_id: str) -> Grant:
    grant = await backend.tokens.load(pairing_id)
    assert grant is not None
    old = replace(grant, expires_at=0.0)
    await backend.tokens.save(old)
    return old


async def test_many_at_once_rotate_once(backend: Backend, home: Home) -> None:
    """As two processes of one DiGA would: each has a store of its own on the same folder."""
    pairing_id = await backend.pair(home.patient, CGM)
    old = await expired(backend, pairing_id)
    stores = [FileTokens(backend.tokens._folder) for _ in range(5)]
    recorders = [Recorder(backend.diga, backend.http, store, pairing_id) for store in stores]
    taken = await asyncio.gather(*(recorder._session.token(None) for recorder in recorders))
    kept = await backend.tokens.load(pairing_id)
    assert kept is not None and set(taken) == {kept.access_token}
    assert kept.refresh_token != old.refresh_token
    assert [page async for page in recorders[0].pages("Observation", {})]


async def test_an_answer_that_was_not_saved_comes_again(backend: Backend, home: Home) -> None:
    """The process died between the answer and `save`: after its restart the old token gives the same successor."""
    pairing_id = await backend.pair(home.patient, CGM)
    old = await expired(backend, pairing_id)
    recorder = Recorder(backend.diga, backend.http, backend.tokens, pairing_id)
    await recorder._session.token()
    lost = await backend.tokens.load(pairing_id)
    await backend.tokens.save(old)
    await recorder._session.token()
    again = await backend.tokens.load(pairing_id)
    assert again is not None and lost is not None and again.refresh_token == lost.refresh_token != old.refresh_token


async def test_a_process_that_is_killed_before_it_saves_loses_nothing(
    backend: Backend, home: Home, tmp_path: Path
) -> None:
    """Its lock ends with it, and whoever comes next gets the same successor."""
    pairing_id = await backend.pair(home.patient, CGM)
    old = await expired(backend, pairing_id)
    diga, config = backend.diga, tmp_path / "diga.toml"
    names = ("client_id", "redirect_uri", "issuer", "fhir_base", "certificate", "key", "ca")
    config.write_text("".join(f"{name} = {json.dumps(str(getattr(diga, name)))}\n" for name in names))
    words = ("-m", "tests.client.dying", str(config), str(backend.tokens._folder), pairing_id)
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    assert await process.wait() == -signal.SIGKILL
    assert await backend.tokens.load(pairing_id) == old, "nothing was saved"
    recorder = Recorder(backend.diga, backend.http, backend.tokens, pairing_id)
    assert [page async for page in recorder.pages("Observation", {})]
    fresh = await backend.tokens.load(pairing_id)
    assert fresh is not None and fresh.refresh_token != old.refresh_token


async def test_unpairing_ends_it(backend: Backend, home: Home) -> None:
    pairing_id = await backend.pair(home.patient, CGM)
    recorder = Recorder(backend.diga, backend.http, backend.tokens, pairing_id)
    before = await backend.tokens.load(pairing_id)
    await backend.pairing.unpair(pairing_id)
    with pytest.raises(PairingEnded):
        await recorder.get(f"{backend.diga.fhir_base}/Observation")
    assert before is not None
    await backend.tokens.save(before)
    with pytest.raises(PairingEnded):
        await recorder.get(f"{backend.diga.fhir_base}/Observation")


async def test_files_keep_what_they_are_given(tmp_path: Path) -> None:
    await kept(FileTokens(tmp_path / "place"), FileTokens(tmp_path / "place"))


async def test_sqlite_keeps_what_it_is_given(tmp_path: Path) -> None:
    await kept(SqliteTokens(tmp_path / "place"), SqliteTokens(tmp_path / "place"))


@direct_only  # it locks by the session
async def test_postgres_keeps_what_it_is_given(ddr: Server) -> None:
    one, again = PostgresTokens(ddr.core.pool), PostgresTokens(ddr.core.pool)
    await one.prepare()
    try:
        await kept(one, again)
    finally:
        await ddr.core.pool.execute("DROP TABLE ddr_client_grants")


async def kept(store: PairingStore, again: PairingStore) -> None:
    """Two users of the same place hold the contract."""
    grant = Grant("a" * 64, "scope", "refresh", "access", 1.5)
    assert await store.load(grant.pairing_id) is None
    await store.save(grant)
    await store.save(replace(grant, refresh_token="next"))
    assert await again.load(grant.pairing_id) == replace(grant, refresh_token="next")
    assert grant.pairing_id in await again.pairings()
    order: list[str] = []

    async def hold(name: str, one: PairingStore) -> None:
        async with one.alone(grant.pairing_id):
            order.append(name)
            assert await one.load(grant.pairing_id)
            await asyncio.sleep(0.1)
            order.append(name)

    await asyncio.gather(hold("a", store), hold("b", again))
    assert order[0] == order[1] and order[2] == order[3]
    await store.forget(grant.pairing_id)
    assert await again.load(grant.pairing_id) is None
