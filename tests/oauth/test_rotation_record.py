"""A refresh waits for the disk once, with its record; tokens whose rotation may not be there do not leave."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from ddr import failures
from ddr.call import CURRENT, Call
from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.http.guard import guarded
from ddr.http.request_log.log import RequestLog
from ddr.http.request_log.logged import logged
from ddr.oauth.app import create_oauth_backend
from ddr.oauth.grants import unanswered
from ddr.store.audit import request_log as store
from ddr.store.audit.request_log import Batch, Retired, RotationLost
from ddr.store.audit.trail import NewEntry
from ddr.store.database.faults import UNAVAILABLE
from tests.oauth.backend import DigaBackend, connected
from tests.support.clock import Clock
from tests.support.disk import waits_for_the_disk
from tests.support.request_log import fresh_lines

DAY = DAY_MS // 1000
RECORD = b'{"transaction_id":"1"}'


@dataclass
class _Logged(DigaBackend):
    """A DiGA whose requests are recorded, as on the DiGA listener."""

    def __post_init__(self) -> None:
        app = guarded(create_oauth_backend(self.core), *failures.OAUTH)
        self.client = connected(logged(app, self.core, "diga"), self.certificate)


@pytest.fixture
def recorded(core: Core, diga: DigaBackend, tmp_path: Path) -> DigaBackend:
    """The DiGA of this test, with a request log of its own."""
    return _Logged(replace(core, request_log=RequestLog(core.pool, tmp_path)), diga.diga, diga.certificate)


async def _failing(*of: object) -> None:
    raise ConnectionError


async def test_a_refresh_waits_for_the_disk_with_its_record(
    diga: DigaBackend, recorded: DigaBackend, patient_id: UUID
) -> None:
    token = (await diga.pair(patient_id))["refresh_token"]

    async def refresh(by: DigaBackend) -> None:
        nonlocal token
        token = (await by.refresh(token)).json()["refresh_token"]

    assert not await waits_for_the_disk(diga.core.pool, partial(refresh, diga))
    assert await waits_for_the_disk(diga.core.pool, partial(refresh, recorded))


async def test_tokens_whose_record_is_not_stored_do_not_leave(
    recorded: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    """The client may come with the token that it has, however late; and the record says what was answered."""
    first, log = await recorded.pair(patient_id), recorded.core.request_log
    assert log is not None
    CURRENT.set(call := Call())
    with patch.object(store, "add", _failing):
        answer = await recorded.refresh(first["refresh_token"])
    assert (answer.status_code, call.reason) == (503, UNAVAILABLE.code)
    assert answer.json()["error"] == "temporarily_unavailable"
    assert answer.headers["retry-after"] == str(UNAVAILABLE.retry_seconds)
    assert answer.headers["cache-control"] == "no-store"
    await log.recover()
    records = [orjson.loads(line) for line in await fresh_lines(recorded.core.pool)]
    (record,) = [one for one in records if one["transaction_id"] == answer.headers["x-request-id"]]
    assert (record["status"], record["error_code"]) == (503, "temporarily_unavailable")
    assert record["pairing_id"] is not None
    await asyncio.gather(*unanswered._running)
    clock.advance(DAY)
    again = await recorded.refresh(first["refresh_token"])
    assert again.status_code == 200, again.text
    assert (await recorded.refresh(again.json()["refresh_token"])).status_code == 200


async def test_nor_do_those_of_a_repetition(recorded: DigaBackend, patient_id: UUID) -> None:
    """The rotation that it repeats may have been lost with the database."""
    first = await recorded.pair(patient_id)
    one = (await recorded.refresh(first["refresh_token"])).json()
    with patch.object(store, "add", _failing):
        assert (await recorded.refresh(first["refresh_token"])).status_code == 503
    two = (await recorded.refresh(first["refresh_token"])).json()
    assert one["refresh_token"] == two["refresh_token"]


async def test_tokens_whose_rotation_was_lost_do_not_leave(recorded: DigaBackend, patient_id: UUID) -> None:
    """The database crashed after it, and is back before the record is stored; or a standby without it took over."""
    first, add = await recorded.pair(patient_id), store.add

    async def adding_after_crash(*of: Any) -> None:
        await recorded.core.pool.execute(
            "UPDATE token_grant SET refresh_sha256 = previous_sha256, previous_sha256 = NULL, rotated_ms = NULL"
            " WHERE patient_id = $1",
            patient_id,
        )
        await add(*of)

    with patch.object(store, "add", adding_after_crash):
        assert (await recorded.refresh(first["refresh_token"])).status_code == 503
    assert (await recorded.refresh(first["refresh_token"])).status_code == 200


@pytest.mark.parametrize("audited", [0, 2])
@pytest.mark.parametrize("rotations", [1, 2])
async def test_a_record_is_stored_where_the_rotations_are(
    core: Core, diga: DigaBackend, patient_id: UUID, audited: int, rotations: int
) -> None:
    """With the entries of other requests, or not at all."""
    await diga.pair(patient_id)
    (grant,) = await core.pool.fetch("SELECT * FROM token_grant WHERE patient_id = $1", patient_id)
    former = [Retired(patient_id, grant["grant_no"], secrets.token_bytes(32)) for _ in range(rotations)]
    lost = [*former[1:], Retired(patient_id, grant["grant_no"], grant["refresh_sha256"])]
    entries = [NewEntry(patient_id, number, "diga:data:read", None, None, {}) for number in range(audited)]
    run, read = uuid4(), "SELECT count(*) FROM audit WHERE patient_id = $1 AND event = 'diga:data:read'"
    with pytest.raises(RotationLost):
        await store.add(core.pool, Batch(run, 1, RECORD), entries, lost)
    assert (await core.pool.fetchval(read, patient_id), await fresh_of(core.pool, run)) == (0, 0)
    await store.add(core.pool, Batch(run, 1, RECORD), entries, former)
    assert (await core.pool.fetchval(read, patient_id), await fresh_of(core.pool, run)) == (audited, 1)


async def fresh_of(pool: asyncpg.Pool, run: UUID) -> int:
    """How many rows a run of a worker has in the request log."""
    count: int = await pool.fetchval("SELECT count(*) FROM request_log_fresh WHERE run = $1", run)
    return count


async def test_other_answers_leave_while_their_records_wait_in_a_file(recorded: DigaBackend, patient_id: UUID) -> None:
    with patch.object(store, "add", _failing):
        assert (await recorded.push()).status_code == 201
        refused = await recorded.refresh("unknown")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
