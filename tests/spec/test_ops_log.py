"""The request log: one record for each call and its answer (HDDT operational-requirements.md)."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
import pytest

from tests.spec.world import Scene
from tests.support.recorder import Recorder

ATTRIBUTES = {
    "client_id",
    "data_volume_bytes",
    "error_code",
    "error_description",
    "event_type",
    "interface_id",
    "message",
    "pairing_id",
    "partner_id",
    "response_time_ms",
    "status",
    "timestamp",
    "transaction_id",
}
Json = dict[str, Any]


async def records(ddr: Recorder) -> list[Json]:
    """What is durable by now and not sealed."""
    rows = await ddr.core.pool.fetch("SELECT records FROM request_log_fresh")
    return [orjson.loads(line) for row in rows for line in row["records"].splitlines()]


async def of(ddr: Recorder, transaction: str) -> Json:
    """The one record of a request."""
    (found,) = [record for record in await records(ddr) if record["transaction_id"] == transaction]
    return found


async def eventually(ddr: Recorder, fits: Callable[[Json], bool]) -> Json:
    """The record of what gets no answer."""
    async with asyncio.timeout(20):
        while True:
            if found := [record for record in await records(ddr) if fits(record)]:
                return found[-1]
            await asyncio.sleep(0.02)


def an_id() -> str:
    return f"test-{secrets.token_hex(8)}"


@pytest.mark.requirement("OPS-017")
@pytest.mark.requirement("OPS-018")
@pytest.mark.requirement("OPS-030")
async def test_each_call_and_its_answer_are_one_record(ddr: Recorder, scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.reader.get("Device") for _ in range(7)))
    ids = {answer.headers["x-request-id"] for answer in answers}
    found = [record for record in await records(ddr) if record["transaction_id"] in ids]
    assert (len(ids), len(found)) == (7, 7)
    for record in found:
        assert record.keys() == ATTRIBUTES
        assert record["event_type"] == "Transfer"
        assert record["partner_id"] == "localhost/fhir/Device"
        assert record["status"] == 200
        assert record["message"] == "GET /fhir/Device: 200 OK"
        assert record["data_volume_bytes"] == len(answers[0].content)
        assert record["response_time_ms"] >= 0
        assert datetime.fromisoformat(record["timestamp"]).tzinfo is not None
        assert record["client_id"] == scene.reader.diga.entry.client_id
        assert re.fullmatch("[0-9a-f]{64}", record["pairing_id"])
        assert (record["error_code"], record["error_description"]) == (None, None)
