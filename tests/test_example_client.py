"""The example gateway loses nothing when the server fails under it."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from ddr.fhir.instants import date_time

spec = importlib.util.spec_from_file_location("gateway_client", Path("examples/gateway_client.py"))
assert spec is not None and spec.loader is not None
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)

START = 1_795_000_000_000
READINGS = [(date_time(START + at * 300_000), str(100 + at % 50)) for at in range(300)]


class Server:
    """Takes readings, but dies before or after it has stored them, or is overloaded, most of the time."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stored: dict[str, float] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        fate = self.chance.choice(("fine", "before", "after", "busy"))
        if fate == "busy":
            return httpx.Response(503, headers={"retry-after": "0"})
        if fate == "before":
            raise httpx.ConnectError("refused")
        answer = self.take(request)
        if fate == "after":
            raise httpx.ReadError("connection reset")
        return answer

    def take(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            return httpx.Response(200, json={})
        items: list[dict[str, Any]] = []
        for reading in orjson.loads(request.content)["readings"]:
            items.append({"status": "duplicate" if reading["time"] in self.stored else "accepted"})
            self.stored[reading["time"]] = reading["value"]
        counts = {name: sum(item["status"] == name for item in items) for name in ("accepted", "duplicate")}
        return httpx.Response(200, json={**counts, "items": items})


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(example, "BATCH", 20)
    server, outbox = Server(seed), example.Outbox(tmp_path / "outbox.sqlite")
    for reading in READINGS:
        outbox.add(*reading)
    with httpx.Client(transport=httpx.MockTransport(server), base_url="https://recorder") as client:
        example.sync(client, example.Outbox(tmp_path / "outbox.sqlite"), READINGS[0][0])
    assert server.stored == {at: float(value) for at, value in READINGS}
    assert outbox.next() == []


def test_what_the_recorder_refuses_is_kept_apart(tmp_path: Path) -> None:
    outbox = example.Outbox(tmp_path / "outbox.sqlite")
    outbox.add(*READINGS[0])
    outbox.settle(outbox.next(), [{"status": "rejected", "reason": "future"}])
    assert outbox.next() == []
    assert outbox.db.execute("SELECT reason FROM refused").fetchall() == [("future",)]
