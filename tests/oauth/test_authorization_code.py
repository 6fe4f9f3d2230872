"""The authorization code grant: redeemed once, by its client, with its verifier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.http.presence import Presence
from ddr.store.authorization import tokens
from ddr.store.authorization.unpairing import Party, unpair
from ddr.store.database.digest import sha256
from tests.oauth.backend import Caller, DigaBackend, events, stands
from tests.support.clock import Clock
from tests.support.trust import FakeTrust


async def test_the_answer_has_all_fields_and_is_not_cached(diga: DigaBackend, patient_id: UUID) -> None:
    response = await diga.exchange(await diga.code(patient_id))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    content = response.json()
    assert content.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope", "sub"}
    assert content["token_type"] == "Bearer"
    assert content["expires_in"] == diga.core.settings.access_token_seconds
    assert content["scope"] == diga.scopes.text
    assert len(content["sub"]) == 64
    assert await stands(diga.core, content["access_token"])


async def test_the_scope_tells_what_was_granted(diga: DigaBackend, patient_id: UUID) -> None:
    chosen = diga.scopes.valuesets[0]
    content = await diga.pair(patient_id, {chosen})
    assert content["scope"] == diga.scopes.within({chosen}).text


@pytest.mark.parametrize("name", ["code", "redirect_uri", "code_verifier", "client_id", "grant_type"])
async def test_each_parameter_is_required(diga: DigaBackend, patient_id: UUID, name: str) -> None:
    code = await diga.code(patient_id)
    response = await diga.exchange(code, **{name: None})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert (await diga.exchange(code)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"code": "unknown"},
        {"redirect_uri": "https://evil.example/cb"},
        {"code_verifier": "a" * 43},
        {"code_verifier": "short"},
    ],
)
async def test_what_does_not_fit_is_refused_and_uses_nothing_up(
    diga: DigaBackend, patient_id: UUID, change: dict[str, str]
) -> None:
    code = await diga.code(patient_id)
    response = await diga.exchange(code, **change)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert (await diga.exchange(code)).status_code == 200


async def test_a_code_of_another_client_is_refused_and_stays_good(
    diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    code = await diga.code(patient_id)
    stolen = await other.exchange(code, redirect_uri=diga.diga.redirect_uri)
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert stolen.json() == (await other.exchange("unknown")).json()
    assert (await diga.exchange(code)).status_code == 200


async def test_an_expired_code_is_refused(diga: DigaBackend, patient_id: UUID, clock: Clock) -> None:
    code = await diga.code(patient_id)
    clock.advance(diga.core.settings.code_seconds)
    assert (await diga.exchange(code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(("back_seconds", "status"), [(1, 200), (86_400, 400)])
async def test_a_code_does_not_last_by_a_clock_that_was_set_back(
    diga: DigaBackend, patient_id: UUID, clock: Clock, back_seconds: int, status: int
) -> None:
    code = await diga.code(patient_id)
    clock.advance(-back_seconds)
    assert (await diga.exchange(code)).status_code == status


async def test_a_code_that_runs_out_while_it_is_looked_at_is_refused(
    diga: DigaBackend, patient_id: UUID, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, load = await diga.code(patient_id), tokens.load_family
    clock.advance(diga.core.settings.code_seconds - 1)

    async def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(tokens, "load_family", load)
        clock.advance(1)
        return await load(*arguments)

    monkeypatch.setattr(tokens, "load_family", slow)
    answer = await diga.exchange(code)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_of_concurrent_redemptions_one_wins_and_keeps_its_tokens(
    core: Core, diga: DigaBackend, patient_id: UUID
) -> None:
    code = await diga.code(patient_id)
    answers = await asyncio.gather(*(diga.exchange(code) for _ in range(20)))
    winners = [answer for answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    assert {answer.json()["error"] for answer in answers if answer.status_code != 200} == {"invalid_grant"}
    assert await stands(core, winners[0].json()["access_token"])


async def test_a_replay_revokes_what_the_code_gave(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    code = await diga.code(patient_id)
    content = (await diga.exchange(code)).json()
    clock.advance(0.001)
    assert (await diga.exchange(code)).json()["error"] == "invalid_grant"
    assert not await stands(core, content["access_token"])
    assert (await diga.refresh(content["refresh_token"])).json()["error"] == "invalid_grant"
    assert "diga:code:replayed" in await events(core, diga.diga)


async def test_a_replay_leaves_another_grant_of_the_pairing(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    first = await diga.pair(patient_id)
    code = await diga.code(patient_id)
    await diga.exchange(code)
    clock.advance(1)
    await diga.exchange(code)
    assert await stands(core, first["access_token"])


@pytest.mark.parametrize("made", [True, False])
async def test_a_connection_that_is_lost_at_the_end_uses_no_code_up_for_nothing(
    core: Core, diga: DigaBackend, patient_id: UUID, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    redeem, load = tokens.redeem, tokens.load_family
    away = False

    async def lost(*arguments: Any) -> bool:
        nonlocal away
        away = True
        if made:
            await redeem(*arguments)
        raise asyncpg.ConnectionDoesNotExistError

    async def not_yet(*arguments: Any) -> Any:
        nonlocal away
        if away:  # the first question after the database was lost
            away = False
            raise asyncpg.CannotConnectNowError
        return await load(*arguments)

    code = await diga.code(patient_id)
    with monkeypatch.context() as once:
        once.setattr(tokens, "redeem", lost)
        once.setattr(tokens, "load_family", not_yet)
        if made:
            content = (await diga.exchange(code)).json()
            assert await stands(core, content["access_token"])
        else:
            with pytest.raises(asyncpg.ConnectionDoesNotExistError):
                await diga.exchange(code)
    answer = content if made else (await diga.exchange(code)).json()
    assert (await diga.refresh(answer["refresh_token"])).status_code == 200


async def test_a_database_that_stays_away_is_not_waited_for(
    core: Core, diga: DigaBackend, patient_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> bool:
        monkeypatch.setattr(tokens, "load_family", lost)
        raise asyncpg.ConnectionDoesNotExistError

    code = await diga.code(patient_id)
    monkeypatch.setattr("ddr.store.database.settling.SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(tokens, "redeem", lost)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await diga.exchange(code)


REDEEMED = "SELECT count(*) FROM authorization_code WHERE client_id = $1 AND redeemed_ms IS NOT NULL"


@asynccontextmanager
async def lost_for_long(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The database is lost when a code has just been redeemed, and stays away until the end of the block."""
    redeem = tokens.redeem

    async def lost(*arguments: Any) -> bool:
        await redeem(*arguments)
        raise asyncpg.ConnectionDoesNotExistError

    async def away(*_: Any) -> Any:
        raise asyncpg.CannotConnectNowError

    with monkeypatch.context() as once:
        once.setattr("ddr.store.database.settling.SETTLE_SECONDS", 0.01)
        once.setattr(tokens, "redeem", lost)
        once.setattr(tokens, "take_back", away)
        yield


