"""The soak's judges see what they should; the soak itself is `make soak`."""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest

from ddr.demo.diga_client import Tokens
from tests.soak.caller import Caller
from tests.soak.gateways import Gateway
from tests.soak.ledger import Ledger
from tests.soak.memory import Memory
from tests.soak.pollers import Poller
from tests.soak.soak import judge_loops

STAMPS = [f"2026-11-26T07:00:0{second}.000Z" for second in range(9)]
Shown = dict[str, tuple[int, int]]  # by id: version, and second of its stamp


def answer(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=httpx.Request("GET", "https://localhost/x"))


@pytest.mark.parametrize(
    ("status", "headers", "good", "kinds"),
    [
        (500, {}, False, {"5xx that is no 503 with Retry-After"}),
        (503, {}, False, {"5xx that is no 503 with Retry-After"}),
        (503, {"retry-after": "5"}, False, set()),
        (503, {"retry-after": "5"}, True, {"refused though nothing was wrong"}),
        (429, {}, True, {"refused though nothing was wrong"}),
        (429, {}, False, set()),
        (200, {}, True, set()),
    ],
)
def test_what_nobody_may_get(status: int, headers: dict[str, str], good: bool, kinds: set[str]) -> None:
    ledger = Ledger()
    ledger.answered("gateway", answer(status, **headers), 0, good)
    assert set(ledger.findings) - {"answered late though nothing was wrong"} == kinds


def test_faults_excuse_refusals_and_no_errors() -> None:
    ledger = Ledger()
    with ledger.fault("worker killed", after=0):
        ledger.answered("gateway", answer(503, **{"retry-after": "1"}), 0)
        ledger.lost("gateway", httpx.ReadError("gone"), 0)
        assert not ledger.findings
        ledger.answered("gateway", answer(500), 0)
        ledger.refused("a pairing is lost", answer(400), 0, lasting=True)
    assert ledger.findings == {"5xx that is no 503 with Retry-After": 1, "a pairing is lost": 1}


def poller(ledger: Ledger, shown: Shown, stamp: int) -> Poller:
    """One whose recorder shows this, and honours `_lastUpdated` as far as the stamps are right."""

    def serve(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/Device"):
            return httpx.Response(200, json={"meta": {"lastUpdated": STAMPS[stamp]}, "link": []})
        since = request.url.params.get("_lastUpdated", "gt")[2:]
        entries: list[dict[str, Any]] = [
            {
                "search": {"mode": "match"},
                "resource": {
                    "resourceType": "Device",
                    "id": name,
                    "meta": {"versionId": str(version), "lastUpdated": STAMPS[at]},
                },
            }
            for name, (version, at) in shown.items()
            if STAMPS[at] > since
        ]
        return httpx.Response(200, json={"meta": {"lastUpdated": STAMPS[stamp]}, "link": [], "entry": entries})

    http = httpx.AsyncClient(transport=httpx.MockTransport(serve))
    tokens = Tokens("a", "r", "s", "p")
    return Poller(Caller(ledger, "poller", http), "https://localhost/fhir", "", "urn:diga:bfarm:00101", tokens)


async def test_a_version_with_an_old_stamp_is_missed() -> None:
    ledger, shown = Ledger(), {"a": (1, 1)}
    one = poller(ledger, shown, 3)
    await one.poll("Device")
    await one.compare()
    assert not ledger.findings
    shown["b"] = (1, 2)  # not newer than the cursor
    await one.poll("Device")
    await one.compare()
    assert ledger.findings == {"a poller by cursor missed a version": 1}


async def test_one_version_with_two_contents_is_seen() -> None:
    ledger = Ledger()
    one = poller(ledger, {}, 3)
    for status in ("preliminary", "final"):
        meta = {"versionId": "1", "lastUpdated": STAMPS[0]}
        one._noted({"resourceType": "Observation", "id": "a", "status": status, "meta": meta})
    assert ledger.findings == {"a version has two contents": 1}


async def test_growing_memory_is_seen() -> None:
    for grows, kinds in ((0.0, set()), (1.0, {"memory grows"})):
        ledger, memory = Ledger(), Memory()
        memory.seen[1] = [100 + grows * look for look in range(200)]
        memory.judge(ledger)
        assert set(ledger.findings) == kinds


def test_a_loop_that_was_kept_busy_is_seen() -> None:
    for work, kinds in ((0.08, set()), (0.9, {"an event loop was kept busy"})):
        ledger, lag = Ledger(), 'ddr_event_loop_longest_lag_seconds{worker="1"} 1.9'
        judge_loops(ledger, [lag, f'ddr_event_loop_longest_work_seconds{{worker="1"}} {work}'])
        assert set(ledger.findings) == kinds


def test_gateways_send_everything_once_in_no_order() -> None:
    gateway = Gateway(None, "", "", 0, 0.1, random.Random(1))  # type: ignore[arg-type]
    sent = [time for batch in gateway._batches() for time in batch]
    assert sent != sorted(sent)
    assert len(set(sent)) == len(sent)
