"""An update of a refresh or a claim stays within its page and writes no index entry (HOT)."""

from __future__ import annotations

from uuid import UUID

import pytest

from ddr.http.core import Core
from ddr.store.authorization.access import Permit, Request, admit
from tests.oauth.backend import DigaBackend
from tests.support.clock import Clock
from tests.support.touched import touched

MINUTE = 60_000
POLLS = 40
LEAST = 0.9
CROWD = 400  # neighbours of the row, so that its page is full

_GRANTS = """
INSERT INTO token_grant (patient_id, pairing_no, scope, created_ms, refresh_sha256, refresh_expires_ms)
SELECT gen_random_uuid(), 1, repeat('s', 200), $2, uuid_send(gen_random_uuid()), $2 FROM generate_series(1, $1)"""
_CLAIMS = """
INSERT INTO grace (patient_id, pairing_no, answered, read_ms)
SELECT gen_random_uuid(), 1, jsonb_build_object('https://x', $2::bigint), $2 FROM generate_series(1, $1)"""


async def test_refreshing_moves_no_index_entry(core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock) -> None:
    await core.pool.execute(_GRANTS, CROWD, clock())
    token = (await diga.pair(patient_id))["refresh_token"]
    await core.pool.execute(_GRANTS, CROWD, clock())
    async with touched(core.pool, "token_grant") as work:
        for _ in range(POLLS):
            clock.ms += 15 * MINUTE
            answer = await diga.refresh(token)
            assert answer.status_code == 200, answer.text
            token = answer.json()["refresh_token"]
    assert work.updated == POLLS
    assert work.hot >= LEAST * POLLS


@pytest.mark.parametrize("grace_ms", [10 * MINUTE, None])
async def test_admission_moves_no_index_entry(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, grace_ms: int | None
) -> None:
    await core.pool.execute(_CLAIMS, CROWD, clock())
    await diga.pair(patient_id)
    row = await core.pool.fetchrow(
        "SELECT pairing_id, pairing_no, grant_no FROM pairing JOIN token_grant USING (patient_id, pairing_no)"
        " WHERE patient_id = $1",
        patient_id,
    )
    permits = [Permit(url, grace_ms) for url in diga.diga.valuesets]

    async def poll() -> None:
        request = Request(row["pairing_id"], row["grant_no"], diga.diga.client_id, permits, {}, clock(), clock())
        assert (await admit(core.pool, request)).standing is not None

    await poll()
    await core.pool.execute(_CLAIMS, CROWD, clock())
    async with touched(core.pool, "grace") as work:
        for _ in range(POLLS):
            clock.ms += 15 * MINUTE
            await poll()
    assert work.updated == POLLS
    assert work.hot >= LEAST * POLLS
    async with touched(core.pool, "grace") as work:
        if grace_ms is None:  # requests without a claim note the access once a minute
            await poll()
    assert work.written == 0
