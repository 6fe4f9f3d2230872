"""The authorization code grant: redeemed once, by its client, with its verifier."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.store.authorization import tokens
from ddr.store.authorization.unpairing import Party, unpair
from tests.oauth.backend import DigaBackend, events, stands
from tests.support.clock import Clock


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
        if away:  # the first question after it was lost
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
