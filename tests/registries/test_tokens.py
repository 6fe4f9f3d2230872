"""Two tokens for the registries during a rotation."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import httpx
import pytest

from ddr.registries.diga_vz import DigaVz
from ddr.registries.tokens import Tokens
from ddr.settings import Settings
from ddr.store.credentials import register
from ddr.store.credentials.register import Kind
from ddr.store.database.digest import sha256
from tests.registries.conftest import TOKEN
from tests.support.clock import Clock


@pytest.mark.parametrize(("given", "accepted", "asked"), [
    (["a"], "a", ["a", "a"]), (["a", "b"], "b", ["a", "b", "b"]), (["a"], "b", ["a", "a"]), ([], "a", [None, None]),
])  # fmt: skip
async def test_the_one_that_is_accepted_is_used(given: list[str], accepted: str, asked: list[str | None]) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ") or None
        seen.append(token)
        return httpx.Response(200 if token == accepted else 401)

    auth = Tokens(given)
    async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(answer)) as http:
        statuses = [(await http.get("https://registry.example/")).status_code for _ in range(2)]
    assert seen == asked
    good = accepted in given
    assert statuses == [200 if good else 401] * 2 and auth.accepted == (accepted if good else "")


async def test_a_reading_goes_on_with_the_next_token_and_notes_its_use(
    registry_settings: Settings, empty_store: asyncpg.Pool, clock: Clock
) -> None:
    settings = replace(registry_settings, registry_token=f"ended-token\n{TOKEN}")
    pool, mark, now_ms = empty_store, sha256(TOKEN).hex(), clock()
    await register.meet(pool, Kind.REGISTRY, mark, "bfarm", None, now_ms)
    try:
        assert (await DigaVz(settings, pool, clock).step()).fault is None
        (one,) = [one for one in await register.every(pool) if one.mark == mark]
        assert one.used_ms == now_ms // 3_600_000 * 3_600_000
    finally:
        await pool.execute("DELETE FROM credential WHERE mark = $1", mark)