async def refused_as_away(core: Core, diga: DigaBackend, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange whose tokens are never sent; nobody knows them afterwards."""
    load = tokens.load_family
    with monkeypatch.context() as once, pytest.raises(asyncpg.ConnectionDoesNotExistError):
        asked = 0

        async def away(*arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked > 1:  # the first one comes before it was lost
                raise asyncpg.CannotConnectNowError
            return await load(*arguments)

        once.setattr(tokens, "load_family", away)
        await diga.exchange(code)
    assert await core.pool.fetchval(REDEEMED, diga.diga.client_id) == 1


async def settled(core: Core, diga: DigaBackend) -> None:
    """The redemption is rolled back."""
    async with asyncio.timeout(60):
        while True:
            if not await core.pool.fetchval(REDEEMED, diga.diga.client_id):
                return
            await asyncio.sleep(0.02)


@pytest.mark.requirement("AS-009")
async def test_a_code_whose_tokens_never_left_is_good_again_when_the_database_is_back(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await diga.code(patient_id)
    async with lost_for_long(monkeypatch):
        await refused_as_away(core, diga, code, monkeypatch)
    await settled(core, diga)
    clock.advance(20)
    content = (await diga.exchange(code)).json()
    assert await stands(core, content["access_token"])
    assert "diga:code:replayed" not in await events(core, diga.diga)
    clock.advance(1)
    assert (await diga.exchange(code)).json()["error"] == "invalid_grant", "this answer has left"
    assert not await stands(core, content["access_token"])


async def test_a_repetition_that_comes_first_waits_at_any_worker(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = DigaBackend(replace(core, presence=Presence()), diga.diga, diga.certificate)
    another.core.presence.seen(clock())
    code = await diga.code(patient_id)
    async with lost_for_long(monkeypatch):
        await refused_as_away(core, diga, code, monkeypatch)
        clock.advance(20)
        again = asyncio.create_task(another.exchange(code))
        await asyncio.sleep(0.3)
        assert not again.done()
    content = (await again).json()
    assert await stands(core, content["access_token"])
    assert (await diga.refresh(content["refresh_token"])).status_code == 200


@pytest.mark.parametrize("who", ["without the verifier", "with another certificate", "too late"])
async def test_nobody_else_is_waited_for(
    core: Core, diga: DigaBackend, trust: FakeTrust, patient_id: UUID, clock: Clock, monkeypatch: pytest.MonkeyPatch,
    who: str,
) -> None:  # fmt: skip
    core.presence.seen(clock())
    code = await diga.code(patient_id)
    renewed = DigaBackend(core, trust.add(diga.diga, b"another"), b"another")
    async with lost_for_long(monkeypatch):
        await refused_as_away(core, diga, code, monkeypatch)
        clock.advance(core.settings.code_seconds if who == "too late" else 20)
        asked = renewed if who == "with another certificate" else diga
        verifier = {"code_verifier": "a" * 43} if who == "without the verifier" else {}
        monkeypatch.setattr("ddr.oauth.grants.unanswered.PATIENCE_SECONDS", 3600)
        assert (await asked.exchange(code, **verifier)).json()["error"] == "invalid_grant"
    assert "diga:code:replayed" in await events(core, diga.diga)


async def test_what_was_redeemed_for_somebody_else_is_not_taken_back(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    code = await diga.code(patient_id)
    row = await core.pool.fetchrow("SELECT * FROM authorization_code WHERE code_sha256 = $1", sha256(code))

    async def take_back(refresh_token: str, digest: bytes = row["code_sha256"]) -> bool | None:
        return await tokens.take_back(core.pool, digest, sha256(refresh_token), row["patient_id"], row["grant_no"])

    assert await take_back("x") is None, "not redeemed"
    assert await take_back("x", sha256("y")) is False, "gone"
    content = (await diga.exchange(code)).json()
    assert await take_back("x") is False, "another token"
    assert (await diga.refresh(content["refresh_token"])).status_code == 200
    assert await take_back(content["refresh_token"]) is False, "it was used"
    assert await stands(core, content["access_token"])


async def test_a_code_dies_with_its_pairing(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    code = await diga.code(patient_id)
    no = await core.pool.fetchval("SELECT pairing_no FROM pairing WHERE patient_id = $1", patient_id)
    assert await unpair(core.pool, patient_id, no, Party.PATIENT, "test", core.clock())
    assert (await diga.exchange(code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "grant_type", ["client_credentials", "password", "implicit", "urn:ietf:params:oauth:grant-type:device_code"]
)
async def test_other_flows_are_not_supported(diga: DigaBackend, grant_type: str) -> None:
    response = await diga.post("/oauth/token", grant_type=grant_type)
    assert (response.status_code, response.json()["error"]) == (400, "unsupported_grant_type")


async def test_a_grant_type_that_no_diga_may_use(diga: DigaBackend) -> None:
    response = await diga.post("/oauth/token", grant_type="urn:ietf:params:oauth:grant-type:token-exchange")
    assert response.status_code == 400
    assert response.json() == {
        "error": "unauthorized_client",
        "error_description": "The client is not authorized to use this authorization grant type",
    }


async def test_a_code_whose_client_hung_up_is_good_again(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    """The client had waited long enough, and tries again: nobody received the tokens."""
    code = await diga.code(patient_id)
    await Caller(diga).hang_up(code)
    clock.advance(5)
    answer = await diga.exchange(code)
    assert answer.status_code == 200, answer.text
    assert await stands(core, answer.json()["access_token"])
    assert (await diga.refresh(answer.json()["refresh_token"])).status_code == 200
    assert "diga:code:replayed" not in await events(core, diga.diga)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_client_that_hung_up_may_try_again_while_its_code_is_being_redeemed(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Both requests see that the code is good; the first one redeems it, but its client has hung up.

    With `at_once` that redemption is rolled back before the second request looks what became of the code.
    """
    code, redeem, take_back, began = await diga.code(patient_id), tokens.redeem, tokens.take_back, 0
    both, redeemed, lost = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def later(*arguments: Any) -> bool | None:
        await lost.wait()
        return await take_back(*arguments)

    async def slow(*arguments: Any) -> bool:
        nonlocal began
        began += 1
        if began == 1:
            await both.wait()
            won = await redeem(*arguments)
            redeemed.set()
            return won
        both.set()
        await redeemed.wait()
        won = await redeem(*arguments)
        lost.set()
        if at_once and began == 2:
            await settled(core, diga)
        return won

    monkeypatch.setattr(tokens, "redeem", slow)
    monkeypatch.setattr(tokens, "take_back", later)
    monkeypatch.setattr("ddr.oauth.grants.unanswered.SOON_SECONDS", 60)
    first = asyncio.create_task(Caller(diga).hang_up(code))
    while not began:  # noqa: ASYNC110 - the first is to be the first
        await asyncio.sleep(0)
    clock.advance(5)
    answer = await diga.exchange(code)
    await first
    assert answer.status_code == 200, answer.text
    assert await stands(core, answer.json()["access_token"])
    assert (await diga.refresh(answer.json()["refresh_token"])).status_code == 200, "it is the one that is stored"
