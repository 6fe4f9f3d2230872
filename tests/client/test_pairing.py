"""Pairing by the library: the patient agrees or not, forged redirects, rotation by two processes, the end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ddr.client import (
    FileTokens,
    Grant,
    Pairing,
    PairingEnded,
    PairingStore,
    Recorder,
    Refused,
    SqliteTokens,
    Started,
)
from ddr.client.errors import NoAnswerToThisRequest
from ddr.client.postgres import PostgresTokens
from tests.client.conftest import Backend
from tests.client.foreign import DIGA, PAIRING, Foreign
from tests.client.test_refresh import Full
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
    with pytest.raises(NoAnswerToThisRequest, match="does not belong to the pairing that was started"):
        await backend.pairing.finish(started, landed.replace(*change))
    assert (await backend.pairing.finish(started, landed)).pairing_id


async def test_a_code_is_good_once(backend: Backend, home: Home) -> None:
    started = await backend.pairing.start(backend.valuesets(CGM))
    landed = await backend.browse(started.url, home.patient, (CGM,))
    await backend.pairing.finish(started, landed)
    with pytest.raises(PairingEnded):
        await backend.pairing.finish(started, landed)


class Codes:
    """A token endpoint that takes a code once, and answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.answers, self.answered, self.redeemed = asyncio.Event(), asyncio.Event(), asyncio.Event(), 0
        self.used = set[str]()

    async def ask(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/token":
            return Foreign({}).answer(request)
        self.asked.set()
        await self.answers.wait()
        self.redeemed += 1
        self.answered.set()
        code = httpx.QueryParams(request.content.decode())["code"]
        if code in self.used:
            return httpx.Response(400, json={"error": "invalid_grant"})
        self.used.add(code)
        tokens = {"access_token": "a", "refresh_token": f"r-{code}", "expires_in": 600, "sub": PAIRING}
        return httpx.Response(200, json=tokens)


@pytest.mark.parametrize("amid", ["answer", "store"])
async def test_who_is_cancelled_amid_a_redemption_has_the_grant(amid: str, tmp_path: Path) -> None:
    """Before: whoever closed the window that led back, of a service that cancels what it does for it, had agreed for
    nothing: the code was used up, and the DiGA had no tokens."""
    codes, tokens, started = Codes(), FileTokens(tmp_path), Started("", "s", "v")

    async def finish() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(codes.ask)) as http:
            await Pairing(DIGA, http, tokens).finish(started, "https://diga.example/cb?state=s&code=one")

    async with AsyncExitStack() as held:
        if amid == "store":
            await held.enter_async_context(tokens.alone(PAIRING))  # as by a refresh of former tokens
            codes.answers.set()
        finishing = asyncio.create_task(finish())
        await (codes.answered if amid == "store" else codes.asked).wait()
        finishing.cancel()
        await asyncio.sleep(0)
        assert not finishing.done()
        codes.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    kept = await tokens.load(PAIRING)
    assert kept is not None and (kept.refresh_token, codes.redeemed) == ("r-one", 1)


async def test_a_store_that_takes_no_new_grant_may_be_tried_again(tmp_path: Path) -> None:
    """Before: the tokens were nowhere, and the code, asked for again, was used up."""
    codes, tokens, started = Codes(), Full(tmp_path, 1), Started("", "s", "v")
    codes.answers.set()
    async with httpx.AsyncClient(transport=httpx.MockTransport(codes.ask)) as http:
        pairing, landed = Pairing(DIGA, http, tokens), "https://diga.example/cb?state=s&code=two"
        with pytest.raises(OSError, match="No space left"):
            await pairing.finish(started, landed)
        tokens.number = 0
        assert (await pairing.finish(started, landed)).refresh_token == "r-two"
        kept = await tokens.load(PAIRING)
        assert kept is not None and (kept.refresh_token, codes.redeemed) == ("r-two", 1)
        with pytest.raises(PairingEnded):
            await pairing.finish(started, landed)


@pytest.mark.parametrize("kind", ["later code", "other verifier", "too late"])
async def test_what_a_store_did_not_take_is_for_that_attempt_only(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: the tokens of an earlier code overwrote those that had replaced them, and whoever had somebody's code
    had his grant for it, by a start of his own."""
    codes, tokens = Codes(), Full(tmp_path, 1)
    codes.answers.set()
    if kind == "too late":
        monkeypatch.setattr("ddr.client.pairing.UNSAVED_SECONDS", -1.0)
    async with httpx.AsyncClient(transport=httpx.MockTransport(codes.ask)) as http:
        pairing, first = Pairing(DIGA, http, tokens), Started("", "s", "v")
        landed = f"https://diga.example/cb?state=s&code=first-{kind.replace(' ', '-')}"
        with pytest.raises(OSError, match="No space left"):
            await pairing.finish(first, landed)
        tokens.number = 0
        if kind == "later code":
            await pairing.finish(Started("", "t", "w"), "https://diga.example/cb?state=t&code=later")
        with pytest.raises(PairingEnded):
            await pairing.finish(Started("", "s", "other") if kind == "other verifier" else first, landed)
        kept = await tokens.load(PAIRING)
        assert (kept.refresh_token if kept else None) == ("r-later" if kind == "later code" else None)


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
