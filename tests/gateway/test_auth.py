"""For which patient a gateway writes, and the response to an unknown gateway."""

from __future__ import annotations

import uuid

import asyncpg
import httpx
import pytest

from ddr.gateway import auth
from ddr.gateway.problem import REFUSAL
from ddr.http.core import Core
from ddr.store.database.digest import sha256
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients import identities
from tests.gateway.conftest import Client, make_client, put_device
from tests.support.clock import Clock
from tests.support.counting import counted
from tests.support.openid import OpenIdProvider


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic abc", "bearer\ttoken", "Bearer wrong", "wrong"]
)
async def test_no_valid_token_is_refused_in_one_way(core: Core, header: str | None) -> None:
    async with make_client(core, None) as client:
        answer = await client.get("/devices", headers={"authorization": header} if header is not None else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="gateway"')
    assert answer.json()["detail"] == REFUSAL


async def test_scheme_is_case_insensitive(core: Core, token: str) -> None:
    async with make_client(core, None) as client:
        answer = await client.get("/devices", headers={"authorization": f"bearer {token}"})
    assert answer.status_code == 200


async def test_a_revoked_token_ends_with_the_next_request(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    """Also where it was accepted a moment ago: each client here has a worker of its own."""
    async with make_client(core, client.headers["authorization"].partition(" ")[2]) as other:
        assert {(await one.get("/devices")).status_code for one in (client, other)} == {200}
        (app,) = await gateway_tokens.apps(core.pool, patient_id, core.clock())
        assert len(await gateway_tokens.revoke(core.pool, patient_id, app["app"], core.clock())) == 1
        assert not await gateway_tokens.revoke(core.pool, patient_id, app["app"], core.clock())
        assert {(await one.get("/devices")).status_code for one in (client, other)} == {401}


async def test_a_token_has_an_end(core: Core, clock: Clock, patient_id: uuid.UUID) -> None:
    token = await gateway_tokens.create(core.pool, patient_id, clock(), days=2)
    async with make_client(core, token) as client:
        clock.advance(2 * 86_400 - 1)
        assert (await client.get("/devices")).status_code == 200
        clock.advance(1)
        assert (await client.get("/devices")).status_code == 401


async def test_the_token_of_a_disabled_account_rests(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    await core.pool.execute("UPDATE patient SET disabled_ms = 1 WHERE patient_id = $1", patient_id)
    assert (await client.get("/devices")).status_code == 401
    await core.pool.execute("UPDATE patient SET disabled_ms = NULL WHERE patient_id = $1", patient_id)
    assert (await client.get("/devices")).status_code == 200


async def test_the_hour_of_the_last_use_is_kept(
    core: Core, clock: Clock, client: Client, patient_id: uuid.UUID
) -> None:
    """The recorder stores only the hour: a poll causes no write, and the hour reveals no more than necessary."""

    async def used() -> int | None:
        (app,) = await gateway_tokens.apps(core.pool, patient_id, clock())
        found: int | None = app["used_ms"]
        return found

    assert await used() is None
    for minutes in (0, 61, 1, 1):
        clock.advance(minutes * 60)
        await client.get("/devices")
    hour = clock() // 3_600_000 * 3_600_000
    assert await used() in {hour, hour - 3_600_000}
    stamp = await core.pool.fetchval("SELECT xmin::text FROM gateway_token WHERE patient_id = $1", patient_id)
    await client.get("/devices")
    assert await core.pool.fetchval("SELECT xmin::text FROM gateway_token WHERE patient_id = $1", patient_id) == stamp


async def test_only_the_digest_is_stored(core: Core, token: str, patient_id: uuid.UUID) -> None:
    stored = await core.pool.fetchval("SELECT token_sha256 FROM gateway_token WHERE patient_id = $1", patient_id)
    assert stored == sha256(token)
    assert len(token) >= 43


@pytest.mark.parametrize("pause", [0, 6])
async def test_many_unknown_tokens_are_throttled_while_good_ones_work(
    core: Core, clock: Clock, token: str, pause: int
) -> None:
    """Valid tokens never have to wait, whether this worker has seen them before or not."""
    holder = await gateway_tokens.find(core.pool, sha256(token), clock())
    assert holder is not None
    fresh = await gateway_tokens.create(core.pool, holder.patient_id, clock())
    async with make_client(core, None) as client:

        async def status(value: str) -> httpx.Response:
            return await client.get("/devices", headers={"authorization": f"Bearer {value}"})

        assert (await status(token)).status_code == 200
        tried = [(await status(f"guess-{i}")).status_code for i in range(auth.FAILURES)]
        refused = await status("one-more")
        assert (set(tried), refused.status_code) == ({401}, 429)
        assert 0 < int(refused.headers["retry-after"]) <= 60
        clock.advance(pause)
        assert [(await status(one)).status_code for one in (token, fresh)] == [200, 200]
        clock.advance(int(refused.headers["retry-after"]))
        assert (await status("one-more")).status_code == 401


async def test_a_repeated_unknown_token_asks_the_database_once(core: Core, pool: asyncpg.Pool) -> None:
    async with make_client(core, "unknown") as client, counted(pool) as statements:
        answers = [(await client.get("/devices")).status_code for _ in range(3)]
    asked = [statement for statement in statements if "gateway_token" in statement]  # other tests may add requests
    assert (answers, len(asked)) == ([401] * 3, 1)


def test_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "REMEMBERED", 3)
    recent = auth.Recent[int](1000, clock)
    for i in range(5):
        recent.put(i, i)
    assert [recent.get(i) is not None for i in range(5)] == [False, False, True, True, True]


async def test_token_of_a_deleted_account(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    assert (await client.get("/devices")).status_code == 200
    await core.pool.execute("DELETE FROM patient WHERE patient_id = $1", patient_id)
    assert (await put_device(client, "meter")).status_code == 401


async def test_patients_do_not_see_each_other(client: Client, stranger: Client) -> None:
    await put_device(client, "meter")
    assert (await stranger.get("/devices")).json() == {"devices": []}
    assert (await stranger.get("/devices/meter")).status_code == 404
    assert (await stranger.get("/devices/meter/sensors")).status_code == 404
    assert (await stranger.delete("/measurements/m1")).status_code == 404
    assert (await put_device(stranger, "meter")).status_code == 201


async def test_tokens_of_the_provider_write_for_its_user(oidc_core: Core, openid: OpenIdProvider) -> None:
    """Both kinds of tokens work beside each other, and write for the patient who logs in."""
    token = openid.access_token("gateway-user")
    async with make_client(oidc_core, token) as client:
        assert (await put_device(client, "meter")).status_code == 201
    patient = await identities.find(oidc_core.pool, openid.issuer, openid.claims("gateway-user")["sub"])
    assert patient is not None
    found = "SELECT device_key FROM device WHERE patient_id = $1"
    assert await oidc_core.pool.fetchval(found, patient) == "meter"
    stored = await gateway_tokens.create(oidc_core.pool, patient, oidc_core.clock())
    async with make_client(oidc_core, stored) as client:
        assert [device["key"] for device in (await client.get("/devices")).json()["devices"]] == ["meter"]


@pytest.mark.parametrize("claims", [{"aud": "other"}, {"iss": "https://other.example"}, {"exp": 1}])
async def test_other_tokens_of_the_provider_are_refused(
    oidc_core: Core, openid: OpenIdProvider, claims: dict[str, object]
) -> None:
    async with make_client(oidc_core, openid.access_token("anna", **claims)) as client:
        assert (await client.get("/devices")).status_code == 401


async def test_without_an_audience_no_token_of_the_provider_works(oidc_core: Core, openid: OpenIdProvider) -> None:
    assert oidc_core.identity is not None
    oidc_core.identity.audience = ""
    async with make_client(oidc_core, openid.access_token("anna")) as client:
        assert (await client.get("/devices")).status_code == 401


async def test_while_the_provider_is_down_gateways_try_again(oidc_core: Core, openid: OpenIdProvider) -> None:
    openid.down = True
    async with make_client(oidc_core, openid.access_token("anna")) as client:
        answer = await client.get("/devices")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
