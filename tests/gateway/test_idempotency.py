"""Idempotency-Key while the first request is in progress, after its worker died, and on the bulk and FHIR endpoints."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from ddr.gateway import idempotency
from ddr.http.core import Core
from ddr.store.gateways import requests as store
from ddr.store.series.appending import append
from tests.gateway.conftest import Client
from tests.gateway.phd import METER, bundle, device
from tests.gateway.test_admission import READINGS, body
from tests.support.clock import Clock

KEY = {"idempotency-key": "upload"}


class Slow:
    """An upload that waits, once it has begun, until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go, self.count = asyncio.Event(), asyncio.Event(), 0

        async def waiting(*arguments: Any) -> Any:
            self.count += 1
            self.begun.set()
            await self.go.wait()
            return await append(*arguments)

        monkeypatch.setattr("ddr.gateway.readings.append_together", waiting)


async def test_the_answer_of_a_request_in_hand_is_waited_for(
    cgm: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cgm.post(READINGS, json=body(clock, periods_ago=3))
    slow, upload = Slow(monkeypatch), body(clock)
    first = asyncio.create_task(cgm.post(READINGS, json=upload, headers=KEY))
    await slow.begun.wait()
    again = asyncio.create_task(cgm.post(READINGS, json=upload, headers=KEY))
    await asyncio.sleep(0.1)
    slow.go.set()
    assert (await first).content == (await again).content
    assert (await first).json()["accepted"] == slow.count == 1


async def test_a_key_may_be_quoted(cgm: Client, clock: Clock) -> None:
    first = await cgm.post(READINGS, json=body(clock), headers={"idempotency-key": '"8e03978e-40d5"'})
    again = await cgm.post(READINGS, json=body(clock), headers={"idempotency-key": "8e03978e-40d5"})
    assert first.content == again.content and first.json()["accepted"] == 1
    for broken in ('"', '""', '"a', 'a"', '"a"b"'):
        answer = await cgm.post(READINGS, json=body(clock), headers={"idempotency-key": broken})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-key")


async def test_a_request_that_takes_long_says_when_to_come_again(
    cgm: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(idempotency, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(store, "LEASE_MS", 250)
    await cgm.post(READINGS, json=body(clock, periods_ago=3))
    slow, upload = Slow(monkeypatch), body(clock)
    first = asyncio.create_task(cgm.post(READINGS, json=upload, headers=KEY))
    await slow.begun.wait()
    again = await cgm.post(READINGS, json=upload, headers=KEY)
    assert (again.status_code, again.json()["code"]) == (409, "in-use")
    assert int(again.headers["retry-after"]) > 0
    slow.go.set()
    assert (await first).json()["accepted"] == slow.count == 1


@pytest.mark.parametrize("lease_ms", [700, 3_600_000])
async def test_work_of_a_killed_worker_is_taken_over(
    cgm: Client, core: Core, clock: Clock, patient_id: UUID, lease_ms: int
) -> None:
    """Such a worker leaves a claim whose lease nobody renews, or one by a clock that was set back since."""
    upload = body(clock)
    await cgm.post(READINGS, json=upload, headers=KEY)
    await core.pool.execute(
        "UPDATE gateway_request SET status = NULL, answer = NULL, content_type = NULL, claim = '', lease_ms ="
        " extract(epoch FROM clock_timestamp()) * 1000 + $2 WHERE patient_id = $1",
        patient_id,
        lease_ms,
    )
    answer = await cgm.post(READINGS, json=upload, headers=KEY)
    assert (answer.status_code, answer.json()["duplicate"]) == (200, 1)
    assert (await cgm.post(READINGS, json=upload, headers=KEY)).content == answer.content


async def test_a_late_worker_does_not_undo_who_took_over(core: Core, patient_id: UUID, clock: Clock) -> None:
    key, digest = store.Key(patient_id, "k"), b"request"
    assert await store.claim(core.pool, key, digest, b"first", clock()) is None
    await core.pool.execute("UPDATE gateway_request SET lease_ms = 0 WHERE patient_id = $1", patient_id)
    assert await store.claim(core.pool, key, digest, b"second", clock()) is None
    await store.renew(core.pool, key, b"first")
    await store.release(core.pool, key, b"first")
    await store.keep(core.pool, key, b"first", 500, None, b"")
    await store.keep(core.pool, key, b"second", 200, "x/y", b"answer")
    row = await store.claim(core.pool, key, digest, b"third", clock())
    assert row is not None
    assert (row["status"], row["content_type"], row["answer"]) == (200, "x/y", b"answer")


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_the_fhir_door_repeats_its_answer(client: Client, form: str) -> None:
    sent = bundle((METER, device()))
    headers = {**KEY, "accept": f"application/fhir+{form}"}
    first = await client.post("/fhir", json=sent, headers=headers)
    again = await client.post("/fhir", json=sent, headers=headers)
    without = await client.post("/fhir", json=sent, headers={"accept": headers["accept"]})
    assert '"201"' in first.text
    assert (again.content, again.headers["content-type"]) == (first.content, first.headers["content-type"])
    assert '"201"' not in without.text
    other = await client.post("/fhir", json={**sent, "entry": []}, headers=headers)
    assert other.status_code == 409
