"""How an app gets its token: pairing code, renewal with overlap, and an end that takes effect everywhere at once."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg
import httpx
import pytest
from asyncpg.transaction import Transaction

from ddr.gateway import auth
from ddr.http.core import Core
from ddr.store.audit.trail import Event
from ddr.store.gateways import apps, tokens
from tests.gateway.conftest import Client, make_client, put_device
from tests.support.clock import Clock
from tests.support.openid import OpenIdProvider

DAY = 86_400


async def connect(core: Core, code: str, **more: object) -> httpx.Response:
    """An app that nobody knows yet presents a pairing code."""
    async with make_client(core, None) as app:
        return await app.post("/token", json={"code": code, **more})


async def works(core: Core, token: str) -> bool:
    """Whether a gateway with this token is let in."""
    async with make_client(core, token) as client:
        return (await client.get("/devices")).status_code == 200


async def events(core: Core, patient_id: uuid.UUID) -> list[str]:
    rows = await core.pool.fetch("SELECT event FROM audit WHERE patient_id = $1 ORDER BY audit_no", patient_id)
    return [row["event"] for row in rows]


@pytest.mark.parametrize(
    "spelling", [str, str.lower, lambda code: f" {code.replace('-', ' ')}", lambda c: c.replace("0", "O")]
)
async def test_a_code_makes_a_token_of_the_patient(core: Core, patient_id: uuid.UUID, spelling: object) -> None:
    assert callable(spelling)
    answer = await connect(core, spelling(await apps.offer_code(core.pool, patient_id, core.clock())), name="Phone")
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    async with make_client(core, answer.json()["token"]) as gateway:
        assert (await put_device(gateway, "meter")).status_code == 201
    assert await core.pool.fetchval("SELECT device_key FROM device WHERE patient_id = $1", patient_id) == "meter"
    (app,) = await tokens.apps(core.pool, patient_id, core.clock())
    assert app["name"] == "Phone"
    assert await events(core, patient_id) == [Event.GATEWAY_CONNECTED]


async def test_a_code_is_good_once_and_for_minutes(core: Core, clock: Clock, patient_id: uuid.UUID) -> None:
    code = await apps.offer_code(core.pool, patient_id, clock())
    answers = await asyncio.gather(*(connect(core, code) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403, 403]
    former = await apps.offer_code(core.pool, patient_id, clock())
    code = await apps.offer_code(core.pool, patient_id, clock())
    assert (await connect(core, former)).status_code == 403
    clock.advance(apps.CODE_MS / 1000)
    refused = await connect(core, code)
    assert (refused.status_code, refused.json()["code"]) == (403, "pairing-code")


async def test_a_code_does_not_last_by_a_clock_that_was_set_back(
    core: Core, clock: Clock, patient_id: uuid.UUID
) -> None:
    code = await apps.offer_code(core.pool, patient_id, clock())
    clock.advance(-86_400)
    assert (await connect(core, code)).status_code == 403
    clock.advance(86_399)
    assert (await connect(core, code)).status_code == 201


async def test_guessing_codes_is_limited_for_who_guesses(core: Core, patient_id: uuid.UUID) -> None:
    code = await apps.offer_code(core.pool, patient_id, core.clock())
    async with make_client(core, None) as app:
        tried = [(await app.post("/token", json={"code": f"guess{n}"})).status_code for n in range(auth.FAILURES + 1)]
        assert tried == [403] * auth.FAILURES + [429]
        assert (await app.post("/token", json={"code": code})).status_code == 201


@pytest.mark.parametrize(
    "body", [[], {}, {"code": 7}, {"code": ""}, {"code": "A", "name": 1}, {"code": "A", "more": 1}]
)
async def test_what_is_no_request(core: Core, body: object) -> None:
    async with make_client(core, None) as app:
        assert (await app.post("/token", json=body)).status_code == 422


async def test_renewal_overlaps(core: Core, clock: Clock, token: str, client: Client, patient_id: uuid.UUID) -> None:
    """Both tokens are valid for a day, then only the new one; the app remains the same app."""
    clock.advance(300 * DAY)
    answer = await client.post("/token/renew")
    assert answer.status_code == 201
    fresh = answer.json()["token"]
    assert [await works(core, one) for one in (token, fresh)] == [True, True]
    assert len(await tokens.apps(core.pool, patient_id, clock())) == 1
    clock.advance(DAY)
    assert [await works(core, one) for one in (token, fresh)] == [False, True]
    clock.advance(363 * DAY)
    assert await works(core, fresh)
    clock.advance(DAY)
    assert not await works(core, fresh)


async def test_an_answer_that_was_lost_is_asked_for_again(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    answers = [await client.post("/token/renew") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert all([await works(core, answer.json()["token"]) for answer in answers])
    assert len(await tokens.apps(core.pool, patient_id, core.clock())) == 1


async def test_a_patient_has_only_so_many_tokens(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    for _ in range(tokens.MOST - 1):
        assert (await client.post("/token/renew")).status_code == 201
    assert (await client.post("/token/renew")).json()["code"] == "too-many-tokens"
    code = await apps.offer_code(core.pool, patient_id, core.clock())
    assert (await connect(core, code)).status_code == 409
    (app,) = await tokens.apps(core.pool, patient_id, core.clock())
    await apps.disconnect(core.pool, patient_id, app["app"], Event.GATEWAY_DISCONNECTED, core.clock())
    assert (await connect(core, code)).status_code == 201  # the refusal has not used up the code


async def test_disconnecting_ends_every_token_of_the_app(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    """With the next request, on every worker, and without effect on another app or patient."""
    fresh = (await client.post("/token/renew")).json()["token"]
    other = await tokens.create(core.pool, patient_id, core.clock())
    first, second = await tokens.apps(core.pool, patient_id, core.clock())
    app = first if first["app"] == await _app_of(core, fresh) else second
    assert await apps.disconnect(core.pool, uuid.uuid4(), app["app"], Event.GATEWAY_DISCONNECTED, core.clock()) == 0
    assert await works(core, fresh)
    assert await apps.disconnect(core.pool, patient_id, app["app"], Event.GATEWAY_DISCONNECTED, core.clock()) == 1
    assert (await client.get("/devices")).status_code == 401
    assert [await works(core, one) for one in (fresh, other)] == [False, True]
    assert (await client.post("/token/renew")).status_code == 401
    assert (await events(core, patient_id))[-1] == Event.GATEWAY_DISCONNECTED


async def test_tokens_of_the_provider_are_renewed_there(oidc_core: Core, openid: OpenIdProvider) -> None:
    async with make_client(oidc_core, openid.access_token("renewing-user")) as client:
        answer = await client.post("/token/renew")
    assert (answer.status_code, answer.json()["code"]) == (409, "not-renewable")


async def test_a_code_of_a_disabled_account_opens_nothing(core: Core, patient_id: uuid.UUID) -> None:
    code = await apps.offer_code(core.pool, patient_id, core.clock())
    await core.pool.execute("UPDATE patient SET disabled_ms = 1 WHERE patient_id = $1", patient_id)
    assert (await connect(core, code)).status_code == 403


async def _app_of(core: Core, token: str) -> str:
    found: str = await core.pool.fetchval(
        "SELECT left(encode(app, 'hex'), 16) FROM gateway_token WHERE token_sha256 = sha256($1::bytea)", token.encode()
    )
    return found


@pytest.mark.parametrize("there", [True, False])
async def test_a_connection_that_is_lost_at_the_end_uses_no_code_up_for_nothing(
    core: Core, patient_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    ending = Transaction.__aexit__

    async def lost(transaction: Transaction, *error: Any) -> None:
        how = (None, None, None) if there else (ConnectionError, ConnectionError(), None)
        await ending(transaction, *how)
        raise asyncpg.ConnectionDoesNotExistError

    code = await apps.offer_code(core.pool, patient_id, core.clock())
    with monkeypatch.context() as once:
        once.setattr(Transaction, "__aexit__", lost)
        answer = await connect(core, code)
    assert answer.status_code == (201 if there else 503)
    again = await connect(core, code)
    assert again.status_code == (403 if there else 201)
    assert await works(core, (answer if there else again).json()["token"])
